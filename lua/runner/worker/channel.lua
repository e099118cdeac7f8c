--- Lines of JSON from a process of ours: over its control channel, or behind a border on its standard output where
--- there is none. Several processes may write at once, so a long message comes in pieces: "+KEY piece", and
--- "=KEY piece" for the last. Pure: bytes in, callbacks out.

local cjson = require("cjson.safe")
local lines = require("runner.worker.lines")
local marker = require("runner.base.marker")

local M = {}

local LIMIT = 256 * 1024 * 1024 -- bytes of one message, and of all that have begun

---@param message table
---@return string
function M.encode(message)
  return assert(cjson.encode(message)) .. "\n"
end

--- Reads lines, cut anywhere. What is no message is dropped: it comes from a test that found the channel.
---@param on_message fun(message: table)
---@return fun(bytes: string)
function M.reader(on_message)
  local pieces, size = {}, 0
  return (lines.reader(function(text)
    local kind, key, piece = text:match("^([+=])(%S+) (.*)$")
    if kind then
      local list = pieces[key] or {}
      pieces[key], size = list, size + #piece
      list[#list + 1] = piece
      if size > LIMIT then pieces, size = {}, 0 end
      if kind == "+" then return end
      text = table.concat(list)
      pieces[key], size = nil, math.max(0, size - #text)
    end
    local message = cjson.decode(text)
    if type(message) == "table" then on_message(message) end
  end))
end

--- Reads a stream in which messages stand between output: each begins with a line end and the border.
---@param border string what nothing else prints
---@param on_message fun(message: table)
---@param on_output fun(bytes: string)
---@return fun(bytes: string) feed
---@return fun() finish no more bytes will come: what was kept back is output
function M.bordered(border, on_message, on_output)
  local held, inside = "", false
  local read = M.reader(on_message)
  local start = "\n" .. border
  return function(bytes)
    local text = held .. bytes
    held = ""
    while text ~= "" do
      if inside then
        local at = text:find("\n", 1, true)
        read(text:sub(1, at))
        inside, text = not at, at and text:sub(at + 1) or ""
      else
        local at, after = text:find(start, 1, true)
        if at then
          if at > 1 then on_output(text:sub(1, at - 1)) end
          inside, text = true, text:sub(after + 1)
        else
          at = marker.possible(text, start)
          if at > 1 then on_output(text:sub(1, at - 1)) end
          held, text = text:sub(at), ""
        end
      end
    end
  end, function()
    if held ~= "" then on_output(held) end
    held = ""
  end
end

return M
