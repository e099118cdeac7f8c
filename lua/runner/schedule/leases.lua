--- Who holds what: the items that each slot was given, which of them runs, and who could give some back. Pure.

local heap = require("runner.base.heap")

local M = {}

--- So many who could give something back are looked at before an idle slot is left to wait.
local TRIES = 8

---@class runner.Lease
---@field slot any
---@field counts table<runner.Class, integer>
---@field count integer items
---@field list runner.Item[] from `first` to `last`, in the order in which they were given; some of them have ended
---@field unstarted integer
---@field behind number cost of the unstarted
---@field batch integer size of the last hand-out
---@field running runner.Item?
---@field asked boolean to give something back; until it has, or starts the next
---@field sandbox any
---@field weight integer slots that it takes
---@field group string

---@class runner.Leases
---@field by_slot table<any, runner.Lease>
---@field count integer leased items
---@field package rich runner.Heap of { lease, behind }: may be out of date
local Leases = {}
Leases.__index = Leases

local function richer(a, b)
  if a.behind ~= b.behind then return a.behind > b.behind end
  return a.order < b.order
end

---@return runner.Leases
function M.new()
  return setmetatable({ by_slot = {}, count = 0, rich = heap.new(richer), made = 0 }, Leases)
end

---@param slot any
---@param sandbox any
---@param group string
---@param weight integer
---@return runner.Lease
function Leases:open(slot, sandbox, group, weight)
  self.made = self.made + 1
  -- All fields at once: a table that grows is made anew.
  local lease = {
    slot = slot, order = self.made, sandbox = sandbox, group = group, weight = weight, counts = {}, list = {},
    first = 1, last = 0, count = 0, unstarted = 0, behind = 0, batch = 0, asked = false, offered = false, running = nil,
  }
  self.by_slot[slot] = lease
  return lease
end

--- Lists a lease among those who could give something back: who holds one item never does.
local function offer(self, lease)
  if lease.unstarted > 0 and lease.count > 1 and not lease.offered then
    lease.offered = true
    self.rich:push({ lease = lease, behind = lease.behind, order = lease.order })
  end
end

--- Lets go of what has ended at the front of the list, which would else hold all that a slot ever had.
local function tidy(lease)
  local list, first, last = lease.list, lease.first, lease.last
  while first <= last and list[first].place ~= lease do
    list[first], first = nil, first + 1
  end
  lease.first = first
end

---@param lease runner.Lease
---@param one runner.Class
---@param items runner.Item[]
function Leases:give(lease, one, items)
  lease.counts[one] = (lease.counts[one] or 0) + #items
  lease.count, lease.unstarted, lease.batch = lease.count + #items, lease.unstarted + #items, #items
  self.count, lease.asked = self.count + #items, false
  local list, last, behind = lease.list, lease.last, lease.behind
  for i = 1, #items do
    local item = items[i]
    item.place, item.class, behind, last = lease, one, behind + item.cost, last + 1
    list[last] = item
  end
  lease.last, lease.behind = last, behind
  offer(self, lease)
end

--- An item of a slot runs now.
---@return boolean known
function Leases:start(slot, item)
  local lease = self.by_slot[slot]
  if not lease or item.place ~= lease or lease.running == item then return false end
  lease.running, lease.asked = item, false
  if item.begun then return true end -- it goes on after another of its process
  item.begun = true
  lease.unstarted, lease.behind = lease.unstarted - 1, lease.behind - item.cost
  return true
end

--- Takes an item out of its lease.
---@return runner.Lease? lease nil: it is not leased to this slot
---@return runner.Class? one its class
function Leases:take(slot, item)
  local lease = self.by_slot[slot]
  if not lease or item.place ~= lease then return nil end
  local one = item.class
  item.place = nil
  lease.count, self.count = lease.count - 1, self.count - 1
  lease.counts[one] = lease.counts[one] > 1 and lease.counts[one] - 1 or nil
  if lease.running == item then lease.running = nil end
  if item.begun then
    item.begun = nil
  else
    lease.unstarted, lease.behind = lease.unstarted - 1, lease.behind - item.cost
  end
  if lease.count == 0 then self.by_slot[slot] = nil end
  tidy(lease)
  return lease, one
end

--- A slot has given back what it was asked for.
function Leases:answered(slot)
  local lease = self.by_slot[slot]
  if lease then lease.asked = false end
end

--- How many of the last items of a lease are worth half of what waits in it.
local function half(lease)
  local list, worth, n = lease.list, 0, 0
  for i = lease.last, lease.first, -1 do
    local item = list[i]
    if item.place ~= lease then
      if i == lease.last then list[i], lease.last = nil, i - 1 end -- gone; nor does it grow here
    elseif not item.begun then
      worth, n = worth + item.cost, n + 1
      if worth >= lease.behind / 2 or n >= (lease.unstarted + 1) // 2 and lease.behind <= 0 then break end
    end
  end
  return math.max(1, n)
end

--- The slot with the most work waiting behind a running test, of which another may have some.
---@param may fun(lease: runner.Lease): boolean may the other run what this lease holds?
---@return any? slot
---@return integer? n items to ask back from the end of what it has
function Leases:richest(may)
  local passed, slot, n = {}, nil, nil
  while #passed < TRIES do
    local entry = self.rich:pop()
    if not entry then break end
    local lease = entry.lease
    if self.by_slot[lease.slot] ~= lease or lease.unstarted == 0 then
      lease.offered = false
    elseif entry.behind > lease.behind then
      entry.behind = lease.behind -- it has worked meanwhile
      self.rich:push(entry)
    else
      passed[#passed + 1] = entry
      -- Of a worker that runs none the next is about to start: two such slots would take it from each other for ever.
      local spare = lease.running and lease.unstarted or lease.unstarted - 1
      if not lease.asked and spare > 0 and may(lease) then
        slot, n, lease.asked = lease.slot, math.min(half(lease), spare), true
        break
      end
    end
  end
  for _, entry in ipairs(passed) do self.rich:push(entry) end
  return slot, n
end

return M
