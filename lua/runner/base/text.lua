-- Bytes from tests made fit to be shown or stored: invalid UTF-8, control characters and terminal
-- sequences become harmless, and stay recognisable where two names must not become one.

local M = {}

local named = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function hex(byte)
  return named[byte] or ("\\x%02x"):format(byte:byte())
end

local function code_point(char)
  return ("\\u{%x}"):format(utf8.codepoint(char, 1, 1, true))
end

--- Bytes as hexadecimal digits.
---@param bytes string
---@return string
function M.hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

--- Replaces every byte that is not part of valid UTF-8.
---@param s string
---@param format string? for `string.format` with the byte's number; default `\xNN`, written out
---@return string valid UTF-8
function M.repair(s, format)
  if utf8.len(s) then return s end
  format = format or "\\x%02x"
  local out, from = {}, 1
  while true do
    local length, bad = utf8.len(s, from)
    if length then
      out[#out + 1] = s:sub(from)
      return table.concat(out)
    end
    out[#out + 1] = s:sub(from, bad - 1)
    out[#out + 1] = format:format(s:byte(bad))
    from = bad + 1
  end
end

-- Characters that hide, reorder or break text: C1 controls, zero width, direction marks, line
-- separators, byte order mark and non-characters. (Joiners stay: emoji and some scripts need them.)
local function escape_invisible(s)
  s = s:gsub("\xC2[\x80-\x9F]", code_point)
  s = s:gsub("\xE2\x80[\x8B\x8E\x8F\xA8-\xAE]", code_point)
  s = s:gsub("\xE2\x81[\xA0-\xAF]", code_point)
  s = s:gsub("\xEF\xBB\xBF", code_point)
  return (s:gsub("\xEF\xBF[\xBE\xBF]", code_point))
end

--- One line that shows every control character and invalid byte: for names.
---@param s string
---@return string
function M.escape(s)
  if s:match("^[\32-\126]*()") > #s then return s end -- four times as fast as to look for any other
  s = M.repair(s):gsub("[\0-\31\127]", hex)
  return escape_invisible(s)
end

--- Removes terminal sequences.
---@param s string
---@param keep_colour boolean? leaves SGR sequences (colour, bold) in
---@return string
function M.strip_ansi(s, keep_colour)
  if not s:find("\27", 1, true) then return s end
  -- \xFF cannot occur in repaired text, so it may stand for the ESC of what is kept.
  s = M.repair(s):gsub("\27%[([0-?]*)([ -/]*)([@-~])", function(parameters, middle, final)
    if keep_colour and final == "m" and middle == "" and not parameters:find("[^%d;:]") then
      return "\xFF[" .. parameters .. "m"
    end
    return ""
  end)
  s = s:gsub("\27%][^\7\27]*\7?", "") -- operating system command: titles, links
  s = s:gsub("\27[P^_X][^\27]*", "") -- device control strings
  s = s:gsub("\27[ -/]*[0-~]", "")
  s = s:gsub("\27", "")
  return (s:gsub("\xFF", "\27"))
end

--- Text of several lines for a terminal or a page: line ends unified, other controls shown.
---@param s string
---@param keep_colour boolean?
---@return string
function M.multiline(s, keep_colour)
  if s:match("^[\32-\126\n\t]*()") > #s then return s end
  s = M.strip_ansi(M.repair(s), keep_colour)
  s = s:gsub("\r+\n", "\n"):gsub("\r+", "\n")
  s = s:gsub("[\0-\8\11\12\14-\26\28-\31\127]", hex)
  return escape_invisible(s)
end

--- The first line that says something, as one visible line.
---@param s string
---@return string
function M.first_line(s)
  return M.escape(M.strip_ansi(s):match("[^%s][^\r\n]*") or "")
end

--- Shortens in the middle by bytes, at character borders. For names nobody can read anyway.
---@param s string valid UTF-8
---@param limit integer bytes
---@return string
function M.shorten(s, limit)
  if #s <= limit then return s end
  local head, tail = utf8.offset(s, 0, limit // 3 + 1), utf8.offset(s, 0, #s - limit * 2 // 3 + 4)
  return s:sub(1, head - 1) .. "..." .. s:sub(tail)
end

--- One argument for a POSIX shell; `$'…'` where control characters or invalid bytes demand it.
---@param s string
---@return string
function M.shell_quote(s)
  if s ~= "" and not s:find("[^%w%%+,./:@_-]") then return s end
  if utf8.len(s) and not s:find("[\0-\31\127]") then
    return "'" .. s:gsub("'", "'\\''") .. "'"
  end
  s = s:gsub("[\\']", "\\%0"):gsub("[\0-\31\127]", function(c)
    return ("\\%03o"):format(c:byte())
  end)
  return "$'" .. M.repair(s, "\\%03o") .. "'"
end

return M
