--- JSON lines over a control channel.

local cjson = require("cjson.safe")
local lines = require("runner.worker.lines")

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

--- A reader: feed it bytes, cut anywhere; it calls back with each message. What is not JSON is dropped: it comes from
--- a test that found the channel.
---@param on_message fun(message: table)
---@return fun(bytes: string)
function M.reader(on_message)
  return (lines.reader(function(line)
    local message = cjson.decode(line)
    if type(message) == "table" then on_message(without_nulls(message)) end
  end))
end

return M
