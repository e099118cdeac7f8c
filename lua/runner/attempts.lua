--- The books of a run: every attempt, its log, the decision after it, and the one final state of each test. Emits the
--- events of attempts and tests.

local uv = require("luv")
local attempt_log = require("runner.attempt_log")
local retry = require("runner.retry")

local M = {}

---@class runner.Attempts
---@field records table<string, runner.Record> by test id
---@field undecided integer
---@field counts table<string, integer> by final state
---@field failures integer tests that ended failed, timed out or crashed
local Attempts = {}
Attempts.__index = Attempts

---@param options { emit: fun(event: table), output: fun(event: table)?, dir: string?, groups: table, settings: table,
---  hook: fun(name: string, ...): any }
---@return runner.Attempts
function M.new(options)
  return setmetatable({
    options = options, records = {}, order = {}, undecided = 0, failures = 0, retried = 0,
    counts = { passed = 0, failed = 0, flaky = 0, skipped = 0, timed_out = 0, crashed = 0, not_run = 0 },
  }, Attempts)
end

local function seconds_since(hrtime)
  return (uv.hrtime() - hrtime) / 1e9
end

local function wall_clock()
  local s, us = uv.gettimeofday()
  return s + us / 1e6
end

--- Enters a selected test and returns its first item for the queue.
---@param test table
---@return runner.Item
function Attempts:add(test)
  local record = retry.record(test)
  self.records[test.id] = record
  self.order[#self.order + 1] = record
  record.order = #self.order
  self.undecided = self.undecided + 1
  local group = self.options.groups[test.group]
  self.options.emit({
    event = "test", id = test.id, group = test.group, framework = group.framework.name, name = test.name or test.id,
    file = test.file, line = test.line, tags = test.tags,
  })
  return self:item(record)
end

--- The next attempt of a test.
function Attempts:item(record, avoid)
  local test = record.test
  return {
    id = test.id, name = test.name, file = test.file, line = test.line, test = test, group = test.group,
    attempt = record.attempts + 1, order = record.order, avoid = avoid, policy = self.options.groups[test.group],
  }
end

---@param item runner.Item
---@param where { sandbox: string, slot: integer }
function Attempts:started(item, where)
  local record = self.records[item.id]
  record.attempts = item.attempt
  item.started = uv.hrtime()
  item.started_at = wall_clock()
  if self.options.dir then item.log = attempt_log.open(self.options.dir, item.test, item.attempt) end
  self.options.emit({
    event = "attempt_started", id = item.id, attempt = item.attempt, sandbox = where.sandbox, slot = where.slot,
    time = item.started_at,
  })
end

---@param item runner.Item
function Attempts:slow(item)
  self.options.emit({
    event = "attempt_slow", id = item.id, attempt = item.attempt, elapsed = seconds_since(item.started),
  })
end

---@param item runner.Item
---@param stream "stdout"|"stderr"
---@param bytes string
function Attempts:output(item, stream, bytes)
  if item.log then item.log:write(stream, bytes) end
  if self.options.output then
    self.options.output({ event = "output", id = item.id, attempt = item.attempt, stream = stream, data = bytes })
  end
end

local function decide(self, record, status, stopping)
  local settings = self.options.settings
  local policy = self.options.groups[record.test.group]
  return retry.decide(record, status, policy.retries or settings.retries, function()
    if stopping then return false end
    if settings.retry then
      return self.options.hook("retry", record.test, { attempt = record.attempts, status = status }) and true or false
    end
    return true
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
  local state = decide(self, record, status, stopping)
  local event = {
    event = "attempt_finished", id = item.id, attempt = item.attempt, status = status,
    duration = result.duration or seconds_since(item.started), started = item.started_at,
    sandbox = where.sandbox, slot = where.slot, message = result.message, type = result.type, trace = result.trace,
    reason = result.reason, xfail = result.xfail, exit_code = result.exit_code, signal = result.signal,
    signal_name = result.signal_name, cpu = result.cpu, memory = result.memory, phases = result.phases,
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
  record.reason = result.reason or state == "not_run" and stopping or nil
  record.duration = (record.duration or 0) + event.duration
  if state then
    self:decided(record)
    return nil
  end
  self.retried = self.retried + 1
  return self:item(record, where.sandbox)
end

--- A test got its final state.
function Attempts:decided(record)
  local state = record.state
  self.undecided = self.undecided - 1
  self.counts[state] = self.counts[state] + 1
  if state == "failed" or state == "timed_out" or state == "crashed" then self.failures = self.failures + 1 end
  self.options.emit({
    event = "test_finished", id = record.test.id, status = state, attempts = record.attempts,
    duration = record.duration or 0, reason = record.reason,
  })
end

--- Gives every undecided test its final state: the run is over.
---@param reason string why tests did not run
function Attempts:abandon(reason)
  for _, record in ipairs(self.order) do
    if not record.state then
      if retry.abandon(record) == "not_run" then record.reason = reason end
      self:decided(record)
    end
  end
end

return M
