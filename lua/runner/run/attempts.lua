--- The books of a run: every attempt, its log, the decision after it, and the one final state of each test. Emits the
--- events of attempts and tests.

local uv = require("luv")
local output_log = require("runner.results.output_log")
local outcome = require("runner.base.outcome")
local retry = require("runner.run.retry")

local M = {}

---@class runner.Attempts
---@field records table<string, runner.Record> by test id
---@field counts table<string, integer> by final state
---@field failures integer tests that ended failed, timed out or crashed
---@field retried integer retries in all
local Attempts = {}
Attempts.__index = Attempts

---@param options { emit: fun(event: table), output: fun(event: table)?, dir: string?, groups: table, settings: table,
---  hook: fun(name: string, ...): any }
---@return runner.Attempts
function M.new(options)
  return setmetatable({
    options = options, records = {}, order = {}, failures = 0, retried = 0,
    counts = {
      passed = 0, failed = 0, flaky = 0, skipped = 0, timed_out = 0, crashed = 0, not_run = 0, quarantined = 0,
    },
  }, Attempts)
end

local function seconds_since(hrtime)
  return (uv.hrtime() - hrtime) / 1e9
end

local function stopped(why)
  return "stopped while running: " .. why
end

local function wall_clock()
  local s, us = uv.gettimeofday()
  return s + us / 1e6
end

