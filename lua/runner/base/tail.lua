--- The end of a text that grows by many small pieces.

local M = {}

---@class runner.Tail
---@field package pieces string[]
---@field package size integer
---@field package limit integer
local Tail = {}
Tail.__index = Tail

local PIECES = 1024

---@param limit integer bytes; up to twice as many may be kept
---@return runner.Tail
function M.new(limit)
  return setmetatable({ pieces = {}, size = 0, limit = limit }, Tail)
end

---@param bytes string
function Tail:add(bytes)
  local pieces = self.pieces
  pieces[#pieces + 1] = bytes
  self.size = self.size + #bytes
  if self.size > 2 * self.limit then
    self:set(table.concat(pieces):sub(-self.limit))
  elseif #pieces >= PIECES then
    self.pieces = { table.concat(pieces) }
  end
end

---@param text string
function Tail:set(text)
  self.pieces, self.size = { text }, #text
end

---@return string
function Tail:text()
  local text = table.concat(self.pieces)
  self.pieces = { text }
  return text
end

return M
