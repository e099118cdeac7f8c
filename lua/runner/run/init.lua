--- One run, from the sandboxes to the exit code:
--- config → discover → schedule → slots → attempts → retry → events → exit code.

local uv = require("luv")
local attempts = require("runner.run.attempts")
local discover = require("runner.run.discovery")
local dispatcher = require("runner.run.dispatcher")
local artifacts = require("runner.files.artifacts")
local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local pool = require("runner.sandbox.pool")
local provider_setup = require("runner.sandbox.provider_setup")
local expression = require("runner.select.expression")
local explain_empty = require("runner.select.explain_empty")
local test_settings = require("runner.select.test_settings")
local estimates = require("runner.schedule.estimates")
local outcome = require("runner.base.outcome")
local pool_size = require("runner.schedule.pool_size")
local select = require("runner.select")
local task = require("runner.base.task")
local text = require("runner.base.text")
local verdict = require("runner.results.verdict")

local M = {}

--- So many failures of the infrastructure in a row, and the run stops instead of burning time and money.
local BREAKER = 3

---@class runner.Run
---@field id string
---@field settings table of config.load
---@field groups table<string, table>
---@field dispatch runner.Dispatch
---@field attempts runner.Attempts
---@field stopping string? why nothing more is handed out
---@field killed boolean? everything ends at once
local Run = {}
Run.__index = Run
Run.__name = "runner.run"

--- Names a run: sorts by time, unique enough for labels and temporary folders.
local function new_id()
  return os.date("!%Y%m%d-%H%M%S-") .. text.hex(assert(uv.random(3)))
end

