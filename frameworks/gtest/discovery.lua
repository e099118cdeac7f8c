--- What a GoogleTest program says of its tests: as text (--gtest_list_tests), and as JSON where it is new enough
--- (1.8.1), which also tells files and lines and cannot be confused by what the program prints.

local cjson = require("cjson.safe")

local M = {}

---@class runner.gtest.Case
---@field suite string
---@field name string
---@field kind "TypeParam"|"GetParam()"|nil what `value` is
---@field value string?
---@field file string? as the compiler named it
---@field line integer?

--- GoogleTest escapes each byte of a UTF-8 sequence as if it were a character.
local function unescaped(value)
  return (value:gsub("[\xC2\xC3][\x80-\xBF]", function(pair) return string.char(utf8.codepoint(pair)) end))
end

local function of_json(text)
  local root = cjson.decode(text)
  if type(root) ~= "table" or type(root.testsuites) ~= "table" then return nil end
  local fix = text:find("[\x80-\xFF]") and function(value) return value end or unescaped
  local cases = {}
  for _, suite in ipairs(root.testsuites) do
    if type(suite) ~= "table" or type(suite.name) ~= "string" then return nil end
    for _, test in ipairs(type(suite.testsuite) == "table" and suite.testsuite or {}) do
      if type(test) ~= "table" or type(test.name) ~= "string" then return nil end
      local value = test.value_param or test.type_param
      cases[#cases + 1] = {
        suite = fix(suite.name), name = fix(test.name), value = type(value) == "string" and fix(value) or nil,
        kind = value and (test.value_param and "GetParam()" or "TypeParam") or nil,
        file = type(test.file) == "string" and fix(test.file) or nil, line = math.tointeger(tonumber(test.line)),
      }
    end
  end
  return cases
end

--- Lines of two forms: "Suite." and, indented by two blanks, "Name", each with an optional comment. What comes before
--- the first suite is the program's own.
local function of_text(text)
  local cases, suite, kind, value = {}, nil, nil, nil
  for line in text:gmatch("([^\r\n]+)\r?\n") do
    local bare, comment_kind, comment = line:match("^(.-)  # (%S+) = (.*)$")
    bare = bare or line
    local name = bare:match("^  (%S.*)$")
    if name and suite then
      cases[#cases + 1] = {
        suite = suite, name = name, kind = comment_kind or kind, value = comment_kind and comment or value,
      }
    elseif bare:find("^%S.*%.$") and not bare:find("^%S.*%s.*%.$") then
      suite, kind, value = bare:sub(1, -2), comment_kind, comment
    elseif suite then
      return nil, line
    end
  end
  return suite and cases or nil
end

--- The tests of a program.
---@param text string what it printed
---@param json string? the file that it wrote
---@return runner.gtest.Case[]? cases nil: this is no list
---@return string? line the first that has no place in a list
function M.parse(text, json)
  local cases = json and of_json(json)
  if cases then return cases end
  return of_text(text)
end

--- Whether GoogleTest runs a test only when it is told to.
---@param case runner.gtest.Case
---@return boolean
function M.is_disabled(case)
  return case.suite:find("^DISABLED_") ~= nil or case.suite:find("/DISABLED_", 1, true) ~= nil
    or case.name:find("^DISABLED_") ~= nil or case.name:find("/DISABLED_", 1, true) ~= nil
end

return M
