--- A run under virtual time: the real queue, and slots, sandboxes and tests that are only numbers. Pure; the same seed
--- gives the same run.
---
--- What is modelled: sandboxes take time to start, a hand-out has a fixed cost, slots know one batch ahead, tests take
--- as long as they do, fail, are retried, are lost with their sandbox; sandboxes stall; what waits behind a test is
--- taken back for idle slots; copies of stragglers run elsewhere.

local heap = require("runner.base.heap")
local schedule = require("runner.schedule")

local M = {}

---@class runner.SimulatedTest
---@field id string
---@field group string?
---@field file string?
---@field duration number seconds that it takes
---@field cost number? seconds that the scheduler believes it takes; nil: it knows nothing
---@field straggles number? seconds after which an idle slot elsewhere may run a copy
---@field weight integer?
---@field exclusive true|string[]|nil
---@field priority number?
---@field fails integer? its first so many attempts fail

---@class runner.SimulatedPool
---@field sandboxes integer
---@field slots integer? of each (default 1)
---@field start number? seconds until one is ready (default 0)
---@field fixed_cost number? seconds that each hand-out costs (default 0)
---@field dies (fun(index: integer): number?)? when a sandbox dies, in seconds after it is ready
---@field stalls (fun(index: integer): number?)? when it stops working without a word
---@field detect number? seconds until a stall is noticed and the sandbox given up (default 20: two missed pings)

---@class runner.SimulatedRun
---@field makespan number seconds
---@field busy number seconds of work done in slots, lost work included
---@field sandbox_seconds number from the start of each sandbox to its end
---@field copies integer
---@field slots table[] with `keep`: { sandbox, slot, id, started, ended } of every execution

local function earlier(a, b)
  if a.time ~= b.time then return a.time < b.time end
  return a.order < b.order
end

local Model = {}
Model.__index = Model

local function at(self, time, fn, a, b)
  self.made = self.made + 1
  local event = { time = time, order = self.made, fn = fn, a = a, b = b }
  self.events:push(event)
  return event
end

local function options_of(self, slot)
  return {
    group = slot.group, provider = "simulated", sandbox = slot.sandbox.index, capacity = self.capacity,
    picky = self.open > 1,
  }
end

local begin, ask

local function push(slot, items)
  for _, item in ipairs(items) do
    slot.last = slot.last + 1
    slot.queue[slot.last] = item
  end
  slot.group = items[1].group
end

local function finish(self, slot, item)
  slot.running, slot.ending = nil, nil
  self.busy = self.busy + self.now - slot.started
  if self.keep then
    self.kept[#self.kept + 1] = {
      sandbox = slot.sandbox.index, slot = slot.index, id = item.id, started = slot.started, ended = self.now,
    }
  end
  local known, twin, other = self.queue:finished(slot, item)
  if twin then
    other.ending.fn, other.ending, other.running = nil, nil, nil
    self.busy = self.busy + self.now - other.started
    at(self, self.now, begin, other)
  end
  if known then
    if item.attempt <= (item.test.fails or 0) and item.attempt <= self.retries then
      local again = {
        test = item.test, id = item.id, group = item.group, cost = item.cost, attempt = item.attempt + 1,
        order = item.order, avoid = slot.sandbox.index, weight = item.weight, exclusive = item.exclusive,
        priority = item.priority,
      }
      self.queue:add({ again }, true)
    else
      self.left = self.left - 1
      self.makespan = self.now
    end
  end
  if self.queue.pending > 0 then self:wake() end
  begin(self, slot)
end

--- Starts what the slot has next.
function begin(self, slot)
  if slot.sandbox.dead then return end
  local item = slot.queue[slot.first]
  if not item then return ask(self, slot) end
  slot.queue[slot.first], slot.first = nil, slot.first + 1
  slot.running, slot.started = item, self.now
  self.queue:started(slot, item, self.now)
  self.copies = self.copies + (item.copy_of and 1 or 0)
  local more = self.queue:more(slot, options_of(self, slot))
  if more then push(slot, more) end
  slot.ending = at(self, self.now + item.test.duration, finish, slot, item)
end

