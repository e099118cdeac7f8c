-- Text for XML 1.0, which forbids most control characters even as `&#27;`, half surrogates and
-- U+FFFE/U+FFFF. What a test prints or is called must never make a report unreadable.

local text = require("runner.base.text")

local M = {}

local escapes = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
  ["\n"] = "&#10;", ["\t"] = "&#9;",
}

local replacement = "\xEF\xBF\xBD" -- U+FFFD

--- Text without what XML forbids: terminal sequences vanish, invalid bytes and control characters
--- become U+FFFD, line ends become line feeds.
---@param s string
---@return string
function M.scrub(s)
  if not s:find("[^\n\t\32-\126]") then return s end
  s = text.repair(text.strip_ansi(s), replacement)
  s = s:gsub("\r\n", "\n"):gsub("\r", "\n")
  s = s:gsub("[\0-\8\11\12\14-\31]", replacement)
  return (s:gsub("\xEF\xBF[\xBE\xBF]", replacement))
end

--- Content of an element.
---@param s string
---@return string
function M.content(s)
  return (M.scrub(s):gsub("[&<>]", escapes)) -- escaping every ">" also covers "]]>"
end

--- Value of an attribute, quoted.
---@param s string
---@return string
function M.attribute(s)
  return '"' .. M.scrub(s):gsub('[&<>"\n\t]', escapes) .. '"'
end

--- Value of an attribute that identifies something: no two names become one, so what cannot stand
--- in it is written out (`\x1b`, `\n`).
---@param s string
---@return string
function M.name(s)
  return M.attribute(text.escape(s))
end

--- A number with a dot, whatever the locale.
---@param value number?
---@return string quoted
function M.seconds(value)
  if type(value) ~= "number" or value ~= value or value < 0 or value == math.huge then value = 0 end
  return '"' .. ("%.3f"):format(value):gsub(",", ".") .. '"'
end

--- `2026-01-31T12:00:00Z`
---@param unix number seconds
---@return string quoted
function M.timestamp(unix)
  return '"' .. os.date("!%Y-%m-%dT%H:%M:%SZ", unix // 1 | 0) .. '"'
end

return M
