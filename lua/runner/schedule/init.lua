--- The queue: which tests a slot gets next. Pure: no I/O, no clock, no randomness, so that a simulator runs this very
--- code. The caller reports what happened; the queue answers what to do. Each event costs O(log n).
---
--- Longest first (LPT, Graham 1969), handed out in batches that shrink with the work that is left (guided
--- self-scheduling, Polychronopoulos & Kuck 1987), so that the fixed cost of a hand-out is paid seldom and no slot is
--- left with a long tail. Tests of one file stay together while that costs nothing. What a slot was given but has not
--- started can be taken back for an idle one.
---
--- Tests under the same rules (group, providers, mutexes, weight, priority) form a class with a queue of its own; a
--- slot gets from the most urgent class that may run now. An item is one pending attempt; every item is in exactly one
--- place: pending, or leased to one slot.

local class = require("runner.schedule.class")
local speculation = require("runner.schedule.speculation")
local leases = require("runner.schedule.leases")
local bundle = require("runner.schedule.bundle")

local M = {}

--- A slot stays with its group unless another has a test that would take this part of what each slot still has to do.
local STAY = 0.25
--- How much work a slot may have ahead when it gets more: seconds, or part of what each slot still has to do.
local AHEAD_S, AHEAD = 0.25, 0.05
--- A slot gets more once it has started this part of its last batch.
local REFILL_AT = 0.5

---@class runner.Item one attempt of a test, pending or leased
---@field id string
---@field group string
---@field file string?
---@field whole_file boolean? tests of its file that wait together are handed out together
---@field attempt integer
---@field cost number? predicted seconds; default 1: costs are compared with each other only
---@field order integer? place among all tests; default: as added
---@field avoid any? a sandbox that should not get it while another can
---@field weight integer? slots that it takes in its sandbox (default 1)
---@field exclusive true|string[]|nil mutexes that it needs; true: nothing else runs meanwhile
---@field priority number? higher first (default 0)
---@field only_on table<string, true>? names of the providers that may run it
---@field straggles number? seconds after which a copy of it may run elsewhere; nil: never
---@field package place runner.Pile|runner.Lease|nil where it is: waiting, or leased
---@field package key number? as of a pile, while it is one
---@field package class runner.Class? while it is leased
---@field package begun boolean? it has started; in a lease, more than one has when they take turns
---@field twin runner.Item? the same attempt on another slot, while both run
---@field copy_of runner.Item? the one that it copies

---@class runner.GroupPolicy
---@field individual boolean? hand out one test at a time
---@field order integer? among equally urgent groups, lower numbers are served first
---@field only_on table<string, true>? names of the providers that may run it; nil: all
---@field max_parallel integer? slots that may work for it at once
---@field weight integer? default of its items, as are the next two
---@field exclusive true|string[]|nil
---@field priority number?
---@field fixed_cost number? seconds that each hand-out costs on top of its tests

---@class runner.Schedule
---@field pending integer items that wait
---@field work number cost of what waits
---@field package classes runner.Class[]
---@field package leases runner.Leases
---@field package locks table<string, true> mutexes that are held
---@field package used table<any, integer> by sandbox: slots that its leases take
local Schedule = {}
Schedule.__index = Schedule

---@param spec { groups: table<string, runner.GroupPolicy>, slots: integer, in_order: boolean? }
---   slots: how many will ask; in_order: whatever the rules of tests, the first that may run comes first
---@return runner.Schedule
function M.new(spec)
  return setmetatable({
    policies = spec.groups, classes = {}, by_key = {}, by_group = {}, leases = leases.new(), locks = {}, used = {},
    running = {}, copies = speculation.new(), slots = math.max(1, spec.slots), pending = 0, work = 0, added = 0,
    tests = 0, serial = 0, in_order = spec.in_order,
  }, Schedule)
end

--- Tells how many slots share the queue; batches are sized by it.
---@param slots integer
function Schedule:resize(slots)
  self.slots = math.max(1, slots)
end

-- Adding ------------------------------------------------------------------------------------------------------------

