--- One run, from the sandboxes to the exit code:
--- config → discover → schedule → slots → attempts → retry → events → exit code.

local uv = require("luv")
local attempts = require("runner.attempts")
local discover = require("runner.discover")
local download = require("runner.download")
local errors = require("runner.errors")
local pool = require("runner.pool")
local preparation = require("runner.preparation")
local schedule = require("runner.schedule")
local task = require("runner.task")
local verdict = require("runner.verdict")

local M = {}

--- So many failures of the infrastructure in a row, and the run stops instead of burning time and money.
local BREAKER = 3

---@class runner.Run
---@field id string
---@field settings table of config.load
---@field groups table<string, table>
---@field schedule runner.Schedule
---@field attempts runner.Attempts
---@field stopping string? why nothing more is handed out
---@field killed boolean? everything ends at once
local Run = {}
Run.__index = Run
Run.__name = "runner.run"

---@param options { id: string, settings: table, names: string[]?, bus: table, dir: string?, argv: string[]? }
---@return runner.Run
function M.new(options)
  local self = setmetatable(options, Run)
  self.groups = {}
  for _, group in ipairs(self.settings.groups) do
    group.individual = group.schedule == "individual"
    if group.only_on then
      group.providers = {}
      for _, name in ipairs(group.only_on) do group.providers[name] = true end
    end
    self.groups[group.name] = group
  end
  self.idle, self.slots, self.downloading = {}, {}, {}
  self.prepared = preparation.new(self)
  self.problems, self.broken = {}, 0
  self.gate, self.queued = task.event(), task.event() -- tests are known; tests are in the queue
  self.released = task.event() -- held sandboxes may go
  self.log = function(level, format, ...)
    self.bus:emit({ event = "log", level = level, message = format:format(...) })
  end
  self.attempts = attempts.new({
    emit = function(event) self.bus:emit(event) end,
    output = self.bus.wants_output and function(event) self.bus:output(event) end or nil,
    dir = self.dir, groups = self.groups, settings = self.settings,
    hook = function(name, ...) return self:hook(name, ...) end,
  })
  return self
end

--- Calls a hook of the configuration. Its error is a problem of the run, not its end.
function Run:hook(name, ...)
  local hook = (self.settings.on or {})[name] or (name == "retry" and self.settings.retry)
  if not hook then return nil end
  local ok, result = pcall(hook, ...)
  if ok then return result end
  if not self.hook_failed then
    self.hook_failed = true
    self:problem({ kind = "config", message = ("the hook %q failed: %s"):format(name, tostring(result)) })
  end
end

