--- A binary heap (Williams 1964): push and pop in O(log n). Pure.

local M = {}

---@class runner.Heap
---@field package before fun(a: any, b: any): boolean
---@field n integer
local Heap = {}
Heap.__index = Heap

---@param before fun(a: any, b: any): boolean does `a` come before `b`?
---@return runner.Heap
function M.new(before)
  return setmetatable({ before = before, n = 0 }, Heap)
end

---@param value any
function Heap:push(value)
  local before, at = self.before, self.n + 1
  self.n = at
  while at > 1 do
    local parent = at // 2
    if not before(value, self[parent]) then break end
    self[at] = self[parent]
    at = parent
  end
  self[at] = value
end

---@return any? nil when it is empty
function Heap:top()
  return self[1]
end

---@return any?
function Heap:pop()
  local top, n, before = self[1], self.n, self.before
  if n == 0 then return nil end
  local last = self[n]
  self[n] = nil
  n = n - 1
  self.n = n
  if n == 0 then return top end
  local at = 1
  while true do
    local child = 2 * at
    if child > n then break end
    if child < n and before(self[child + 1], self[child]) then child = child + 1 end
    if not before(self[child], last) then break end
    self[at] = self[child]
    at = child
  end
  self[at] = last
  return top
end

return M
