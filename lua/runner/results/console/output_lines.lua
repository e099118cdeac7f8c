-- Live output of many tests at once: whole lines, each after the name of its test.

local text = require("runner.base.text")
local width = require("runner.results.console.width")

local M = {}

local longest = 4096 -- bytes of a line that does not end before it is shown in parts
local name_columns = 60

---@class runner.OutputLines
local OutputLines = {}
OutputLines.__index = OutputLines

---@param style runner.Style
---@param print fun(lines: string)
---@return runner.OutputLines
function M.new(style, print)
  return setmetatable({ style = style, print = print, tests = {} }, OutputLines)
end

local function prefixed(self, test, lines)
  lines = text.multiline(lines, self.style.colour)
  if lines:sub(-1) ~= "\n" then lines = lines .. "\n" end
  local parts, from, prefix, count = {}, 1, test.prefix, 0
  local reset = lines:find("\27", 1, true) and "\27[0m"
  while from <= #lines do -- plain searches: gsub takes twice as long, and there may be gigabytes
    local stop = lines:find("\n", from, true)
    parts[count + 1], parts[count + 2] = prefix, lines:sub(from, reset and stop - 1 or stop)
    count = count + 2
    if reset then
      parts[count + 1] = reset .. "\n"
      count = count + 1
    end
    from = stop + 1
  end
  return table.concat(parts)
end

--- Adds output; prints the lines that are complete.
---@param output { id: string, stream: string, data: string }
function OutputLines:add(output)
  local test = self.tests[output.id]
  if not test then
    local name = width.fit(text.escape(output.id), name_columns, self.style.ellipsis)
    test = { prefix = self.style:paint("dim", name .. " | ") }
    self.tests[output.id] = test
  end
  local waiting = (test[output.stream] or "") .. output.data
  local rest = waiting:match("^.*\n()") or 1 -- where the line begins that is not whole yet
  if #waiting - rest >= longest then rest = #waiting + 1 end
  test[output.stream] = waiting:sub(rest)
  if rest > 1 then self.print(prefixed(self, test, waiting:sub(1, rest - 1))) end
end

--- Prints what is left of a test's output: its attempt has ended.
---@param id string
function OutputLines:finish(id)
  local test = self.tests[id]
  if not test then return end
  self.tests[id] = nil
  for _, stream in ipairs({ "stdout", "stderr" }) do
    local rest = test[stream]
    if rest and rest ~= "" then self.print(prefixed(self, test, rest)) end
  end
end

--- Prints everything that is left.
function OutputLines:finish_all()
  for id in pairs(self.tests) do self:finish(id) end
end

return M
