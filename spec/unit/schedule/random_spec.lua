--- The queue under random events, thousands of sequences of them: finish, fail, lose, late and duplicate results, give
--- back, take back, copy, cancel, grow, shrink. Whatever happens, each test is decided exactly once, no rule of a group
--- is broken on the way, and there is an end.

local random = require("runner.schedule.forecast.random")
local schedule = require("runner.schedule")

local SEQUENCES = tonumber(os.getenv("RUNNER_SPEC_SEQUENCES")) or 2000
local STEPS = 20000

local World = {}
World.__index = World

local function groups_of(r)
  local groups = {}
  for i = 1, r:below(3) do
    groups["g" .. i] = {
      individual = r:below(3) == 1, max_parallel = r:below(3) == 1 and r:below(2) or nil,
      exclusive = r:below(8) == 1 and { "shared" } or nil, fixed_cost = r:below(2) == 1 and r:uniform() or nil,
    }
  end
  return groups
end

local function item_of(r, groups, i)
  local names = {}
  for name in pairs(groups) do names[#names + 1] = name end
  table.sort(names)
  local item = {
    id = "t" .. i, group = names[r:below(#names)], attempt = 1, file = r:below(2) == 1 and "f" .. r:below(5) or nil,
    cost = r:below(4) > 1 and r:lognormal(0, 2) or nil, test = { fails = r:below(6) == 1 and r:below(2) or 0 },
    straggles = r:below(2) == 1 and r:uniform() * 5 or nil,
  }
  if r:below(10) == 1 then item.exclusive = { "m" .. r:below(2) } end
  if r:below(40) == 1 then item.exclusive = true end
  if r:below(10) == 1 then item.weight = r:below(4) end
  if r:below(15) == 1 then item.priority = r:below(3) - 2 end
  if r:below(15) == 1 then item.only_on = { even = true } end
  return item
end

local function new(seed)
  local r = random.new(seed)
  local groups = groups_of(r)
  local self = setmetatable({
    r = r, groups = groups, now = 0, slots = {}, decided = {}, budget = {}, cancelled = false, made = 0, copies = 0,
    log = {}, late = {},
  }, World)
  self.total = r:below(60)
  self.queue = schedule.new({ groups = groups, slots = 4 })
  local items = {}
  for i = 1, self.total do items[i] = item_of(r, groups, i) end
  self.queue:add(items)
  for _ = 1, r:below(4) do self:grow() end
  return self
end

function World:grow()
  self.made = self.made + 1
  local box, capacity = "box" .. self.made, self.r:below(3)
  local provider = self.made % 2 == 0 and "even" or "odd"
  for i = 1, capacity do
    self.slots[#self.slots + 1] = {
      name = box .. "/" .. i, sandbox = box, capacity = capacity, provider = provider, held = {},
    }
  end
  self.queue:resize(#self.slots)
end

function World:options(slot)
  return {
    group = slot.group, provider = slot.provider, sandbox = slot.sandbox, capacity = slot.capacity,
    picky = self.r:below(2) == 1,
  }
end

--- The rules that must hold at every moment, over everything that is leased.
function World:check()
  local locks, used, working, serial, leased = {}, {}, {}, nil, 0
  for _, slot in ipairs(self.slots) do
    local groups, weight, own = {}, nil, {}
    for _, item in ipairs(slot.held) do
      leased = leased + 1
      groups[item.group] = true
      weight = math.max(weight or 1, math.min(item.weight or 1, slot.capacity))
      local exclusive = item.exclusive or self.groups[item.group].exclusive
      if exclusive == true then serial = slot end
      for _, lock in ipairs(type(exclusive) == "table" and exclusive or {}) do own[lock] = true end
      assert(not item.only_on or item.only_on[slot.provider], "a test where it may not run")
    end
    for lock in pairs(own) do
      assert(not locks[lock], "two slots hold the mutex " .. lock)
      locks[lock] = true
    end
    for group in pairs(groups) do working[group] = (working[group] or 0) + 1 end
    used[slot.sandbox] = (used[slot.sandbox] or 0) + (weight or 0)
    assert(used[slot.sandbox] <= slot.capacity, "too much weight in a sandbox")
  end
  for name, group in pairs(self.groups) do
    assert((working[name] or 0) <= (group.max_parallel or math.huge), "more slots than max_parallel")
  end
  if serial then
    for _, slot in ipairs(self.slots) do
      assert(slot == serial or #slot.held == 0, "something runs beside a test that wants the run for itself")
    end
  end
  assert(self.queue:leased() == leased, "the queue counts other leases than there are")
end

local function drop(list, value)
  for i, item in ipairs(list) do
    if item == value then return table.remove(list, i) end
  end
end

function World:decide(item)
  assert(not self.decided[item.id], item.id .. " is decided twice")
  self.decided[item.id] = true
end

function World:again(item, slot)
  local again = {}
  for key, value in pairs(item) do again[key] = value end
  again.attempt, again.avoid, again.twin, again.copy_of, again.pile = item.attempt + 1, slot.sandbox, nil, nil, nil
  self.queue:add({ again }, true)
end

function World:finish(slot)
  local item = slot.running
  if not item then return end
  slot.running = nil
  drop(slot.held, item)
  local known, twin, other = self.queue:finished(slot, item)
  assert(known, "a first result is not known")
  if twin then
    assert(drop(other.held, twin), "the twin is not where the queue believes it")
    if other.running == twin then other.running = nil end
    self.late[#self.late + 1] = { other, twin }
  end
  self.late[#self.late + 1] = { slot, item }
  if item.attempt <= item.test.fails and not self.cancelled then self:again(item, slot) else self:decide(item) end
end

function World:lose(slot)
  local running, lost = slot.running, {}
  slot.running = nil
  if running then
    drop(slot.held, running)
    local known, goes_on = self.queue:lost(slot, running)
    assert(known)
    if not goes_on then
      self.budget[running.id] = (self.budget[running.id] or 0) + 1
      if self.cancelled or self.budget[running.id] > 3 then self:decide(running) else self:again(running, slot) end
    end
  end
  for _, item in ipairs(slot.held) do lost[#lost + 1] = item end
  slot.held = {}
  self.queue:returned(slot, lost)
end

function World:shrink()
  local at = self.r:below(#self.slots)
  local box = self.slots[at].sandbox
  for i = #self.slots, 1, -1 do
    if self.slots[i].sandbox == box then
      self:lose(self.slots[i])
      table.remove(self.slots, i)
    end
  end
  if #self.slots == 0 then self:grow() self:grow() end
  self.queue:resize(#self.slots)
end

function World:hold(slot, items)
  for _, item in ipairs(items or {}) do slot.held[#slot.held + 1] = item end
  if items then slot.group = items[1].group end
end

function World:step()
  local r = self.r
  self.now = self.now + r:uniform()
  local slot, what = self.slots[r:below(#self.slots)], r:below(100)
  if what <= 40 then -- it starts what it has, or asks
    if #slot.held == 0 then
      self:hold(slot, self.queue:lease(slot, self:options(slot)))
    elseif not slot.running then
      slot.running = slot.held[1]
      assert(self.queue:started(slot, slot.running, self.now))
      self:hold(slot, self.queue:more(slot, self:options(slot)))
    end
  elseif what <= 75 then
    self:finish(slot)
  elseif what <= 80 and #slot.held == 0 then
    local other, n = self.queue:relieve(self:options(slot))
    local back = {}
    while other and n > 0 and #other.held > 0 and other.held[#other.held] ~= other.running do
      back[#back + 1] = table.remove(other.held)
      n = n - 1
    end
    if other then assert(self.queue:returned(other, back) == #back) end
  elseif what <= 85 and #slot.held == 0 then
    local items = self.queue:copy(slot, self:options(slot), self.now)
    self.copies = self.copies + (items and 1 or 0)
    self:hold(slot, items)
  elseif what <= 90 and #self.late > 0 then -- late and duplicate results
    local late = self.late[r:below(#self.late)]
    assert(not self.queue:finished(late[1], late[2]), "a late result counts")
    assert(not self.queue:started(late[1], late[2], self.now), "a late start counts")
  elseif what == 91 then
    self:lose(slot)
  elseif what == 92 then
    self:shrink()
  elseif what == 93 and #self.slots < 12 then
    self:grow()
  elseif what == 94 and r:below(30) == 1 then
    self.cancelled = true
    for _, item in ipairs(self.queue:drain()) do self:decide(item) end
  end
end

--- Nothing but even boxes may be left, or odd ones: what only runs on the other kind waits for one.
function World:serve()
  if self.queue.pending > 0 and self.queue:leased() == 0 and #self.slots < 12 then self:grow() end
end

local function play(seed)
  local world, steps = new(seed), 0
  while not world.queue:is_done() do
    steps = steps + 1
    assert(steps < STEPS, "no end")
    world:step()
    world:check()
    if steps % 50 == 0 then world:serve() end
    if world.cancelled then
      for _, item in ipairs(world.queue:drain()) do world:decide(item) end
    end
  end
  for i = 1, world.total do assert(world.decided["t" .. i], "t" .. i .. " is not decided") end
  assert(world.copies <= 8, "too many copies") -- of 60 tests at most
end

describe("the queue", function()
  it(("decides each test once, whatever happens (%d sequences)"):format(SEQUENCES), function()
    local first = tonumber(os.getenv("RUNNER_SPEC_SEED")) or os.time() * SEQUENCES
    for seed = first, first + SEQUENCES - 1 do
      local ok, err = xpcall(play, debug.traceback, seed)
      assert.is_true(ok, ("RUNNER_SPEC_SEED=%d: %s"):format(seed, tostring(err)))
    end
  end)

  it("hands out in the same order for the same events", function()
    local function orders(seed)
      local world, order = new(seed), {}
      local lease = world.queue.lease
      function world.queue.lease(...)
        local items = lease(...)
        for _, item in ipairs(items or {}) do order[#order + 1] = item.id end
        return items
      end
      for _ = 1, 500 do world:step() end
      return table.concat(order, " ")
    end
    for seed = 1, 20 do assert.are.equal(orders(seed), orders(seed)) end
  end)
end)