--- A slot without work asks for some.
function ask(self, slot)
  if slot.sandbox.dead or self.left == 0 then return end
  local options = options_of(self, slot)
  local items = self.queue:lease(slot, options)
  if not items and options.picky then
    options.picky = false
    items = self.queue:lease(slot, options)
  end
  if items then
    push(slot, items)
    if self.fixed_cost > 0 then
      slot.ending = at(self, self.now + self.fixed_cost, begin, slot)
    else
      begin(self, slot)
    end
    return
  end
  items = self.queue:copy(slot, options, self.now)
  if items then
    push(slot, items)
    return begin(self, slot)
  end
  local due = self.queue:copy_due()
  if due and due ~= self.copy_due then
    self.copy_due = due
    at(self, math.max(due, self.now), function() self:wake(1) end)
  end
  self.idle[#self.idle + 1] = slot
  local other, n = self.queue:relieve(options)
  if other then
    local back = {}
    for i = math.max(other.first, other.last - n + 1), other.last do
      back[#back + 1], other.queue[i] = other.queue[i], nil
    end
    other.last = other.last - #back
    self.queue:returned(other, back)
    self:wake()
  end
end

--- As many idle slots as there are tests waiting ask again, or `n`.
function Model:wake(n)
  for _ = 1, math.min(#self.idle, n or self.queue.pending) do
    local slot = table.remove(self.idle)
    if not slot.sandbox.dead then at(self, self.now, ask, slot) end
  end
end

local open

--- A sandbox is gone; what its slots held is given out again.
local function lose(self, sandbox)
  if sandbox.dead then return end
  sandbox.dead = true
  self.open = self.open - 1
  self.sandbox_seconds = self.sandbox_seconds + self.now - sandbox.opened
  local again = {}
  for _, slot in ipairs(sandbox.slots) do
    if slot.ending then slot.ending.fn = nil end
    local back = {}
    if slot.running then
      self.busy = self.busy + self.now - slot.started
      local known, goes_on = self.queue:lost(slot, slot.running)
      if known and not goes_on then again[#again + 1] = slot.running end
    end
    for i = slot.first, slot.last do back[#back + 1] = slot.queue[i] end
    self.queue:returned(slot, back)
  end
  for _, item in ipairs(again) do item.copy_of, item.twin = nil, nil end
  self.queue:add(again, true)
  if self.left > 0 then open(self) end
  self:wake()
end

local function stall(_, sandbox)
  for _, slot in ipairs(sandbox.slots) do
    if slot.ending then slot.ending.fn = nil end
  end
end

local function ready(self, sandbox)
  self.open = self.open + 1
  for i = 1, self.capacity do
    local slot = { index = i, sandbox = sandbox, queue = {}, first = 1, last = 0 }
    sandbox.slots[i] = slot
    ask(self, slot)
  end
  local dies = self.pool.dies and self.pool.dies(sandbox.index)
  if dies then at(self, self.now + dies, lose, sandbox) end
  local stalls = self.pool.stalls and self.pool.stalls(sandbox.index)
  if stalls then
    at(self, self.now + stalls, stall, sandbox)
    at(self, self.now + stalls + (self.pool.detect or 20), lose, sandbox)
  end
end

function open(self)
  self.opened = self.opened + 1
  local sandbox = { index = self.opened, slots = {}, opened = self.now }
  at(self, self.now + (self.pool.start or 0), ready, sandbox)
end

--- Runs tests on a pool until all have ended. The tables of the tests are used for the run's own notes, too.
---@param tests runner.SimulatedTest[]
---@param pool runner.SimulatedPool
---@param options { retries: integer?, keep: boolean?, policies: table<string, runner.GroupPolicy>? }?
---@return runner.SimulatedRun
function M.run(tests, pool, options)
  options = options or {}
  local capacity = pool.slots or 1
  local policies = options.policies or {}
  for _, test in ipairs(tests) do
    local group = test.group or "tests"
    policies[group] = policies[group] or { fixed_cost = pool.fixed_cost }
  end
  local self = setmetatable({
    now = 0, made = 0, events = heap.new(earlier), pool = pool, capacity = capacity, retries = options.retries or 0,
    queue = schedule.new({ groups = policies, slots = pool.sandboxes * capacity }), idle = {}, open = 0, opened = 0,
    left = #tests, makespan = 0, busy = 0, copies = 0, sandbox_seconds = 0,
    fixed_cost = pool.fixed_cost or 0, keep = options.keep, kept = {},
  }, Model)
  -- A million tests are a lot of tables: each is its own first item.
  for i, test in ipairs(tests) do
    test.test, test.group, test.attempt, test.order = test, test.group or "tests", 1, i
  end
  self.queue:add(tests)
  for _ = 1, pool.sandboxes do open(self) end
  while self.left > 0 do
    local event = self.events:pop()
    if not event then error(("%d tests can never run"):format(self.left)) end
    if event.fn then
      self.now = event.time
      event.fn(self, event.a, event.b)
    end
  end
  return {
    makespan = self.makespan, busy = self.busy, copies = self.copies, slots = self.kept,
    sandbox_seconds = self.sandbox_seconds + self.open * self.makespan,
  }
end

return M
