--- Why a sandbox could not write a file, with what mends it.

local M = {}

--- What the C library says, and what helps. Trying again does not.
local ADVICE = {
  { "No space left on device", "make room there" },
  { "uota exceeded", "make room there, or raise the quota" },
  { "Read-only file system", "mount it writable, or choose another folder" },
  { "Permission denied", "let the sandbox's user write there, or choose another folder" },
}

---@param message string of the agent
---@param more string? what else helps, in the case at hand
---@return string message with advice, if there is any
---@return boolean permanent
function M.explain(message, more)
  for _, row in ipairs(ADVICE) do
    if message:find(row[1], 1, true) then
      return ("%s; %s%s"):format(message, row[2], more and ", " .. more or ""), true
    end
  end
  return message, false
end

return M
