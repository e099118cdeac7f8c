--- A slot: runs one test at a time through a worker of the group's framework. It keeps the worker fed, watches the
--- clock of the running test, and turns what the worker reports into outcomes.

local uv = require("luv")
local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local task = require("runner.base.task")

local M = {}

--- A worker that was told to stop a test and has not done so this long after the grace period is killed.
local STOP_PATIENCE_S = 5
---@class runner.Slot
---@field index integer number of the worker, from 0, unique in the run
---@field sandbox runner.Sandbox
---@field group string? whose worker is open
---@field running runner.Item?
---@field outstanding table<runner.Item, true> pushed and not ended
---@field count integer of outstanding
---@field taking boolean? items were asked back
local Slot = {}
Slot.__index = Slot
Slot.__name = "runner.sandbox.slot"

---@param run runner.Run
---@param sandbox runner.Sandbox
---@param index integer
---@return runner.Slot
function M.new(run, sandbox, index)
  return setmetatable({
    run = run, sandbox = sandbox, index = index, outstanding = {}, count = 0, timer = uv.new_timer(),
  }, Slot)
end

--- Tests given to the worker that have not started: what can be taken back.
---@return integer
function Slot:unstarted()
  return self.count - (self.running and 1 or 0)
end

-- The clock of the running test -------------------------------------------------------------------------------------

local function milliseconds(seconds)
  return math.max(1, math.ceil(seconds * 1000))
end

--- Starts the clock of a test, or lets it go on: where tests take turns in one process, each has its own time.
local function watch(self, item)
  local slow, limit = item.policy.slow_timeout, item.policy.test_timeout
  item.spent, item.resumed = item.spent or 0, uv.hrtime()
  local function at(seconds, fn)
    self.timer:start(milliseconds(seconds - item.spent), 0, fn)
  end
  local function give_up() self:stop_item(item, "timeout") end
  if slow and not item.slow and (not limit or slow < limit) then
    at(slow, function()
      item.slow = true
      self.run:attempt_slow(item)
      if limit then self.timer:start(milliseconds(limit - slow), 0, give_up) end
    end)
  elseif limit then
    at(limit, give_up)
  else
    self.timer:stop()
  end
end

--- Another test of the same process has its turn.
local function pause(item)
  item.spent = item.spent + (uv.hrtime() - item.resumed) / 1e9
end

--- Ends the running test. What the worker reports of it afterwards is overruled by `why`.
---@param item runner.Item
---@param why "timeout"|"cancelled"
function Slot:stop_item(item, why)
  if self.running ~= item or item.stopped then return end
  item.stopped = why
  self.worker:stop(item, why)
  self.timer:start(milliseconds(self.run.settings.grace + STOP_PATIENCE_S), 0, function()
    if self.running == item and self.worker then self.worker:kill() end
  end)
end

--- Ends what runs, because the run ends.
function Slot:cancel()
  if self.preparing then
    self.preparing:cancel() -- the group's setup, its build: nothing else would end them
  elseif self.running then
    self:stop_item(self.running, "cancelled")
  elseif self.count > 0 and self.worker and self.worker.cancel then
    self.worker:cancel() -- a batch of which nobody can say what runs
  end
end

-- What a worker reports ---------------------------------------------------------------------------------------------

--- Is the end of an item to be told? A duplicate is not, nor one whose twin decides.
local function forget(self, item, status)
  if not self.outstanding[item] then return false end
  self.outstanding[item] = nil
  self.count, self.ended = self.count - 1, uv.hrtime()
  if self.running == item then
    self.running = nil
    self.timer:stop()
  end
  local known, goes_on = self.run.dispatch:finished(self, item, status == "lost" or status == "cancelled")
  if item.started and (goes_on or item.superseded) then self.run:attempt_superseded(self, item) end
  return known and not goes_on
end

--- The twin of an item was first. What the worker says of it from now on is not asked for.
---@param item runner.Item
function Slot:supersede(item)
  item.superseded = true
  if self.running == item then self:stop_item(item, "cancelled") end
end

local function wake(self)
  if self.count == 0 and self.on_idle then
    local resume = self.on_idle
    self.on_idle = nil
    resume()
  end
end

local STOPPED = { timeout = "timed_out", cancelled = "cancelled" }

--- The outcome of a test whose process ended before it said how the test went.
local function outcome_of_exit(item, exit)
  if exit.kind == "lost" then return "lost", { message = exit.message or "the sandbox was lost" } end
  if item.stopped then return STOPPED[item.stopped], {} end
  local message = ("the process %s while this test ran%s"):format(exits.verb(exit),
    exit.signal and exit.message and ": " .. exit.message or "")
  return "crashed", { message = message, exit_code = exit.code, signal = exit.signal }
end