---@param options { settings: table, past: runner.Past?, history: runner.History?, bus: table,
---  dir: string?, argv: string[]? }
---@return runner.Run
function M.new(options)
  local self = setmetatable(options, Run)
  self.id, self.groups = new_id(), {}
  for _, group in ipairs(self.settings.groups) do
    self.groups[group.name] = group
  end
  self.slots, self.downloading = {}, {}
  self.dispatch = dispatcher.new(self)
  self.prepared = provider_setup.new(self)
  self.problems, self.broken = {}, 0
  self.gate = task.event() -- tests are known
  self.released = task.event() -- held sandboxes may go
  self.killing = task.event() -- nothing is waited for any more
  self.log = function(level, format, ...)
    self.bus:emit({ event = "log", level = level, message = format:format(...) })
  end
  self.attempts = attempts.new({
    emit = function(event) self.bus:emit(event) end,
    output = self.bus.wants_output and function(event) self.bus:output(event) end or nil,
    ordered = self.settings.seed ~= nil or self.settings.order ~= nil
      or self.settings.selection ~= nil and self.settings.selection.replay ~= nil,
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

-- What slots report -------------------------------------------------------------------------------------------------

--- A sandbox has ended for good: those who wait may wait in vain.
function Run:sandbox_ended()
  self.dispatch:wake()
end

local function place(slot)
  return { sandbox = slot.sandbox.id, slot = slot.index }
end

function Run:attempt_started(slot, item)
  self.attempts:started(item, place(slot))
  self.dispatch:started(slot, item)
end

function Run:attempt_slow(item)
  self.attempts:slow(item)
end

function Run:output(item, stream, bytes)
  if item then self.attempts:output(item, stream, bytes) end
end

--- An attempt goes on elsewhere, or was decided there.
function Run:attempt_superseded(slot, item)
  self.attempts:superseded(item, place(slot))
  self.dispatch:settled()
end

function Run:attempt_finished(slot, item, status, result)
  self.broken = 0
  if status == "lost" and self.stopping_now then -- by our own hand: it is not tried elsewhere
    status, result = "cancelled", {}
  end
  if outcome.FAILURE[status] then slot.sandbox.failed = item.id end
  slot.sandbox.proven = slot.sandbox.proven or status ~= "lost"
  local again = self.attempts:finished(item, status, result, place(slot), self.stopping)
  if status == "lost" and not again and not self.stopping then
    self:problem({
      kind = "infrastructure", id = item.id, sandbox = slot.sandbox.id,
      message = "its sandbox was lost each time, at last: " .. tostring(result.message),
    })
  end
  if slot.sandbox.downloads then slot.sandbox.downloads:attempt_finished(item, status) end
  local limit = self.settings.fail_fast and 1 or self.settings.max_fail
  if limit and self.attempts.failures >= limit and not self.stopping then
    self:stop(limit == 1 and "stopped at the first failure" or ("stopped after %d failures"):format(limit))
  end
  self.dispatch:settled(again)
end

local function infrastructure(self, message, sandbox)
  self:problem({ kind = "infrastructure", message = message, sandbox = sandbox })
  self.broken = self.broken + 1
  if self.broken >= BREAKER and not self.stopping then
    self:stop(("the infrastructure failed %d times in a row"):format(BREAKER), true)
  end
end

--- A worker could not be started.
function Run:worker_failed(slot, err)
  if errors.is(err) and err.context.setup then
    local problem = { kind = "setup", text = err.context.text }
    local function describe(n) return ("%s (%d tests do not run)"):format(tostring(err), n) end
    self.dispatch:drop(slot.failing, describe, problem)
  else
    infrastructure(self, ("worker %d: %s"):format(slot.index, tostring(err)), slot.sandbox.id)
  end
  self.dispatch:wake()
end

--- A worker ended while no test ran.
function Run:worker_died(slot, exit)
  if slot.worker == nil and slot.sandbox.lost then return end
  if self.killed or exit.told then return end
  infrastructure(self, ("worker %d ended between tests (%s)"):format(slot.index, exits.describe(exit)), slot.sandbox.id)
end

-- Stopping ----------------------------------------------------------------------------------------------------------

--- Hands out nothing more. Running tests end by themselves, or are stopped when `now`.
---@param why string
---@param now boolean?
function Run:stop(why, now)
  if not self.stopping then
    self.stopping = why
    self.dispatch:drain()
    if self.gate:is_set() then self.pool:finish() end
    for _, slot in ipairs(self.slots) do
      if slot:unstarted() > 0 then slot:give_back(slot:unstarted()) end
    end
    if not self.gate:is_set() and self.body then self.body:cancel() end
  end
  if now then
    self.stopping_now = true
    for _, slot in ipairs(self.slots) do
      slot:cancel()
    end
  end
  self.dispatch:wake()
end

--- First signal: an orderly stop with reports. Second: everything is killed at once.
---@param signal "sigint"|"sigterm"|"sighup"
function Run:interrupt(signal)
  if self.interrupted then
    self.killed = true
    self.killing:set(true)
    if self.pool then self.pool:kill() end
    for downloads in pairs(self.downloading) do downloads.sandbox:kill() end
    return
  end
  self.interrupted = signal
  self.released:set()
  self.bus:emit({ event = "log", level = "warning",
    message = "interrupted: stopping the running tests (once more to kill them at once)" })
  self:stop("interrupted by " .. signal:upper(), true)
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

--- What filter expressions may ask for.
local function expression_context(self)
  local changed = {}
  return {
    past = self.past, predicates = self.settings.predicates,
    changed = function(ref)
      changed[ref] = changed[ref] or require("runner.select.changed").since(self.settings.working_dir, ref)
      return changed[ref]
    end,
  }
end

local function enqueue(self, selected)
  local items = {}
  local policy_of = test_settings.resolver(self.settings.overrides or {}, self.context, self.settings.forced)
  for _, test in ipairs(selected) do
    items[#items + 1] = self.attempts:add(test, policy_of(test, self.groups[test.group]))
  end
  self.dispatch:enqueue(items)
end

--- Quarantine that nothing is put in: most likely a misspelt name, and then its test counts.
local function check_quarantine(self, tests, selected)
  if #selected < #tests or #tests == 0 or self.collect_only then return end
  for i, one in ipairs(self.settings.overrides or {}) do
    local may_match_later = one.filter.uses_past
    local matches = one.settings.quarantine and not may_match_later and expression.compile(one.filter, self.context)
    local found = not matches
    for _, test in ipairs(matches and tests or {}) do
      found = matches(test)
      if found then break end
    end
    if not found then
      self.log("warning", "overrides[%d] puts nothing in quarantine: none of the %d tests that were found matches %s",
        i, #tests, one.filter.text)
    end
  end
end

--- Finds and selects the tests; emits what was found.
---@return table[] selected
---@async
function Run:discover()
  local started = uv.hrtime()
  local tests, problems = self.pool:in_first("looked for tests", function(sandbox)
    return discover.collect(sandbox, self.settings.groups, function(message) self.log("warning", "%s", message) end)
  end)
  estimates.annotate(tests, self.history, self.settings)
  self.context = expression_context(self)
  local selection = self.settings.selection
  local selected, whole, failed = select.apply(tests, {
    selection = selection, context = self.context, groups = self.groups, seed = self.settings.seed,
    order = self.settings.order,
    -- Machines that run shards must agree on the costs: only a history that they share can be asked.
    cost = self.history and self.history.is_shared and function(test) return (self.history:estimate(test)) end or nil,
  })
  self.found = #tests
  if #selected == 0 then
    self.nothing, self.is_empty_shard = explain_empty.why({
      found = #tests, whole = whole, failed = failed, selection = selection, groups = self.settings.groups,
      past = self.past,
    })
  end
  local by_group = {}
  for _, test in ipairs(selected) do by_group[test.group] = (by_group[test.group] or 0) + 1 end
  self.bus:emit({
    event = "discovered", tests = #selected, groups = by_group, deselected = #tests - #selected,
    duration = (uv.hrtime() - started) / 1e9,
  })
  for _, problem in ipairs(problems) do self:problem(problem) end
  if #problems == 0 then check_quarantine(self, tests, selected) end
  self:hook("discovered", selected)
  return selected
end

--- How many slots the tests are worth: where sandboxes cost something, no more than shorten the run.
local function wanted_slots(self, selected)
  local provider = self.settings.providers[1]
  if #selected < 2 or provider.name == "local" then return #selected end
  local work, longest = 0, 0
  for _, test in ipairs(selected) do
    if not test.straggles then return #selected end -- it never ran: nobody knows how long it takes
    work, longest = work + test.cost, math.max(longest, test.cost)
  end
  local start = estimates.start(provider.name, self.history)
  return pool_size.slots(work, longest, start, math.min(#selected, pool.budget(self.settings) or #selected))
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
    self.dispatch:enqueue({})
    self.gate:set()
  else
    local slots = wanted_slots(self, selected)
    self.kept_small = slots < #selected or nil
    self.pool:limit(slots)
    if #selected > 0 and #self.settings.groups == 1 then
      self.first_group = self.settings.groups[1]
      self.gate:set()
      task.sleep(0) -- workers start while we fill the queue
    end
    enqueue(self, selected)
    -- What was known of each test is in the queue by now; of very many tests it takes as much memory again.
    self.history, self.past, self.context = nil, nil, nil
    collectgarbage()
    self.gate:set() -- slots start; the scope ends when the last has closed its sandbox
  end
end

--- The groups that may not use all slots.
---@return table<string, integer>? max_parallel by group
local function limits_of(settings)
  local limits = {}
  for _, group in ipairs(settings.groups) do limits[group.name] = group.max_parallel end
  return next(limits) and limits
end

--- Runs everything to its end. Configuration errors found on the way are raised after the events were closed.
---@return integer exit_code
---@async
function Run:execute()
  local started = uv.hrtime()
  self.bus:emit({
    event = "run_started", version = 1, run = self.id, runner = require("runner.version"), argv = self.argv,
    config = self.settings.path, dir = self.settings.dir, parallel = pool.budget(self.settings),
    seed = self.settings.seed, trace = self.settings.report.trace or nil, max_parallel = limits_of(self.settings),
  })
  if self.dir then artifacts.clean(self.dir) end
  local signals <close> = watch_signals(self) -- luacheck: ignore
  local ok, err = pcall(task.scope, function(scope) run_tests(self, scope) end)
  if self.clock then self.clock:close() end
  self.dispatch:close()
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
    stopped = self.stopping, no_tests = self.is_empty_shard and "pass" or self.settings.no_tests,
    collect_only = self.collect_only,
  })
  local is_wanted = self.is_empty_shard or self.settings.no_tests ~= "pass"
  local is_news = status == "no_tests" or self.found ~= 0 -- else problems say why nothing was found
  if self.nothing and is_wanted and is_news and not self.collect_only then
    self.log(code == 0 and "warning" or "error", "%s", self.nothing)
  end
  if failure then
    status, code = "failed", errors.is(failure, "config") and verdict.EXIT.config or verdict.EXIT.internal
  end
  counts.tests, counts.problems = tests, #self.problems
  local event = {
    event = "run_finished", status = status, exit_code = code, duration = (uv.hrtime() - started) / 1e9,
    counts = counts, interrupted = self.interrupted, stopped = self.stopping,
    estimated_cost = self.pool and self.pool.cost, error = failure and tostring(failure) or nil,
  }
  self:hook("finished", event)
  self.bus:emit(event)
  if failure then error(failure, 0) end
  return code
end

return M
