--- Copies of stragglers: near the end, a test that takes far longer than it ever did may be stuck with a slow or sick
--- sandbox, so an idle one elsewhere runs it, too. The first result counts (speculative execution, Dean & Ghemawat
--- 2004). Pure: time comes from the caller.

local heap = require("runner.base.heap")

local M = {}

--- At most this part of all tests is copied, and at least so many may be: a run in which everything is slow is no run
--- with stragglers.
local PART, LEAST = 0.05, 8

--- What a copy has from its original: what it is, not what became of it.
local KEPT = {
  "id", "group", "file", "attempt", "cost", "order", "straggles", "test", "policy", "weight", "priority",
  "only_on",
}

---@class runner.Copies
---@field made integer
---@field package running runner.Heap of { item, lease, due }: some of them have ended
---@field package full integer so many are looked through for those
local Copies = {}
Copies.__index = Copies

local MANY = 64 -- entries of tests that have ended may stay until there are so many, or as many as run

local function earlier(a, b) return a.due < b.due end

---@return runner.Copies
function M.new()
  return setmetatable({ made = 0, running = heap.new(earlier), full = MANY }, Copies)
end

local function is_running(entry)
  return entry.lease.running == entry.item
end

--- Lets go of those that have ended: else every test of a run would stay until it were due.
local function tidy(self)
  local kept = heap.new(earlier)
  for i = 1, self.running.n do
    local entry = self.running[i]
    if is_running(entry) then kept:push(entry) end
  end
  self.running, self.full = kept, math.max(MANY, 2 * kept.n)
end

--- A test runs. It is a straggler when it still does `item.straggles` seconds later.
---@param item runner.Item
---@param lease runner.Lease
---@param now number seconds
function Copies:watch(item, lease, now)
  if item.straggles and not item.copy_of then
    if self.running.n >= self.full then tidy(self) end
    self.running:push({ item = item, lease = lease, due = now + item.straggles })
  end
end

--- When the next test becomes a straggler; nil: none does, or all copies are made that may be.
---@param tests integer in all
---@return number?
function Copies:due(tests)
  if self.made >= math.max(LEAST, tests * PART) then return nil end
  local entry = self.running:top()
  while entry and not is_running(entry) do
    self.running:pop()
    entry = self.running:top()
  end
  return entry and entry.due
end

--- A copy of the longest overdue straggler for an idle slot. The copy is the same attempt, not another one.
---@param sandbox any where the slot is
---@param tests integer in all
---@param now number
---@param may fun(one: runner.Class): boolean may one more slot, this one, work for its class?
---@return runner.Item? copy
---@return runner.Class? one class of both
function Copies:pick(sandbox, tests, now, may)
  local passed, copy, class = {}, nil, nil
  while not copy do
    local due = self:due(tests)
    if not due or due > now then break end
    local entry = self.running:pop()
    local item, lease = entry.item, entry.lease
    local one = item.class
    if not item.twin and not one.is_constrained and lease.sandbox ~= sandbox and may(one) then
      copy, class = { copy_of = item, twin = item }, one
      for _, key in ipairs(KEPT) do copy[key] = item[key] end
      item.twin = copy
      self.made = self.made + 1
    elseif not item.twin and not one.is_constrained then
      passed[#passed + 1] = entry -- not here, but another sandbox may have it, or this one later
    end
  end
  for _, entry in ipairs(passed) do self.running:push(entry) end
  return copy, class
end

return M