---@param problem { kind: string, message: string, id: string?, text: string? }
---@param group string?
function Run:problem(problem, group)
  problem.event = "problem"
  problem.group = problem.group or group
  self.problems[#self.problems + 1] = problem
  self.bus:emit(problem)
end

-- What slots ask and report -----------------------------------------------------------------------------------------

local function wake_idle(self)
  local idle = self.idle
  self.idle = {}
  for _, resume in ipairs(idle) do resume() end
end

--- The slot with the most tests that wait behind a running one.
local function busiest(self, thief)
  local best
  for _, slot in ipairs(self.slots) do
    if slot ~= thief and not slot.taking and slot.worker and slot:unstarted() > 0
      and (not best or slot:unstarted() > best:unstarted()) then
      best = slot
    end
  end
  return best
end

--- Gives up groups that wait for a provider of which no sandbox is left.
local function drop_unserved(self)
  for _, name in ipairs(self.schedule:waiting()) do
    local only_on = self.groups[name].providers
    if only_on and not self.pool:can_serve(only_on) then
      self:problem({
        kind = "infrastructure",
        message = ("no sandbox of %s is left for the %d waiting tests of group %s")
          :format(table.concat(self.groups[name].only_on, " or "), #self.schedule:drain(name), name),
      })
    end
  end
end

--- The next items for a slot; waits while others may still give some back. nil: nothing is left for it.
---@param slot runner.Slot
---@return runner.Item[]?
---@async
function Run:next_items(slot)
  if not self.schedule then
    slot:warm_up(self.first_group)
    self.queued:wait()
  end
  while not slot.sandbox.lost do
    if self.stopping then self.schedule:drain() end
    local options = { group = slot.group, provider = slot.sandbox.provider.name, sandbox = slot.sandbox.id }
    options.picky = self:has_other_sandbox(slot.sandbox)
    local items = self.schedule:lease(slot, options)
    if not items and options.picky then
      options.picky = false
      items = self.schedule:lease(slot, options)
    end
    if items then return items end
    if self.schedule.leased == 0 then drop_unserved(self) end
    if self.schedule:is_done() then
      wake_idle(self)
      return nil
    end
    task.await(function(resume)
      self.idle[#self.idle + 1] = resume
      local victim = busiest(self, slot) -- may answer at once, so we have to wait by now
      if victim then victim:give_back((victim:unstarted() + 1) // 2) end
    end)
  end
end

--- A sandbox has ended for good: those who wait may wait in vain.
function Run:sandbox_ended()
  wake_idle(self)
end

function Run:has_other_sandbox(sandbox)
  for _, slot in ipairs(self.slots) do
    if slot.sandbox ~= sandbox and not slot.sandbox.lost then return true end
  end
  return false
end

---@param slot runner.Slot
---@param items runner.Item[]
function Run:items_returned(slot, items)
  self.schedule:returned(slot, items)
  wake_idle(self)
end

local function place(slot)
  return { sandbox = slot.sandbox.id, slot = slot.index }
end

function Run:attempt_started(slot, item)
  self.attempts:started(item, place(slot))
  if #self.idle > 0 then wake_idle(self) end -- an idle slot may take what waits behind this test
end

function Run:attempt_slow(_, item)
  self.attempts:slow(item)
end

function Run:output(_, item, stream, bytes)
  if item then self.attempts:output(item, stream, bytes) end
end

function Run:attempt_finished(slot, item, status, result)
  self.broken = 0
  if status == "failed" or status == "timed_out" or status == "crashed" then slot.sandbox.failed = item.id end
  local again = self.attempts:finished(item, status, result, place(slot), self.stopping)
  if status == "lost" and not again and not self.stopping then
    self:problem({ kind = "infrastructure", id = item.id, sandbox = slot.sandbox.id, message = result.message })
  end
  if slot.sandbox.downloads then slot.sandbox.downloads:attempt_finished(item, status) end
  if again then
    self.schedule:add({ again }, true)
    wake_idle(self)
  end
  local limit = self.settings.fail_fast and 1 or self.settings.max_fail
  if limit and self.attempts.failures >= limit and not self.stopping then
    self:stop(limit == 1 and "stopped at the first failure" or ("stopped after %d failures"):format(limit))
  end
  if self.schedule:is_done() then wake_idle(self) end
end

local function infrastructure(self, message, sandbox)
  self:problem({ kind = "infrastructure", message = message, sandbox = sandbox })
  self.broken = self.broken + 1
  if self.broken >= BREAKER and not self.stopping then
    self:stop("stopped: the infrastructure failed " .. BREAKER .. " times in a row", true)
  end
end

--- A worker could not be started.
function Run:worker_failed(slot, err)
  infrastructure(self, ("worker %d: %s"):format(slot.index, tostring(err)), slot.sandbox.id)
  wake_idle(self)
end

--- A worker ended while no test ran.
function Run:worker_died(slot, exit)
  if slot.worker == nil and slot.sandbox.lost then return end
  if self.killed or exit.told then return end
  local how = exit.kind == "signaled" and ("signal %d"):format(exit.signal) or ("status %s"):format(tostring(exit.code))
  infrastructure(self, ("worker %d ended between tests (%s)"):format(slot.index, how), slot.sandbox.id)
end

-- Stopping ----------------------------------------------------------------------------------------------------------

--- Hands out nothing more. Running tests end by themselves, or are stopped when `now`.
---@param why string
---@param now boolean?
function Run:stop(why, now)
  if not self.stopping then
    self.stopping = why
    if self.schedule then self.schedule:drain() end
    if self.gate:is_set() then self.pool:finish() end
    for _, slot in ipairs(self.slots) do
      if slot:unstarted() > 0 then slot:give_back(slot:unstarted()) end
    end
    if not self.gate:is_set() and self.body then self.body:cancel() end
  end
  if now then
    self.stopping_now = true
    for _, slot in ipairs(self.slots) do
      if slot.running then slot:stop_item(slot.running, "cancelled") end
    end
  end
  wake_idle(self)
end

--- First signal: an orderly stop with reports. Second: everything is killed at once.
---@param signal "sigint"|"sigterm"|"sighup"
function Run:interrupt(signal)
  if self.interrupted then
    self.killed = true
    for _, slot in ipairs(self.slots) do slot.sandbox:kill() end
    for downloads in pairs(self.downloading) do downloads.sandbox:kill() end
    return
  end
  self.interrupted = signal
  self.released:set()
  self.bus:emit({ event = "log", level = "warning",
    message = "interrupted: stopping the running tests (once more to kill them at once)" })
  self:stop("interrupted", true)
end

local function watch_signals(self)
  local handles = {}
  for _, signal in ipairs({ "sigint", "sigterm", "sighup" }) do
    local handle = uv.new_signal()
    handle:start(signal, function() self:interrupt(signal) end)
    handle:unref()
    handles[#handles + 1] = handle
  end
  return setmetatable({}, { __close = function()
    for _, handle in ipairs(handles) do handle:close() end
  end })
end

-- The run -----------------------------------------------------------------------------------------------------------

local function enqueue(self, selected)
  local items = {}
  for _, test in ipairs(selected) do
    items[#items + 1] = self.attempts:add(test)
  end
  local policies = {}
  for name, group in pairs(self.groups) do
    policies[name] = {
      individual = group.individual, order = group.individual and 0 or 1, only_on = group.providers,
    }
  end
  self.schedule = schedule.new({ groups = policies, slots = self.pool.slots })
  self.schedule:add(items)
end

--- Finds and selects the tests; emits what was found.
---@return table[] selected
---@async
function Run:discover()
  local started = uv.hrtime()
  local tests, problems = discover.collect(self.pool:first(), self.settings.groups, function(message)
    self.log("warning", "%s", message)
  end)
  local selected = discover.select(tests, {
    names = self.names, groups = self.groups, seed = self.settings.seed, order = self.settings.order,
  })
  local by_group = {}
  for _, test in ipairs(selected) do by_group[test.group] = (by_group[test.group] or 0) + 1 end
  self.bus:emit({
    event = "discovered", tests = #selected, groups = by_group, deselected = #tests - #selected,
    duration = (uv.hrtime() - started) / 1e9,
  })
  for _, problem in ipairs(problems) do self:problem(problem) end
  self:hook("discovered", selected)
  return selected
end

local function run_tests(self, scope)
  self.body = scope
  self.pool = pool.new(self)
  if self.settings.global_timeout then
    local limit = self.settings.global_timeout
    self.clock = uv.new_timer()
    self.clock:start(math.ceil(limit * 1000), 0, function()
      self:stop(("the run's time limit of %g s has passed"):format(limit), true)
    end)
  end
  self.pool:start(scope)
  local selected = self:discover()
  if self.collect_only then
    self.selected = selected
    self.schedule = schedule.new({ groups = {}, slots = 1 })
    self.gate:set()
  else
    self.pool:limit(#selected)
    if #selected > 0 and #self.settings.groups == 1 then
      self.first_group = self.settings.groups[1]
      self.gate:set()
      task.sleep(0) -- workers start while we fill the queue
    end
    enqueue(self, selected)
    self.queued:set()
    self.gate:set() -- slots start; the scope ends when the last has closed its sandbox
  end
end

--- Runs everything to its end. Configuration errors found on the way are raised after the events were closed.
---@return integer exit_code
---@async
function Run:execute()
  local started = uv.hrtime()
  self.bus:emit({
    event = "run_started", version = 1, run = self.id, runner = require("runner.version"), argv = self.argv,
    config = self.settings.path, dir = self.settings.dir, parallel = pool.budget(self.settings),
    seed = self.settings.seed,
  })
  if self.dir then download.clean(self.dir) end
  local signals <close> = watch_signals(self) -- luacheck: ignore
  local ok, err = pcall(task.scope, function(scope) run_tests(self, scope) end)
  if self.clock then self.clock:close() end
  self.prepared:finish()
  local failure
  if not ok then
    if errors.is(err, "provider") or errors.is(err, "transport") or errors.is(err, "spawn") then
      local told = self.interrupted or err == self.pool.failure
      if not told then self:problem({ kind = "infrastructure", message = tostring(err) }) end
    elseif not errors.is(err, "cancelled") then
      failure = err
    end
  end
  self.attempts:abandon(failure and "the run failed" or self.stopping or "no sandbox was left to run it")
  local counts, tests = self.attempts.counts, #self.attempts.order
  local status, code = verdict.of({
    counts = counts, tests = tests, problems = self.problems, interrupted = self.interrupted,
    stopped = self.stopping, no_tests = self.settings.no_tests, collect_only = self.collect_only,
  })
  if status == "no_tests" and self.settings.no_tests == "warn" then self.log("warning", "no tests were found") end
  if failure then
    status, code = "failed", errors.is(failure, "config") and verdict.EXIT.config or verdict.EXIT.internal
  end
  counts.tests, counts.problems = tests, #self.problems
  local event = {
    event = "run_finished", status = status, exit_code = code, duration = (uv.hrtime() - started) / 1e9,
    counts = counts, interrupted = self.interrupted, stopped = self.stopping,
  }
  self:hook("finished", event)
  self.bus:emit(event)
  if failure then error(failure, 0) end
  return code
end

return M
