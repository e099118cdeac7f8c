--- JSON lines over a control channel.

local cjson = require("cjson.safe")
local lines = require("runner.worker.lines")
local protocol = require("frameworks.pytest.protocol")

local LIMIT = 64 * 1024 * 1024 -- of a line: some hundred tests with ids of any length, or a result with all its texts

local M = {}

---@param message table
---@return string
function M.encode(message)
  return assert(cjson.encode(message)) .. "\n"
end

-- Messages are at most two tables deep where an optional field may be.
local function without_nulls(message)
  for key, value in pairs(message) do
    if value == cjson.null then
      message[key] = nil
    elseif type(value) == "table" then
      for inner, field in pairs(value) do
        if field == cjson.null then value[inner] = nil end
      end
    end
  end
  return message
end

local function excerpt(line)
  local text = line:sub(1, 120):gsub("[^%g ]+", "?")
  return #line > 120 and text .. "…" or text
end

--- A reader: feed it bytes, cut anywhere; it calls back with each message.
---@param shapes table<string, runner.Check> what may come
---@param on_message fun(kind: string, message: table)
---@param on_wrong fun(why: string) for a line that is none of these messages
---@return fun(bytes: string)
function M.reader(shapes, on_message, on_wrong)
  return (lines.reader(function(line)
    local message = cjson.decode(line)
    if type(message) == "table" then message = without_nulls(message) end
    local kind, wrong = protocol.check(shapes, message)
    if wrong then return on_wrong(("%s (%s)"):format(wrong, excerpt(line))) end
    on_message(kind, message)
  end, LIMIT, function() on_wrong("a line without end") end))
end

return M
