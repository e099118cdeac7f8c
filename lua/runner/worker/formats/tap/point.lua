--- One test point of TAP: its line, and the diagnostics behind it. Pure.

local M = {}

local TEXT_LIMIT = 1024 * 1024 -- bytes of diagnostics of one point

local function unescape(text, version)
  if not text:find("\\", 1, true) then return text end
  -- Only version 14 escapes the backslash; earlier ones leave it alone in paths and patterns.
  return (text:gsub(version == 14 and "\\([\\#])" or "\\(#)", "%1"))
end

local UNITS = { ms = 1e-3, s = 1, us = 1e-6, ns = 1e-9, m = 60 }

--- "SKIP why", "TODO why", "time=12ms": what follows a # of a test line. Returns false for anything else.
local function directive(test, text)
  local reason = text:match("^[Ss][Kk][Ii][Pp]%S*%s*(.*)$")
  if reason then
    test.status, test.message = "skipped", reason ~= "" and reason or nil
    return true
  end
  local separator
  separator, reason = text:match("^[Tt][Oo][Dd][Oo](.?)%s*(.*)$")
  if separator and separator:find("^[%s:]?$") then
    test.todo, test.message = true, reason ~= "" and reason or nil
    if test.status == "failed" then test.status = "skipped" end
    return true
  end
  local number, unit = text:match("^time=([%d.]+)%s*(%a*)$")
  number = tonumber(number)
  if number and (UNITS[unit] or unit == "") then
    test.time = number * (UNITS[unit] or 1e-3)
    return true
  end
  return false
end

--- Cuts the directives off the end of a description.
local function take_directives(test, text)
  local at = 1
  while true do
    at = text:find("#", at, true)
    if not at then return text end
    local before = text:sub(1, at - 1)
    local escaped = #before:match("\\*$") % 2 == 1
    if not escaped and (before == "" or before:find("%s$")) then
      -- Several may follow one another: "# SKIP why # time=1ms".
      local body = text:sub(at + 1):match("^%s*(.-)%s*$")
      local first, second = body:match("^(.-)%s+#%s*(.*)$")
      if first and directive(test, second) then
        directive(test, first)
        return before
      elseif directive(test, body) then
        return before
      end
    end
    at = at + 1
  end
end

---@param ok boolean
---@param rest string what follows "ok"
---@param version integer?
---@return runner.tap.Point
function M.new(ok, rest, version)
  local test = { status = ok and "passed" or "failed" }
  local number, after = rest:match("^%s+(%d+)%f[%s\0](.*)$")
  if number then test.number, rest = math.tointeger(tonumber(number)), after end
  if rest:find("%s{%s*$") then
    test.buffered = true -- its subtest follows in braces
    rest = rest:gsub("%s{%s*$", "")
  end
  local text = take_directives(test, rest):match("^%s*(.-)%s*$")
  test.name = unescape(text:gsub("^%-%s+", ""):gsub("^%-$", ""), version)
  return test
end

local function keep(test, key, line)
  local size = (test.size or 0) + #line + 1
  if size > TEXT_LIMIT then return end
  test.size = size
  local lines = test[key] or {}
  test[key] = lines
  lines[#lines + 1] = line
end

--- A comment behind the point.
---@param test runner.tap.Point
---@param text string with its "#"
function M.comment(test, text)
  keep(test, "comments", (text:gsub("^# ?", "")))
end

---@param test runner.tap.Point
---@param line string of its YAML block, without the indentation of the block
function M.yaml_line(test, line)
  keep(test, "yaml", line)
end

local ESCAPES = { n = "\n", t = "\t", r = "\r", ["0"] = "\0", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function scalar(text)
  local single = text:match("^'(.*)'$")
  if single then return (single:gsub("''", "'")) end
  local double = text:match('^"(.*)"$')
  if double then return (double:gsub("\\(.)", ESCAPES)) end
  return text
end

--- The scalars of a YAML block: `key: value`, texts behind | and >, and those one level deeper as "key.inner". Anything
--- else is left to the reader of the whole text.
local function scalars(lines)
  local found, parent = {}, nil
  local i = 1
  while i <= #lines do
    local spaces, key, value = lines[i]:match("^( *)([%w_.-]+):%s*(.-)%s*$")
    i = i + 1
    if key then
      if #spaces == 0 then parent = value == "" and key or nil end
      local name = #spaces == 0 and key or parent and #spaces <= 4 and parent .. "." .. key
      if value:find("^[|>][-+]?%d*$") then
        local text = {}
        while lines[i] and (lines[i]:find("^" .. spaces .. " ") or not lines[i]:find("%S")) do
          text[#text + 1] = lines[i]
          i = i + 1
        end
        local margin = text[1] and text[1]:match("^ *") or ""
        for n, line in ipairs(text) do text[n] = line:sub(#margin + 1) end
        value = table.concat(text, "\n"):gsub("%s+$", "")
      else
        value = scalar(value)
      end
      if name and value ~= "" and not found[name] then found[name] = value end
    end
  end
  return found
end

local function first_line(text)
  return text and text:match("[^%s][^\r\n]*")
end

--- Reads the diagnostics, when all of them are there.
---@param test runner.tap.Point
function M.conclude(test)
  local yaml, comments = test.yaml, test.comments
  test.yaml, test.comments, test.size = nil, nil, nil
  local found = yaml and scalars(yaml) or {}
  if yaml then
    test.time = test.time or tonumber(found.duration_ms) and found.duration_ms / 1e3
    local place = found.location -- "path:line:column", as Node.js writes it
    test.file = found["at.file"] or place and place:match("^(.-):%d+:%d+$") or found.file
    test.line = math.tointeger(tonumber(found["at.line"] or place and place:match(":(%d+):%d+$") or found.line))
  end
  if test.number then found.number = tostring(test.number) end
  test.properties = next(found) and found or nil
  if test.status ~= "failed" then return end
  local parts = { yaml and table.concat(yaml, "\n"), comments and table.concat(comments, "\n") }
  local text = (parts[1] or "") .. (parts[1] and parts[2] and "\n" or "") .. (parts[2] or "")
  test.trace = text:find("%S") and text or nil
  test.message = first_line(found.message or found.error or found.reason) or first_line(parts[2])
end

return M