local function class_of(self, item)
  local has_own_rules = item.weight or item.priority or item.exclusive or item.only_on
  local found = not has_own_rules and self.by_group[item.group]
  if found then return found end
  local policy = assert(self.policies[item.group], "unknown group")
  local key = class.key(item, policy)
  found = self.by_key[key]
  if not found then
    found = class.new(item, policy)
    self.by_key[key] = found
    self.classes[#self.classes + 1] = found
  end
  if not has_own_rules then self.by_group[item.group] = found end
  return found
end

--- Adds items. In `front`: they are handed out before anything else; retries are, because a late start of theirs would
--- make the tail longer.
---@param items runner.Item[]
---@param front boolean?
function Schedule:add(items, front)
  local by_class, order, added, work = {}, {}, self.added, self.work
  for i = 1, #items do
    local item = items[i]
    local into, cost, file = class_of(self, item), item.cost, not front and item.file
    added = added + 1
    if cost then self.has_costs = true end
    cost = math.max(0, cost or 1)
    item.order, item.cost = item.order or added, cost
    local new = by_class[into]
    if not new then
      new = { piles = {}, files = {} }
      by_class[into], order[#order + 1] = new, into
    end
    local made, together = new.piles, file and new.files[file]
    if not file then
      made[#made + 1] = bundle.of(item, front)
    elseif together then
      together[#together + 1] = item
    else
      new.files[file] = { item }
      table.insert(new.files, new.files[file])
    end
    into.pending, into.work, work = into.pending + 1, into.work + cost, work + cost
    if into.serial then self.serial = self.serial + 1 end
  end
  self.added, self.pending, self.work = added, self.pending + #items, work
  if not front then self.tests = self.tests + #items end -- retries are no further tests
  for _, into in ipairs(order) do
    local made = by_class[into].piles
    for _, list in ipairs(by_class[into].files) do made[#made + 1] = bundle.new(list) end
    into.queue:load(made)
  end
end

-- Leasing -----------------------------------------------------------------------------------------------------------

--- Do as many slots work for the group of a class as may?
local function is_full(self, one)
  return one.max_parallel ~= nil and (self.running[one.group] or 0) >= one.max_parallel
end

--- May a class run on this slot now, mutexes and limits considered?
local function admissible(self, one, options, held)
  if one.pending == 0 or one.only_on and not one.only_on[options.provider] then return false end
  if one.serial then
    if self.leases.count > 0 or self.pending > self.serial and not options.last then return false end
  elseif self.serial_runs then
    return false
  end
  for _, lock in ipairs(one.locks) do
    if self.locks[lock] then return false end
  end
  return held ~= nil and held.group == one.group or not is_full(self, one)
end

--- Does a class of this weight fit into the sandbox beside what runs there?
local function fits(self, weight, options)
  local capacity = options.capacity or math.huge
  return (self.used[options.sandbox] or 0) + math.min(weight, capacity) <= capacity
end

--- May `other` be served before the most urgent class, because a slot does that with less ado?
local function may_precede(self, other, best)
  if not other or other.priority ~= best.priority then return false end
  if other == best or other.urgent == math.huge then return true end
  -- A retry comes first, but not even that is worth much ado while it is short.
  local is_retry = best.urgent == math.huge
  local worth = is_retry and bundle.first(best.queue:top()).cost or best.urgent
  return not is_retry and worth <= other.urgent or worth <= STAY * (self.work + worth) / self.slots
end

--- The class to serve a slot from: the one with the highest priority and the longest test (or chain of tests that must
--- run one after the other). While that is not much more urgent than others: one of the slot's own group, and none
--- that has to wait until there is room for it in the sandbox. Where nothing runs yet, what is heavy comes first: later
--- slots would have to wait for each other.
---@param passed table<runner.Class, true>? not these
local function choose(self, slot, options, passed)
  local best, roomy, own, heavy
  local held = self.leases.by_slot[slot]
  local is_empty = not held and (self.used[options.sandbox] or 0) == 0
  for _, one in ipairs(self.classes) do
    if not (passed and passed[one]) and admissible(self, one, options, held) then
      one.urgent = self.in_order and one:earliness() or one:urgency()
      if not best or class.before(one, best) then best = one end
      if fits(self, one.weight, options) or held and one.weight == 1 then
        if not roomy or class.before(one, roomy) then roomy = one end
        if one.group == options.group and (not own or class.before(one, own)) then own = one end
        if is_empty and one.weight > 1 and (not heavy or class.before(one, heavy)) then heavy = one end
      end
    end
  end
  if not best then return nil end
  if self.in_order then return best end
  return may_precede(self, heavy, best) and heavy or may_precede(self, own, best) and own
    or may_precede(self, roomy, best) and roomy or best
end

local function enter(self, slot, one, items, options)
  local lease = self.leases.by_slot[slot]
  if not lease then
    lease = self.leases:open(slot, options.sandbox, one.group, math.min(one.weight, options.capacity or one.weight))
    self.running[one.group] = (self.running[one.group] or 0) + 1
    if lease.sandbox ~= nil then self.used[lease.sandbox] = (self.used[lease.sandbox] or 0) + lease.weight end
  end
  if not lease.counts[one] then
    for _, lock in ipairs(one.locks) do self.locks[lock] = true end
    if one.serial then self.serial_runs = true end
  end
  self.leases:give(lease, one, items)
end

--- Fills a batch from the piles of a class.
local function fill(self, one, options)
  local budget = self.work / (2 * self.slots)
  local fixed = self.policies[one.group].fixed_cost
  if fixed then budget = math.max(budget, math.min(4 * fixed, self.work / self.slots)) end
  local queue, items, passed, taken = one.queue, {}, {}, 0
  local alone, avoided = one.individual or one.is_constrained, options.picky and options.sandbox or nil
  while taken < budget or #items == 0 do
    local pile = queue:top()
    if not pile or #items > 0 and (alone or pile.key > budget - taken and pile.key < math.huge) then break end
    queue:pop()
    local first = bundle.first(pile)
    if avoided ~= nil and first.avoid == avoided then
      passed[#passed + 1] = pile
    else
      local cost, more = bundle.take(pile, first.whole_file and math.huge or budget - taken, alone, items)
      taken = taken + cost
      if more then
        queue:push(pile)
        if taken >= budget / 2 then break end
      end
    end
  end
  for i = 1, #passed do queue:push(passed[i]) end
  return items, taken
end

local function hand_out(self, slot, one, options)
  local items, taken = fill(self, one, options)
  if #items == 0 then return nil end
  one.pending, one.work = one.pending - #items, one.work - taken
  self.pending, self.work = self.pending - #items, self.work - taken
  if self.pending == 0 then self.work = 0 end -- sums of fractions drift
  if one.serial then self.serial = self.serial - #items end
  enter(self, slot, one, items, options)
  return items
end

--- Leases the next batch to `slot`: items of one class.
---@param slot any identity of the slot
---@param options { group: string?, provider: string?, sandbox: any?, picky: boolean?, last: boolean?,
---   capacity: integer? }
---   group: preferred; provider: name of the one that the slot belongs to; sandbox: where the slot is; picky: leave
---   what should avoid this sandbox to others; last: what runs alone need not wait for the others; capacity: slots of
---   the sandbox, for weights
---@return runner.Item[]|nil items nil when there is nothing (for this slot, now)
function Schedule:lease(slot, options)
  local passed = {}
  while true do
    local one = choose(self, slot, options, passed)
    if not one or not self.leases.by_slot[slot] and not fits(self, one.weight, options) then return nil end
    local items = hand_out(self, slot, one, options)
    if items then return items end
    passed[one] = true -- all that it has is to avoid this sandbox
  end
end

--- More for a slot that runs dry, of the group that it works for: a worker that knows the next test in time never waits
--- for us, and keeps the fixtures that it shares. What it holds too much of can be taken back. Nothing while something
--- else is more urgent: the slot gets that once it has run dry.
---@param slot any
---@param options table as for `lease`
---@return runner.Item[]|nil
function Schedule:more(slot, options)
  local lease = self.leases.by_slot[slot]
  if not lease or self.policies[lease.group].individual then return nil end
  if lease.weight > 1 then return nil end -- what came on top would keep all its slots
  if lease.unstarted > math.max(1, lease.batch * REFILL_AT) then return nil end
  if self.has_costs then
    -- What waits behind a long test starts late: better a round trip after it.
    local wait = lease.behind + (lease.running and lease.running.cost or 0)
    if wait > math.max(AHEAD_S, AHEAD * self.work / self.slots) then return nil end
  end
  options.group = lease.group
  local one = choose(self, slot, options)
  if not one or one.group ~= lease.group or one.is_constrained then return nil end
  return hand_out(self, slot, one, options)
end

-- What slots report -------------------------------------------------------------------------------------------------

local function unlease(self, slot, item)
  local lease, one = self.leases:take(slot, item)
  if not lease then return false end
  if not lease.counts[one] then
    for _, lock in ipairs(one.locks) do self.locks[lock] = nil end
    if one.serial then self.serial_runs = nil end
  end
  if lease.count == 0 then
    self.running[lease.group] = self.running[lease.group] - 1
    if lease.sandbox ~= nil then self.used[lease.sandbox] = self.used[lease.sandbox] - lease.weight end
  end
  return true
end

--- An item of `slot` runs now.
---@param now number? seconds; without it, no copies are made of it
---@return boolean known false for a late or duplicate report
function Schedule:started(slot, item, now)
  local known = self.leases:start(slot, item)
  if known and now then self.copies:watch(item, item.place, now) end
  return known
end

--- An item of `slot` has ended. If it had a twin, the first of both decides, and the other is to be stopped; what is
--- heard of that later is not known any more.
---@return boolean known false for a late or duplicate report, which must not count
---@return runner.Item? twin
---@return any? twin_slot
function Schedule:finished(slot, item)
  local known = unlease(self, slot, item)
  local twin = known and item.twin
  if not twin then return known end
  item.twin, twin.twin = nil, nil
  local other = twin.place.slot
  unlease(self, other, twin)
  return true, twin, other
end

--- An item of `slot` went with its sandbox, or was given up. When its twin still runs, that is now the attempt.
---@return boolean known
---@return boolean goes_on nothing has to be decided: a twin has taken its place
function Schedule:lost(slot, item)
  local known = unlease(self, slot, item)
  local twin = known and item.twin
  if not twin then return known, false end
  item.twin, twin.twin = nil, nil
  return true, true
end

--- A copy of a straggler for an idle slot; leased to it like any item.
---@param slot any
---@param options table as for `lease`
---@param now number seconds
---@return runner.Item[]|nil
function Schedule:copy(slot, options, now)
  if self.leases.by_slot[slot] or self.serial_runs or not fits(self, 1, options) then return nil end
  local function may(one)
    return (not one.only_on or one.only_on[options.provider]) and not is_full(self, one)
  end
  local item, one = self.copies:pick(options.sandbox, self.tests, now, may)
  if not item then return nil end
  enter(self, slot, one, { item }, options)
  return { item }
end

--- When the next test becomes a straggler of which a copy may be made; nil: none does.
---@return number? seconds
function Schedule:copy_due()
  return self.copies:due(self.tests)
end

--- `slot` gave items back: they wait again, in their old places; one whose twin still runs is not needed.
---@param items runner.Item[]
---@return integer accepted
function Schedule:returned(slot, items)
  local waiting, accepted = {}, 0
  -- Who has nothing to give now is not asked again before something of it starts: both would go on for ever.
  if items[1] then self.leases:answered(slot) end
  for _, item in ipairs(items) do
    if unlease(self, slot, item) then
      accepted = accepted + 1
      local twin = item.twin
      if twin then item.twin, twin.twin = nil, nil else waiting[#waiting + 1] = item end
    end
  end
  self:add(waiting)
  self.tests = self.tests - #waiting -- they were counted before
  return accepted
end

--- Whom an idle slot can relieve: who has the most work behind its running test that may run here, too.
---@param options { provider: string? }
---@return any? slot
---@return integer? n items to ask back, from the end of what it has
function Schedule:relieve(options)
  return self.leases:richest(function(lease)
    for one in pairs(lease.counts) do
      if one.is_constrained or one.only_on and not one.only_on[options.provider] then return false end
      if is_full(self, one) then return false end
    end
    return true
  end)
end

--- The classes that have items waiting, in the order in which they came.
---@return runner.Class[]
function Schedule:waiting()
  local list = {}
  for _, one in ipairs(self.classes) do
    if one.pending > 0 then list[#list + 1] = one end
  end
  return list
end

--- Empties the queue, or that of one group or class, when nothing more is to be handed out of it.
---@param which string|runner.Class|nil
---@return runner.Item[] what was pending
function Schedule:drain(which)
  local items = {}
  for _, one in ipairs(self.classes) do
    if not which or one.group == which or one == which then
      local pile = one.queue:pop()
      while pile do
        bundle.take(pile, math.huge, false, items)
        pile = one.queue:pop()
      end
      self.pending, self.work = self.pending - one.pending, self.work - one.work
      if one.serial then self.serial = self.serial - one.pending end
      one.pending, one.work = 0, 0
    end
  end
  return items
end

--- How many items are leased.
---@return integer
function Schedule:leased()
  return self.leases.count
end

--- Nothing waits and nothing is leased.
---@return boolean
function Schedule:is_done()
  return self.pending == 0 and self.leases.count == 0
end

return M
