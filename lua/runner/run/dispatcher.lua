--- Between the queue and the slots: who gets what next, who waits, and from whom something is taken back.

local uv = require("luv")
local estimates = require("runner.schedule.estimates")
local schedule = require("runner.schedule")
local task = require("runner.base.task")

local M = {}

--- A straggler that no idle slot could copy is offered again after so long.
local LOOK_AGAIN_S = 1

---@class runner.Dispatch
---@field schedule runner.Schedule? once the tests are known
---@field package run runner.Run
---@field package idle fun()[] slots that wait for work
local Dispatch = {}
Dispatch.__index = Dispatch

---@param run runner.Run
---@return runner.Dispatch
function M.new(run)
  return setmetatable({ run = run, idle = {}, queued = task.event() }, Dispatch)
end

--- Fills the queue.
---@param items runner.Item[]
function Dispatch:enqueue(items)
  local settings = self.run.settings
  self.schedule = schedule.new({
    groups = estimates.policies(settings, self.run.history), slots = self.run.pool.slots,
    in_order = settings.selection ~= nil and settings.selection.replay ~= nil,
  })
  self.schedule:add(items)
  self.queued:set()
end

--- Lets those who wait ask again.
function Dispatch:wake()
  local idle = self.idle
  self.idle = {}
  for _, resume in ipairs(idle) do resume() end
end

--- Gives up what waits for a provider of which no sandbox is left.
local function drop_unserved(self)
  local run = self.run
  for _, one in ipairs(self.schedule:waiting()) do
    if one.only_on and not run.pool:can_serve(one.only_on) then
      local names = {}
      for name in pairs(one.only_on) do names[#names + 1] = name end
      table.sort(names)
      self:drop(one, function(n)
        return ("no sandbox of %s is left; tests of group %s that wait for one: %d")
          :format(table.concat(names, " or "), one.group, n)
      end)
    end
  end
end

--- Gives up what waits of a group, or of one of its classes.
---@param which string|runner.Class
---@param describe fun(n: integer): string the message, for so many tests
---@param problem table? kind and text of the problem; default: the infrastructure's
function Dispatch:drop(which, describe, problem)
  problem = problem or { kind = "infrastructure" }
  local dropped = self.schedule:drain(which)
  problem.message = describe(#dropped)
  self.run.attempts:dropped(dropped, problem.message)
  self.run:problem(problem, type(which) == "table" and which.group or which)
end

local function has_other_sandbox(self, sandbox)
  for _, slot in ipairs(self.run.slots) do
    if slot.sandbox ~= sandbox and not slot.sandbox.lost then return true end
  end
  return false
end

local function options_of(self, slot)
  return {
    group = slot.group, provider = slot.sandbox.provider.name, sandbox = slot.sandbox.id,
    capacity = slot.sandbox.slots, picky = has_other_sandbox(self, slot.sandbox),
  }
end

--- Copies never run on this machine, which their tests may share more with than sandboxes do.
local function may_copy(self, slot)
  return self.run.settings.copies ~= false and slot.sandbox.provider.name ~= "local" and not self.run.stopping
end

--- Looks again when the next test becomes a straggler: an idle slot may copy it, and a pool that was kept small because
--- its tests were believed to be short may grow.
local function watch_stragglers(self)
  local due, now = self.schedule:copy_due(), uv.now() / 1000
  if not due then return end
  if due <= now then due = now + LOOK_AGAIN_S end -- nobody could copy it yet
  if self.timer_due and self.timer_due <= due then return end
  self.timer, self.timer_due = self.timer or uv.new_timer(), due
  self.timer:start(math.max(1, math.ceil((due - now) * 1000)), 0, function()
    self.timer_due = nil
    if self.run.kept_small then
      self.run.kept_small = nil
      self.run.pool:limit(self.schedule.pending + self.schedule:leased())
    end
    self:wake()
  end)
  self.timer:unref()
end

--- Is this slot one too many? Its sandbox costs something, nothing waits, and whatever runs has an idle slot in another
--- sandbox than its own: for a retry, or a copy.
local function is_spare(self, slot)
  if self.schedule.pending > 0 or slot.sandbox.provider.name == "local" or self.run.stopping then return false end
  local idle, busy = nil, {}
  for _, other in ipairs(self.run.slots) do
    local sandbox = other ~= slot and not other.sandbox.lost and other.sandbox
    if sandbox and other.waiting then
      if idle and idle ~= sandbox then return true end
      idle = sandbox
    elseif sandbox and other.count > 0 then
      busy[sandbox] = true
    end
  end
  return idle ~= nil and not busy[idle]
end

--- The next items for a slot; waits while others may still give some back. nil: nothing is left for it.
---@param slot runner.Slot
---@return runner.Item[]?
---@async
function Dispatch:next(slot)
  if not self.schedule then
    slot:warm_up(self.run.first_group)
    self.queued:wait()
  end
  while not slot.sandbox.lost do
    if self.run.stopping then self.schedule:drain() end
    local options = options_of(self, slot)
    local items = self.schedule:lease(slot, options)
    if not items and options.picky then
      options.picky = false
      items = self.schedule:lease(slot, options)
    end
    if items then return items end
    if self.schedule:leased() == 0 then
      drop_unserved(self)
      options.last = true
      items = self.schedule:lease(slot, options)
      if items then return items end
      -- Nothing runs, and nothing that waits may run here: this slot makes room for one of another provider.
      self:wake()
      return nil
    end
    if is_spare(self, slot) then
      self:wake() -- now another may be
      return nil
    end
    local copies = may_copy(self, slot)
    items = copies and self.schedule:copy(slot, options, uv.now() / 1000)
    if items then return items end
    if copies or self.run.kept_small then watch_stragglers(self) end
    slot.waiting = true
    task.await(function(resume)
      self.idle[#self.idle + 1] = resume
      local other, n = self.schedule:relieve(options)
      if other then other:give_back(n) end -- may answer at once, so we have to wait by now
    end)
    slot.waiting = nil
  end
end

--- More of its group for a slot that runs dry. Does not await.
---@param slot runner.Slot
---@return runner.Item[]?
function Dispatch:more(slot)
  if self.run.stopping then return nil end
  return self.schedule:more(slot, options_of(self, slot))
end

--- An item of a slot runs: an idle one may take what waits behind it.
function Dispatch:started(slot, item)
  self.schedule:started(slot, item, uv.now() / 1000)
  if self.run.kept_small then watch_stragglers(self) end
  if #self.idle > 0 and slot:unstarted() > 0 then self:wake() end
end

--- An item of a slot has ended.
---@param is_lost boolean its sandbox is gone, or the run ends
---@return boolean known false for a late or duplicate report, which must not count
---@return boolean? goes_on a twin of it still runs and decides
function Dispatch:finished(slot, item, is_lost)
  if is_lost then return self.schedule:lost(slot, item) end
  local known, twin, other = self.schedule:finished(slot, item)
  if twin then other:supersede(twin) end
  return known
end

--- After what an end brought with it: a mutex may be free, the queue empty.
---@param again runner.Item? another attempt
function Dispatch:settled(again)
  if again then self.schedule:add({ again }, true) end
  if #self.idle > 0 and (self.schedule.pending > 0 or self.schedule:is_done()) then self:wake() end
end

---@param slot runner.Slot
---@param items runner.Item[]
function Dispatch:returned(slot, items)
  self.schedule:returned(slot, items)
  self:wake()
end

--- The run is over.
function Dispatch:close()
  if self.timer then self.timer:close() end
end

--- Nothing more is handed out.
function Dispatch:drain()
  if self.schedule then self.schedule:drain() end
end

return M