--- What the test left running. What tests before it in the same process left is theirs.
local function leaks_of(self, culprit, exit)
  local own = {}
  for _, leak in ipairs(exit.leaks or {}) do
    local id = leak.test ~= "" and leak.test or nil
    if culprit and (not id or id == culprit.id) then
      own[#own + 1] = leak
    else
      self.run:problem({ kind = "leak", id = id, message = "left running: " .. leak.command }, self.group)
    end
  end
  return own
end

--- What the test had to wait for although the slot was free for it: its worker to start, the hand-out to arrive, its
--- file to be imported.
local function measure(self, item)
  local batch = item.batch
  local since = math.max(batch.pushed, self.ended or 0)
  item.overhead = (uv.hrtime() - since) // 1000 / 1e6 + (self.opening or 0)
  item.first = self.opening and "worker" or not batch.started and "batch" or nil
  self.opening, batch.started = nil, true
end

function Slot:reporter()
  local report = {}

  function report.started(item)
    if not self.outstanding[item] or self.running == item then return end
    if self.running then pause(self.running) end
    self.running = item
    -- A worker whose tests take turns (or whose process had to be started again) tells of one more than once.
    if not item.started then
      measure(self, item)
      self.run:attempt_started(self, item)
    end
    watch(self, item)
    -- It was on its way when the run was told to stop: nobody could stop it then.
    if self.run.stopping_now or item.superseded then self:stop_item(item, "cancelled") end
    self:top_up()
  end

  function report.output(item, stream, bytes)
    self.run:output(item, stream, bytes)
  end

  function report.finished(item, result)
    if not self.outstanding[item] then return end
    if not item.started then report.started(item) end
    -- A sandbox that died while it was asked to stop a test says nothing of the test.
    local status = result.status ~= "lost" and STOPPED[item.stopped] or result.status
    if forget(self, item, status) then
      self.run:attempt_finished(self, item, status, result)
      self:top_up()
    end
    wake(self)
  end

  function report.returned(items)
    self.taking = nil
    local mine = {}
    for _, item in ipairs(items) do
      if self.outstanding[item] and self.running ~= item then
        self.outstanding[item] = nil
        self.count = self.count - 1
        mine[#mine + 1] = item
      end
    end
    self.run.dispatch:returned(self, mine)
    wake(self)
  end

  function report.problem(problem)
    self.run:problem(problem, self.group)
  end

  function report.exited(exit)
    if self.reporting ~= report then return end -- an older worker's last words
    self.worker, self.reporting, self.taking = nil, nil, nil
    local culprit = self.running
    local status, result
    if culprit then status, result = outcome_of_exit(culprit, exit) end
    if culprit and forget(self, culprit, status) then
      result.leaks = leaks_of(self, culprit, exit)
      self.run:attempt_finished(self, culprit, status, result)
    else
      leaks_of(self, nil, exit)
      if not culprit then self.run:worker_died(self, exit) end
    end
    local left = {}
    for item in pairs(self.outstanding) do left[#left + 1] = item end
    table.sort(left, function(a, b) return a.order < b.order end)
    self.outstanding, self.count = {}, 0
    self.run.dispatch:returned(self, left)
    wake(self)
  end

  return report
end

-- Feeding -----------------------------------------------------------------------------------------------------------

local function push(self, items)
  local batch = { pushed = uv.hrtime() }
  for _, item in ipairs(items) do self.outstanding[item], item.batch = true, batch end
  self.count = self.count + #items
  self.worker:push(items)
end

--- Gives the worker more of its group before it runs dry. Called from callbacks: does not await.
function Slot:top_up()
  if not self.worker then return end
  local items = self.run.dispatch:more(self)
  if items then push(self, items) end
end

--- Asks the worker for the later half of what it has not started, for another slot.
function Slot:give_back(n)
  if self.taking or not self.worker then return end
  self.taking = true
  self.worker:take(n)
end

local function open_worker(self, group)
  local session = self.sandbox:session(group)
  local report = self:reporter()
  self.reporting, self.group = report, group.name
  local started = uv.hrtime()
  self.worker = session:worker(self, report)
  self.opening = (uv.hrtime() - started) // 1000 / 1e6
end

--- Opens the worker of a group, unless the run is stopped meanwhile.
---@return boolean? ok
---@return any err
local function try_worker(self, group)
  local ok, err
  task.scope(function(scope)
    self.preparing = scope
    ok, err = pcall(open_worker, self, group)
  end)
  self.preparing = nil
  return ok, err
end

--- Ends the worker, tearing its fixtures down. Bounded by the group's test timeout.
---@async
function Slot:close_worker()
  local worker = self.worker
  if not worker then return end
  self.worker = nil
  local limit = self.run.groups[self.group].test_timeout or 60
  local ok = task.deadline(limit, function() worker:close() end)
  self.reporting = nil
  if not ok then
    self.run:problem({ kind = "teardown", message = ("worker %d did not finish its teardown in %g s")
      :format(self.index, limit) }, self.group)
    worker:kill()
  end
end

--- Opens the worker of a group before there is work, so that it starts while the queue is being filled.
---@param group table
---@async
function Slot:warm_up(group)
  local ok = try_worker(self, group)
  if not ok then self.worker, self.reporting = nil, nil end -- told when there is work for it
end

--- Gives the worker the next batch, once there is one. false: there will be none.
local function feed(self)
  local items = self.run.dispatch:next(self)
  if not items then return false end
  local group = self.run.groups[items[1].group]
  if self.worker and self.group ~= group.name then self:close_worker() end
  if not self.worker then
    local ok, err = try_worker(self, group)
    if not ok then
      self.failing = group.name
      self.run.dispatch.schedule:returned(self, items)
      task.checkpoint()
      if not self.run.stopping_now then self.run:worker_failed(self, err) end
      return true
    end
  end
  push(self, items)
  return true
end

--- Waits until the worker has ended what it was given. Not in `feed`: a batch on the stack keeps its tests in memory.
local function wait(self)
  if self.count == 0 then return end
  task.await(function(resume)
    self.on_idle = resume
    return function() self.on_idle = nil end
  end)
end

--- The life of a slot: work until the run has nothing left for it.
---@async
function Slot:loop()
  local ok, err = pcall(function()
    while feed(self) do wait(self) end
  end)
  task.shield(function()
    if self.run.killed or self.sandbox.lost then
      if self.worker then self.worker:kill() end
    else
      self:close_worker()
    end
  end)
  self.timer:close()
  if not ok and not errors.is(err, "cancelled") then error(err, 0) end
end

return M
