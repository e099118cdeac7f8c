-- How many columns a text takes on a terminal. Where terminals differ it says the larger number:
-- a line that is cut a little early is harmless, one that wraps spoils the progress bar.

local M = {}

-- Inclusive ranges, ascending.
local zero = {
  0x300, 0x36F, 0x483, 0x489, 0x591, 0x5BD, 0x610, 0x61A, 0x64B, 0x65F, 0x93C, 0x93C,
  0x941, 0x948, 0x94D, 0x94D, 0xE31, 0xE31, 0xE34, 0xE3A, 0xE47, 0xE4E, 0x1AB0, 0x1ACE,
  0x1DC0, 0x1DFF, 0x200B, 0x200F, 0x20D0, 0x20F0, 0x302A, 0x302D, 0x3099, 0x309A,
  0xFE00, 0xFE0E, 0xFE20, 0xFE2F, 0xE0100, 0xE01EF,
}
local wide = {
  0x1100, 0x115F, 0x231A, 0x231B, 0x2329, 0x232A, 0x23E9, 0x23F3, 0x25FD, 0x25FE,
  0x2600, 0x27BF, 0x2B1B, 0x2B1C, 0x2B50, 0x2B55, 0x2E80, 0x303E, 0x3041, 0xA4CF,
  0xA960, 0xA97F, 0xAC00, 0xD7A3, 0xF900, 0xFAFF, 0xFE10, 0xFE19, 0xFE30, 0xFE6F,
  0xFF00, 0xFF60, 0xFFE0, 0xFFE6, 0x16FE0, 0x18DFF, 0x1AFF0, 0x1B2FF, 0x1F000, 0x1FAFF,
  0x20000, 0x3FFFD,
}

local function within(ranges, code)
  local low, high = 1, #ranges // 2
  while low <= high do
    local middle = (low + high) // 2
    if code < ranges[2 * middle - 1] then
      high = middle - 1
    elseif code > ranges[2 * middle] then
      low = middle + 1
    else
      return true
    end
  end
  return false
end

local function char_width(code)
  if code < 0x300 then return 1 end
  if within(zero, code) then return 0 end
  return within(wide, code) and 2 or 1
end

--- Columns of one line of valid UTF-8 without control characters.
---@param s string
---@return integer
function M.columns(s)
  if not s:find("[\x80-\xFF]") then return #s end
  local sum = 0
  for _, code in utf8.codes(s) do
    sum = sum + char_width(code)
  end
  return sum
end

--- The longest beginning of `s` that fits in `columns`; combining marks stay with their letter.
local function head(s, columns)
  local used = 0
  for position, code in utf8.codes(s) do
    used = used + char_width(code)
    if used > columns then return s:sub(1, position - 1) end
  end
  return s
end

local function tail(s, columns)
  local used, from, position = 0, #s + 1, #s + 1
  while position > 1 do
    position = utf8.offset(s, -1, position)
    local columns_here = char_width(utf8.codepoint(s, position))
    used = used + columns_here
    if used > columns then break end
    if columns_here > 0 then from = position end
  end
  return s:sub(from)
end

--- Cuts `s` at the end.
---@param s string
---@param columns integer
---@return string
function M.cut(s, columns)
  if #s <= columns then return s end
  return head(s, math.max(0, columns))
end

--- Takes out the middle: the beginning and, larger, the end of a name say which one it is.
---@param s string
---@param columns integer
---@param ellipsis string
---@return string at most `columns` wide
function M.fit(s, columns, ellipsis)
  if #s <= columns or M.columns(s) <= columns then return s end
  local room = columns - M.columns(ellipsis)
  if room < 2 then return head(s, math.max(0, columns)) end
  local front = room // 3
  return head(s, front) .. ellipsis .. tail(s, room - front)
end

return M
