--- What becomes of a test after each attempt: retried, or decided. Pure.
---
--- Every test ends in exactly one of: passed, failed, flaky, skipped, timed_out, crashed, not_run. A pass after a
--- failure is flaky. A lost sandbox is not the test's fault: such attempts have a budget of their own and never use up
--- retries.

local FAILURE = require("runner.base.outcome").FAILURE

local M = {}

--- How often a test may be given out again because its sandbox was lost.
M.LOST_BUDGET = 3

---@class runner.Record what is known of one test of the run
---@field test table
---@field attempts integer started attempts, lost ones included
---@field failures integer attempts that failed, timed out or crashed
---@field lost integer attempts that ended with their sandbox
---@field state string? final; nil while undecided
---@field first_failure string? status of the first attempt that failed

---@param test table
---@return runner.Record
function M.record(test)
  return { test = test, attempts = 0, failures = 0, lost = 0 }
end

--- Books the outcome of one attempt.
---@param record runner.Record
---@param status "passed"|"failed"|"skipped"|"timed_out"|"crashed"|"lost"|"cancelled"
---@param retries integer how many retries the test has
---@param may_retry (fun(): boolean)? asked only when a retry is due: run-wide budget, the user's hook
---@return string? state the final state, or nil: another attempt follows
function M.decide(record, status, retries, may_retry)
  if FAILURE[status] then
    record.failures = record.failures + 1
    record.first_failure = record.first_failure or status
    if record.failures <= retries and (not may_retry or may_retry()) then return nil end
    record.state = status
  elseif status == "lost" then
    record.lost = record.lost + 1
    if record.lost <= M.LOST_BUDGET then return nil end
    record.state = record.first_failure or "not_run"
  elseif status == "cancelled" then
    record.state = record.first_failure or "not_run"
  elseif status == "passed" and record.failures > 0 then
    record.state = "flaky"
  else
    record.state = status
  end
  return record.state
end

--- The state of a test that will get no further attempt: a failure that waited for its retry stays a failure.
---@param record runner.Record
---@return string state
function M.abandon(record)
  record.state = record.first_failure or "not_run"
  return record.state
end

return M
