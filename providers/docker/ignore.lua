--- .dockerignore: which files of a build context stay out. A pattern matches a path or a folder above it; the last
--- pattern that matches decides; `!` takes back; `**` crosses folders.

local errors = require("runner.base.errors")
local regex = require("runner.base.regex")

local M = {}

--- A pattern of Go's filepath.Match, and `**`, as a regular expression.
local function translate(pattern)
  local out, at = {}, 1
  while at <= #pattern do
    local char = pattern:sub(at, at)
    local class = char == "[" and pattern:match("^%[%^?%]?[^%]]*%]", at)
    if pattern:find("^%*%*/", at) then
      out[#out + 1], at = "(.*/)?", at + 3
    elseif pattern:find("^%*%*", at) then
      out[#out + 1], at = ".*", at + 2
    elseif char == "*" then
      out[#out + 1], at = "[^/]*", at + 1
    elseif char == "?" then
      out[#out + 1], at = "[^/]", at + 1
    elseif class then
      out[#out + 1], at = class, at + #class
    else
      if char == "\\" then
        at = at + 1
        char = pattern:sub(at, at)
      end
      out[#out + 1], at = char:gsub("[%^%$%.%[%]%(%)|%*%+%?{}\\]", "\\%0"), at + 1
    end
  end
  return "^" .. table.concat(out) .. "$"
end

local function clean(pattern)
  local parts = {}
  for part in pattern:gmatch("[^/]+") do
    if part == ".." and #parts > 0 then
      parts[#parts] = nil
    elseif part ~= "." and part ~= ".." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end

--- Reads the text of a .dockerignore.
---@param text string
---@param name string of the file, for errors
---@return fun(path: string): boolean ignored
---@return boolean has_exceptions then what is below an ignored folder may be needed all the same
function M.compile(text, name)
  local rules, has_exceptions = {}, false
  for line in text:gsub("^\xef\xbb\xbf", ""):gmatch("[^\n]*") do
    line = line:match("^%s*(.-)%s*$")
    local taken_back = line:sub(1, 1) == "!"
    local pattern = clean(taken_back and line:sub(2):match("^%s*(.*)$") or line)
    if line:sub(1, 1) ~= "#" and pattern ~= "" then
      local matches, why = regex.compile(translate(pattern))
      if not matches then
        errors.raise("config", ("%s: the pattern %q cannot be read: %s"):format(name, line, why))
      end
      rules[#rules + 1] = { matches = matches, ignores = not taken_back }
      has_exceptions = has_exceptions or taken_back
    end
  end
  local function ignored(path)
    local verdict = false
    for _, rule in ipairs(rules) do
      if rule.ignores ~= verdict then
        local at = path
        while at do
          if rule.matches(at) then
            verdict = rule.ignores
            break
          end
          at = at:match("^(.*)/[^/]*$")
        end
      end
    end
    return verdict
  end
  return ignored, has_exceptions
end

return M