--- Enters a selected test and returns its first item for the queue; nil: it is not to run, and decided already.
---@param test table
---@param policy table what holds for it; see runner.policy
---@return runner.Item?
function Attempts:add(test, policy)
  local record = retry.record(test)
  record.policy = policy
  self.records[test.id] = record
  self.order[#self.order + 1] = record
  record.order = #self.order
  self.options.emit({
    event = "test", id = test.id, group = test.group, framework = test.framework, name = test.name or test.id,
    file = test.file, line = test.line, tags = test.tags, quarantine = policy.quarantine,
    weight = policy.weight, exclusive = policy.exclusive, priority = policy.priority,
  })
  if test.ignored then
    record.state, record.reason = "skipped", test.ignored
    self:decided(record)
    return nil
  end
  return self:item(record)
end

--- The next attempt of a test.
function Attempts:item(record, avoid)
  local test, policy = record.test, record.policy
  return {
    id = test.id, file = (test.whole_file or not self.options.ordered) and test.file or nil, test = test,
    group = test.group, whole_file = test.whole_file,
    attempt = record.attempts + 1, order = record.order, avoid = avoid, policy = policy,
    cost = not self.options.ordered and test.cost or nil, straggles = policy.copies ~= false and test.straggles or nil,
    weight = policy.weight, exclusive = policy.exclusive, priority = policy.priority, only_on = policy.providers,
  }
end

---@param item runner.Item
---@param where { sandbox: string, slot: integer }
function Attempts:started(item, where)
  local record = self.records[item.id]
  record.attempts = item.attempt
  record.is_running = true
  item.started = uv.hrtime()
  item.started_at = wall_clock()
  if self.options.dir then
    item.log = output_log.open(self.options.dir, item.test, item.attempt, item.copy_of ~= nil)
  end
  self.options.emit({
    event = item.copy_of and "copy_started" or "attempt_started", id = item.id, attempt = item.attempt,
    sandbox = where.sandbox, slot = where.slot, time = item.started_at, overhead = item.overhead, first = item.first,
  })
end

---@param item runner.Item
function Attempts:slow(item)
  self.options.emit({
    event = "attempt_slow", id = item.id, attempt = item.attempt, elapsed = seconds_since(item.started),
  })
end

--- One of two that ran the same attempt has ended without deciding it: the other was first, or goes on.
---@param item runner.Item
---@param where { sandbox: string, slot: integer }
function Attempts:superseded(item, where)
  if item.log then item.log:discard() end
  self.options.emit({
    event = "copy_finished", id = item.id, attempt = item.attempt, sandbox = where.sandbox, slot = where.slot,
    duration = seconds_since(item.started), copy = item.copy_of ~= nil,
  })
end

---@param item runner.Item
---@param stream "stdout"|"stderr"
---@param bytes string
function Attempts:output(item, stream, bytes)
  if item.log then item.log:write(stream, bytes) end
  if self.options.output and not item.copy_of then
    self.options.output({ event = "output", id = item.id, attempt = item.attempt, stream = stream, data = bytes })
  end
end

--- Takes one of the run's retries, where they are counted; says once that none is left.
local function take_retry(self)
  local budget = self.options.settings.retry_budget
  local is_left = not budget or self.retried < budget
  if is_left then
    self.retried = self.retried + 1
  elseif not self.is_told then
    self.is_told = true
    local used = budget == 1 and "one retry is" or ("%d retries are"):format(budget)
    local message = ("the run's %s used up: failed tests are not tried again"):format(used)
    self.options.emit({ event = "log", level = "warning", message = message })
  end
  return is_left
end

local function decide(self, record, status, stopping)
  local settings = self.options.settings
  return retry.decide(record, status, record.policy.retries or settings.retries, function()
    if stopping then return false end
    local attempt = { attempt = record.attempts, status = status }
    if settings.retry and not self.options.hook("retry", record.test, attempt) then return false end
    return take_retry(self)
  end)
end

--- Books the end of an attempt.
---@param item runner.Item
---@param status string
---@param result table see the plug-in interface
---@param where { sandbox: string, slot: integer }
---@param stopping string? why there are no further attempts
---@return runner.Item? again the next attempt, when there is one
function Attempts:finished(item, status, result, where, stopping)
  local record = self.records[item.id]
  local summary = item.log and item.log:close() or {}
  record.is_running = nil
  record.failures = record.failures + (result.reruns or 0) -- by the framework itself, within the attempt
  local state = decide(self, record, status, stopping)
  local event = {
    event = "attempt_finished", id = item.id, attempt = item.attempt, status = status,
    duration = result.duration or seconds_since(item.started), started = item.started_at,
    sandbox = where.sandbox, slot = where.slot, message = result.message, type = result.type, trace = result.trace,
    reason = result.reason, xfail = result.xfail, exit_code = result.exit_code, signal = result.signal,
    cpu = result.cpu, memory = result.memory, phases = result.phases,
    leaks = result.leaks and #result.leaks > 0 and result.leaks or nil, sections = result.sections,
    stdout = summary.stdout, stderr = summary.stderr, log = summary.path, retry = state == nil,
  }
  if status == "timed_out" then
    event.duration = seconds_since(item.started)
    local limit = item.stopped and item.policy.test_timeout
    event.message = limit and ("timed out after %g s"):format(limit) or result.message
  end
  self.options.emit(event)
  self.options.hook("result", item.test, event)
  record.reason = result.reason
  if state == "not_run" and not record.reason then
    record.reason = status == "cancelled" and stopping and stopped(stopping) or stopping
      or status == "lost" and result.message or nil
  end
  record.duration = (record.duration or 0) + event.duration
  if state then
    self:decided(record)
    return nil
  end
  return self:item(record, where.sandbox)
end

--- A test got its final state.
function Attempts:decided(record)
  local state = record.state
  self.counts[state] = self.counts[state] + 1
  local quarantine = (outcome.FAILURE[state] or state == "flaky") and record.policy.quarantine or nil
  if quarantine then
    self.counts.quarantined = self.counts.quarantined + 1
    if state == "flaky" then self.counts.quarantined_flaky = (self.counts.quarantined_flaky or 0) + 1 end
  elseif outcome.FAILURE[state] then
    self.failures = self.failures + 1
  end
  self.options.emit({
    event = "test_finished", id = record.test.id, status = state, attempts = record.attempts,
    duration = record.duration or 0, reason = record.reason, quarantine = quarantine,
  })
end

--- Notes why tests are not to run, or not again.
---@param items runner.Item[]
---@param why string
function Attempts:dropped(items, why)
  for _, item in ipairs(items) do self.records[item.id].dropped = why end
end

--- Gives every undecided test its final state: the run is over.
---@param reason string why the run ended before they did, unless that is known
function Attempts:abandon(reason)
  for _, record in ipairs(self.order) do
    if not record.state then
      if retry.abandon(record) == "not_run" then
        record.reason = record.dropped or record.is_running and stopped(reason) or reason
      end
      self:decided(record)
    end
  end
end

return M
