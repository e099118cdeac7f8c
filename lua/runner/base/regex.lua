-- Regular expressions as people type them: POSIX extended ones, plus the `\d` and `\D` they expect.

local core = require("runner.core.regex")

local M = {}

local digits = { d = "[0-9]", D = "[^0-9]" }

local function translate(pattern)
  local out, position, in_brackets = {}, 1, false
  while position <= #pattern do
    local char, after = pattern:sub(position, position), pattern:sub(position + 1, position + 1)
    position = position + 1
    if char == "\\" and in_brackets and after == "d" then
      char, position = "0-9", position + 1
    elseif char == "\\" and not in_brackets then
      char, position = digits[after] or char .. after, position + 1
    elseif char == "[" and not in_brackets then
      in_brackets = true
      -- A "]" that comes first stands for itself.
      local first = pattern:match("^%^?%]", position) or ""
      char, position = char .. first, position + #first
    elseif char == "]" then
      in_brackets = false
    end
    out[#out + 1] = char
  end
  return table.concat(out)
end

--- Compiles an expression.
---@param pattern string
---@return (fun(subject: string): boolean)? matches whether it matches anywhere in the subject
---@return string? message
function M.compile(pattern)
  local regex, message = core.compile(translate(pattern))
  if not regex then return nil, message end
  return function(subject) return regex:match(subject) end
end

return M
