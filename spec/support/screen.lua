--- A terminal small enough to read: takes what a program writes and shows the rows that a person
--- would see. Knows line feeds (as a tty with onlcr sends them), carriage returns, wrapping, cursor
--- up and erase below, and skips colours.

local width = require("runner.results.console.width")

local M = {}
M.__index = M

---@param columns integer
function M.new(columns)
  return setmetatable({ columns = columns, rows = { "" }, row = 1, column = 0, wraps = 0 }, M)
end

local function put(self, char)
  local wide = width.columns(char)
  if self.column + wide > self.columns then
    self.wraps = self.wraps + 1
    self.row, self.column = self.row + 1, 0
  end
  local row = self.rows[self.row] or ""
  assert(width.columns(row) == self.column, "this screen only appends to rows")
  self.rows[self.row] = row .. char
  self.column = self.column + wide
end

local function control(self, parameters, final)
  if final == "A" then
    self.row = math.max(1, self.row - (tonumber(parameters) or 1))
  elseif final == "J" then
    assert(self.column == 0, "erases from the middle of a row")
    for i = #self.rows, self.row, -1 do self.rows[i] = nil end
  elseif final ~= "m" then
    error("unknown sequence CSI " .. parameters .. final)
  end
end

--- Takes output.
function M:write(bytes)
  local position = 1
  while position <= #bytes do
    local parameters, final, after = bytes:match("^\27%[([%d;]*)(%a)()", position)
    if after then
      control(self, parameters, final)
      position = after
    else
      local char = bytes:match("^" .. utf8.charpattern, position)
      position = position + #char
      if char == "\n" then
        self.row, self.column = self.row + 1, 0
        self.rows[self.row] = self.rows[self.row] or ""
      elseif char == "\r" then
        self.column = 0
      else
        put(self, char)
      end
    end
  end
end

---@return string rows
function M:text()
  for i = 1, #self.rows do self.rows[i] = self.rows[i] or "" end
  return (table.concat(self.rows, "\n"):gsub("\n+$", ""))
end

return M
