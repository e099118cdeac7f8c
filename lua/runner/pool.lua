--- The sandboxes of a run: opened all at once without a barrier, replaced when lost, closed when nothing is left to do.

local errors = require("runner.errors")
local sandbox = require("runner.sandbox")
local slot = require("runner.slot")
local task = require("runner.task")

local M = {}

local OPEN_ATTEMPTS = 3
local OPEN_DELAY_S = 0.5

---@class runner.Pool
local Pool = {}
Pool.__index = Pool

---@param run runner.Run
---@return runner.Pool
function M.new(run)
  return setmetatable({ run = run, ready = task.event(), opening = 0, wanted = math.huge, workers = 0 }, Pool)
end

--- How many sandboxes of each provider the run wants, and how many slots each has.
local function plan(settings)
  local share = math.max(1, settings.max_parallel // #settings.providers)
  local list = {}
  for _, provider in ipairs(settings.providers) do
    local slots = provider.plugin.slots and provider.plugin.slots(provider.options, settings) or 1
    for _ = 1, math.max(1, math.ceil(share / slots)) do
      list[#list + 1] = { provider = provider, slots = slots, id = ("%s-%d"):format(provider.name, #list + 1) }
    end
  end
  return list
end

local function open(self, entry)
  local run = self.run
  for try = 1, OPEN_ATTEMPTS do
    run.bus:emit({ event = "sandbox_started", sandbox = entry.id, provider = entry.provider.name })
    local ok, opened = pcall(sandbox.open, entry.provider, entry.id, run, function(lost)
      run.bus:emit({ event = "sandbox_lost", sandbox = lost.id, message = tostring(lost.lost) })
    end)
    if ok then
      run.bus:emit({
        event = "sandbox_ready", sandbox = entry.id, slots = opened.slots, arch = opened.info.arch,
        cpus = opened.info.cpus, hostname = opened.info.hostname,
      })
      return opened
    end
    if errors.is(opened, "config") or errors.is(opened, "cancelled") or try == OPEN_ATTEMPTS then error(opened, 0) end
    run:problem({ kind = "infrastructure", sandbox = entry.id, message = tostring(opened) })
    task.sleep(OPEN_DELAY_S * try)
  end
end

--- Runs the slots of an open sandbox until nothing is left for them.
local function serve(self, entry, opened)
  local run = self.run
  run.gate:wait()
  task.scope(function(scope)
    for i = 1, opened.slots do
      if self.workers >= self.wanted and self.workers > 0 then break end
      entry.first = entry.first or self.workers
      if i > (entry.claimed or 0) then
        self.workers = self.workers + 1
        entry.claimed = i
      end
      local one = slot.new(run, opened, entry.first + i - 1)
      run.slots[#run.slots + 1] = one
      scope:spawn(function()
        one:loop()
        for k, other in ipairs(run.slots) do
          if other == one then table.remove(run.slots, k) break end
        end
      end)
    end
  end)
end

--- The life of one sandbox and of those that replace it.
local function live(self, entry)
  repeat
    local opened = open(self, entry)
    self.ready:set(opened)
    local ok, err = pcall(serve, self, entry, opened)
    opened:close()
    self.run.bus:emit({ event = "sandbox_closed", sandbox = entry.id })
    if not ok then error(err, 0) end
    entry.losses = (entry.losses or 0) + (opened.lost and 1 or 0)
    local work_left = not self.run.stopping and self.run.schedule.pending > 0
  until not (opened.lost and work_left and entry.losses < OPEN_ATTEMPTS)
end

--- Starts to open every sandbox, as tasks of `scope`. One that cannot be opened is a problem of the run; the run fails
--- only when none can.
---@param scope runner.Scope
function Pool:start(scope)
  local entries = plan(self.run.settings)
  self.opening = #entries
  for _, entry in ipairs(entries) do
    scope:spawn(function()
      local ok, err = pcall(live, self, entry)
      self.opening = self.opening - 1
      if ok then return end
      if errors.is(err, "cancelled") or errors.is(err, "config") or errors.is(err, "internal") then error(err, 0) end
      self.run:problem({ kind = "infrastructure", sandbox = entry.id, message = tostring(err) })
      self.failure = err
      if self.opening == 0 and not self.ready:is_set() then self.ready:set(false) end
    end)
  end
end

--- The first sandbox that is ready. Raises when none could be opened.
---@return runner.Sandbox
---@async
function Pool:first()
  local opened = self.ready:wait()
  if not opened then error(self.failure, 0) end
  return opened
end

--- No more slots than there are tests.
---@param tests integer
function Pool:limit(tests)
  self.wanted = math.max(1, tests)
end

return M
