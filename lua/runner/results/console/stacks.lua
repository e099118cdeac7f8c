--- Python stacks as a person wants them: the frames of the machinery around a test in one line. Logs and reports keep
--- them all.

local M = {}

local MACHINERY = {
  "[/\\]_pytest[/\\]", "%-packages[/\\]pytest[/\\]", "%-packages[/\\]pluggy[/\\]", "[/\\]runner_worker[/\\]",
  "[/\\]importlib[/\\]", "^<frozen ",
}
local FEW = 2 -- frames that are shown all the same

local function is_machinery(file)
  for _, pattern in ipairs(MACHINERY) do
    if file:find(pattern) then return true end
  end
  return false
end

--- Folds runs of frames that are not the project's: of dumps (a line for each frame) and of tracebacks (with source
--- lines below it).
---@param text string
---@return string
function M.fold(text)
  if not text:find('File "', 1, true) then return text end
  local out, held, frames, indent = {}, {}, 0, nil
  local function flush()
    if frames > FEW then
      out[#out + 1] = ("%s… %d frames of the test framework"):format(indent, frames)
    else
      table.move(held, 1, #held, #out + 1, out)
    end
    held, frames, indent = {}, 0, nil
  end
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local margin, file = line:match('^(%s*)File "([^"]+)", line %d')
    if file and is_machinery(file) then
      if indent and margin ~= indent then flush() end
      held[#held + 1], frames, indent = line, frames + 1, margin
    elseif indent and not file and #line:match("^%s*") > #indent then
      held[#held + 1] = line
    else
      flush()
      out[#out + 1] = line
    end
  end
  flush()
  return table.concat(out, "\n")
end

return M
