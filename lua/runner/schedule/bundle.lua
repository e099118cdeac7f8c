--- The tests of one file that wait together, and a priority queue of such piles. Pure.
---
--- A pile is ranked by its longest test: what is long has to start early, and what shares its file comes along. A test
--- that waits alone is its own pile: most are, where files do not matter. The queue is loaded in bulk by sorting; later
--- changes go through a heap, so each costs O(log n).

local heap = require("runner.base.heap")

local M = {}

---@class runner.Pile
---@field package items runner.Item[]? in their order; `first` is the next. nil: the pile is its only item
---@field package by_cost runner.Item[]? longest first, when costs differ
---@field package left integer items that wait
---@field key number cost of the longest that waits; math.huge: to be handed out before anything else
---@field order integer of the first that waits

local function by_order(a, b) return a.order < b.order end

local function by_cost(a, b)
  if a.cost ~= b.cost then return a.cost > b.cost end
  return a.order < b.order
end

local function before(a, b)
  if a.key ~= b.key then return a.key > b.key end
  return a.order < b.order
end

--- Ranks a pile anew by what still waits in it. Taken items are passed over once, so all calls cost O(n) together.
local function rank(pile)
  local items, first = pile.items, pile.first
  while items[first] and items[first].place ~= pile do first = first + 1 end
  pile.first = first
  if pile.left == 0 then return end
  pile.order = items[first].order
  local costs = pile.by_cost
  if not costs then
    pile.key = items[first].cost
    return
  end
  local top = pile.top
  while costs[top].place ~= pile do top = top + 1 end
  pile.top, pile.key = top, costs[top].cost
end

--- The pile of an item that waits alone.
---@param item runner.Item
---@param urgent boolean? to be handed out before anything else
---@return runner.Pile
function M.of(item, urgent)
  item.place, item.key = item, urgent and math.huge or item.cost
  return item
end

local function put_in_order(items)
  for i = 2, #items do
    if items[i - 1].order > items[i].order then return table.sort(items, by_order) end
  end
end

---@param items runner.Item[] of one file; becomes the pile's own
---@return runner.Pile
function M.new(items)
  local item = items[1]
  if #items == 1 then return M.of(item) end
  local pile = { items = items, first = 1, left = #items, key = item.cost, order = item.order }
  local even = true
  for i = 1, #items do
    items[i].place = pile
    even = even and items[i].cost == item.cost
  end
  put_in_order(items)
  if not even then
    pile.by_cost, pile.top = table.move(items, 1, #items, 1, {}), 1
    table.sort(pile.by_cost, by_cost)
  end
  rank(pile)
  return pile
end

local function take(pile, item, out)
  item.place = nil
  pile.left = pile.left - 1
  out[#out + 1] = item
  return item.cost
end

--- The item that comes next.
---@param pile runner.Pile
---@return runner.Item
function M.first(pile)
  return pile.items and pile.items[pile.first] or pile
end

--- How much waits in a pile; counts no further than `limit`.
local function worth(pile, limit)
  local sum = 0
  for i = pile.first, #pile.items do
    if pile.items[i].place == pile then sum = sum + pile.items[i].cost end
    if sum > limit then break end
  end
  return sum
end

--- Takes items worth about `budget`: those that come next, or the longest alone when it fills the budget by itself.
--- A pile that would be left with little is taken whole, so that its file is not begun twice.
---@param pile runner.Pile
---@param budget number cost
---@param one boolean? no more than one item
---@param out runner.Item[] they are appended here
---@return number cost of what was taken
---@return boolean more something is left
function M.take(pile, budget, one, out)
  if not pile.items then
    pile.place, pile.key = nil, nil
    out[#out + 1] = pile
    return pile.cost, false
  elseif pile.left == 1 then
    return take(pile, pile.items[pile.first], out), false
  end
  local longest = pile.by_cost and pile.by_cost[pile.top]
  if one or longest and longest.cost >= budget then
    local taken = take(pile, longest or pile.items[pile.first], out)
    rank(pile)
    return taken, true
  end
  local items, at, taken = pile.items, pile.first, 0
  local limit = worth(pile, 1.5 * budget) <= 1.5 * budget and math.huge or budget
  while pile.left > 0 and (taken == 0 or taken + items[at].cost <= limit) do
    if items[at].place == pile then taken = taken + take(pile, items[at], out) end
    repeat at = at + 1 until not items[at] or items[at].place == pile
  end
  rank(pile)
  return taken, pile.left > 0
end

---@class runner.PileQueue
---@field package sorted runner.Pile[] in order; `at` is the next
---@field package heap runner.Heap
local Queue = {}
Queue.__index = Queue

---@return runner.PileQueue
function M.queue()
  return setmetatable({ sorted = {}, at = 1, heap = heap.new(before) }, Queue)
end

--- Piles in order. Numbers are sorted, and what has one number is found by it: to compare a million tables is to wait
--- for memory.
local function in_order(piles)
  local one, many, keys, n = {}, {}, {}, 0
  for i = 1, #piles do
    local pile = piles[i]
    local key = pile.key
    if not one[key] then
      n = n + 1
      one[key], keys[n] = pile, key
    elseif many[key] then
      table.insert(many[key], pile)
    else
      many[key] = { one[key], pile }
    end
  end
  table.sort(keys)
  local out, count = {}, 0
  for i = n, 1, -1 do
    local key = keys[i]
    local same = many[key]
    if same then
      put_in_order(same)
      table.move(same, 1, #same, count + 1, out)
      count = count + #same
    else
      count = count + 1
      out[count] = one[key]
    end
  end
  return out
end

--- Adds many piles at once.
---@param piles runner.Pile[]
function Queue:load(piles)
  if self.sorted[self.at] or #piles == 1 then
    for _, pile in ipairs(piles) do self:push(pile) end
    return
  end
  self.sorted, self.at = in_order(piles), 1
end

---@param pile runner.Pile
function Queue:push(pile)
  self.heap:push(pile)
end

---@return runner.Pile?
function Queue:top()
  local a, b = self.sorted[self.at], self.heap[1]
  if a and b then return before(b, a) and b or a end
  return a or b
end

---@return runner.Pile?
function Queue:pop()
  local at = self.at
  local a, b = self.sorted[at], self.heap[1]
  if not a or b and before(b, a) then return self.heap:pop() end
  self.sorted[at], self.at = nil, at + 1
  return a
end

return M
