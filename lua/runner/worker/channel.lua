--- Reads lines of JSON from a process of ours: over its control channel, or behind a border on its standard output
--- where there is none. Several processes may write at once, so a long message comes in pieces: "+KEY piece", and "=KEY
--- piece" for the last. Pure: bytes in, callbacks out.
---
--- A test can write there, too. With `shapes` each message is checked, and what does not fit (no JSON, no message that
--- is known, a field of another type, a line without an end) is told to `on_wrong`; without, it is dropped.

local cjson = require("cjson.safe")
local lines = require("runner.worker.lines")
local marker = require("runner.base.marker")
local messages = require("runner.worker.messages")

local M = {}

local LINE_LIMIT = 4 * 1024 * 1024 -- bytes; our reporters write pieces of some KiB
local LIMIT = 256 * 1024 * 1024 -- bytes of one message, and of all that have begun
local EXCERPT = 120 -- bytes of a wrong line that are shown

---@param message table
---@return string
function M.encode(message)
  return assert(cjson.encode(message)) .. "\n"
end

local function without_nulls(value)
  for key, field in pairs(value) do
    if field == cjson.null then
      value[key] = nil
    elseif type(field) == "table" then
      without_nulls(field)
    end
  end
end

local function decode(text)
  local message = cjson.decode(text)
  if type(message) == "table" and text:find("null", 1, true) then without_nulls(message) end
  return message
end

local function excerpt(text)
  return (text:sub(1, EXCERPT):gsub("[^%g ]+", "?")) .. (#text > EXCERPT and "…" or "")
end

--- Reads lines, cut anywhere.
---@param on_message fun(message: table, kind: string?) kind: with `shapes`
---@param shapes table<string, runner.Check>? what may come; see runner.worker.messages
---@param on_wrong fun(why: string)? with `shapes`
---@return fun(bytes: string)
function M.reader(on_message, shapes, on_wrong)
  local pieces, size = {}, 0

  local function take(text)
    local message = decode(text)
    if not shapes then
      if type(message) == "table" then on_message(message) end
      return
    end
    local kind, wrong = messages.check(shapes, message)
    if wrong then return on_wrong(("%s (%s)"):format(wrong, excerpt(text))) end
    on_message(message, kind)
  end

  local function too_long()
    pieces, size = {}, 0
    if on_wrong then on_wrong("a line without an end") end
  end

  return (lines.reader(function(text)
    local kind, key, piece = text:match("^([+=])(%S+) (.*)$")
    if kind then
      local list = pieces[key] or {}
      pieces[key], size = list, size + #piece
      list[#list + 1] = piece
      if size > LIMIT then return too_long() end
      if kind == "+" then return end
      text = table.concat(list)
      pieces[key], size = nil, math.max(0, size - #text)
    end
    take(text)
  end, LINE_LIMIT, too_long))
end

--- Reads a stream in which messages stand between output: each begins with a line end and the border.
---@param border string what nothing else prints
---@param on_message fun(message: table, kind: string?)
---@param on_output fun(bytes: string)
---@param shapes table<string, runner.Check>? as for `reader`
---@param on_wrong fun(why: string)?
---@return fun(bytes: string) feed
---@return fun() finish no more bytes will come: what was kept back is output
function M.bordered(border, on_message, on_output, shapes, on_wrong)
  local held, inside = "", false
  local read = M.reader(on_message, shapes, on_wrong)
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
