--- CMake's regular expressions (those of Henry Spencer's first regexp, by way of KWSys), translated for the C library:
--- no intervals, no classes, in brackets nothing but ranges, \x is x; ^ and $ are the ends of the whole text, which may
--- have many lines. What CMake refuses to compile matches nothing, as there.

local core = require("runner.core.regex")

local M = {}

local function escape(char)
  return (char:gsub("[%^%$%.%[%]|%(%)%*%+%?{}\\]", "\\%0"))
end

--- A set of characters: CMake takes all but a first ^, a first ] and ranges literally. It is written anew, so that what
--- means more to POSIX stands where it means itself.
---@return string? text
---@return integer? at
local function bracket(pattern, at)
  local negated = pattern:sub(at, at) == "^"
  if negated then at = at + 1 end
  local chars, first = {}, at
  while at <= #pattern do
    local char, last = pattern:sub(at, at), pattern:match("^%-([^%]])", at + 1)
    if char == "]" and at > first then break end
    if last and char > last then return nil end
    for byte = char:byte(), (last or char):byte() do chars[string.char(byte)] = true end
    at = at + (last and 3 or 1)
  end
  if at > #pattern then return nil end
  local plain = {}
  for byte = 1, 255 do
    local char = string.char(byte)
    if chars[char] and not char:find("[%]%^%-%[]") then plain[#plain + 1] = char end
  end
  local set = (chars["]"] and "]" or "") .. table.concat(plain) .. (chars["["] and "[" or "")
  if set ~= "" or negated then
    set = set .. (chars["^"] and "^" or "") .. (chars["-"] and "-" or "")
  else
    set = (chars["-"] and "-" or "") .. (chars["^"] and "^" or "")
    if set == "^" then return "\\^", at + 1 end
  end
  return (negated and "[^" or "[") .. set .. "]", at + 1
end

local alternatives

--- One character, set or group.
---@return string? text
---@return integer at
---@return boolean may_be_empty
local function atom(pattern, at, depth)
  local char = pattern:sub(at, at)
  if char == "(" then
    local text, next_at, empty = alternatives(pattern, at + 1, depth + 1)
    if not text or pattern:sub(next_at, next_at) ~= ")" then return nil, at, false end
    return "(" .. text .. ")", next_at + 1, empty
  elseif char == "[" then
    local text, next_at = bracket(pattern, at + 1)
    return text, next_at or at, false
  elseif char == "\\" then
    local literal = pattern:sub(at + 1, at + 1)
    if literal == "" then return nil, at, false end
    return escape(literal), at + 2, false
  elseif char == "^" or char == "$" then
    return char, at + 1, true
  elseif char == "." then
    return ".", at + 1, false
  elseif char:find("[%*%+%?]") then
    return nil, at, false
  end
  return escape(char), at + 1, false
end

function alternatives(pattern, at, depth)
  local branches, branch, any_empty, empty = {}, {}, false, true
  while true do
    local char = pattern:sub(at, at)
    if char == "" or char == "|" or char == ")" then
      branches[#branches + 1] = #branch > 0 and table.concat(branch) or "()"
      any_empty = any_empty or empty
      if char ~= "|" then break end
      branch, empty = {}, true
      at = at + 1
    else
      local text, next_at, may_be_empty = atom(pattern, at, depth)
      if not text then return nil, at, false end
      local quantifier = pattern:match("^[%*%+%?]", next_at)
      if quantifier then
        if may_be_empty and quantifier ~= "?" then return nil, at, false end
        text, next_at = text .. quantifier, next_at + 1
        may_be_empty = may_be_empty or quantifier ~= "+"
        if pattern:find("^[%*%+%?]", next_at) then return nil, at, false end
      end
      branch[#branch + 1] = text
      empty = empty and may_be_empty
      at = next_at
    end
  end
  if (depth == 0) ~= (pattern:sub(at, at) ~= ")") then return nil, at, false end
  return table.concat(branches, "|"), at, any_empty
end

-- The C library takes a line break for the end of the text when ^ or $ stands inside an expression: x$. matches "x\n".
-- So line breaks trade places with a character that means nothing to it, in expressions and texts.
local SWAPPED = { ["\n"] = "\1", ["\1"] = "\n" }

local function swapped(text)
  return (text:gsub("[\n\1]", SWAPPED))
end

--- The same expression for the C library; nil when CMake would refuse it.
---@param pattern string
---@return string?
function M.translate(pattern)
  local text, at = alternatives(pattern, 1, 0)
  return text and at > #pattern and swapped(text) or nil
end

---@param pattern string
---@return fun(subject: string): boolean matches
function M.compile(pattern)
  local text = M.translate(pattern)
  local regex = text and core.compile(text)
  if not regex then return function() return false end end
  return function(subject) return regex:match(swapped(subject)) end
end

return M
