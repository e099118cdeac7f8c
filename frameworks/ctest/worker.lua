--- A worker for builds in which the order of tests matters: one test at a time, each after what it needs.

local per_test = require("runner.worker.per_test")
local order = require("frameworks.ctest.order")
local queue = require("runner.worker.queue")
local tail = require("runner.base.tail")

local M = {}

local OUTPUT_KEPT = 1024 * 1024

---@class runner.ctest.Worker
local Worker = {}
Worker.__index = Worker

---@param ctx table of the framework
---@param slot runner.Slot
---@param report table what the worker reports to
---@param spec runner.LaneSpec
---@param state runner.ctest.Order
---@return table worker
function M.new(ctx, slot, report, spec, state)
  local self = setmetatable({ ctx = ctx, report = report, state = state, queue = queue.new(report) }, Worker)
  local inner = setmetatable({
    output = function(item, stream, bytes)
      if self.kept then self.kept:add(bytes) end
      report.output(item, stream, bytes)
    end,
    finished = function(item, result)
      local job = self.job
      if job.over then job.over(result, self.kept:text()) end
      job.leave()
      report.finished(item, result)
      self:next()
    end,
    returned = function(items)
      local job = self.job
      if job.over then job.over({ status = "cancelled" }, "") end
      job.leave()
      report.returned(items)
      self:next()
    end,
  }, { __index = report })
  self.lane = per_test.worker(ctx, slot, inner, spec)
  return self
end

--- Ends a test that is not run.
local function settle(self, item, result, output)
  self.report.started(item)
  if output and output ~= "" then self.report.output(item, "stdout", output) end
  self.report.finished(item, result) -- what is pushed meanwhile waits for `next`
  self:next()
end

local function run(self, item, release)
  local job = self.job
  job.over = self.state:begin(item.test.entry, item.attempt)
  self.state.gate:enter(false, function(leave)
    function job.leave()
      leave()
      release()
    end
    if job.is_cancelled then
      if job.over then job.over({ status = "cancelled" }, "") end
      return job.leave()
    end
    self.kept = job.over and tail.new(OUTPUT_KEPT)
    self.lane:push({ item })
  end)
end

--- What the test did when another needed it is its result; a second attempt is another matter.
local function replay(self, item)
  local ran = item.attempt == 1 and self.state:of(item.test.entry)
  if not ran then return false end
  local function tell()
    if self.job == nil or self.job.is_cancelled then return end
    if not self.state:of(item.test.entry) then return self:begin(item) end -- it was cancelled
    local result = {}
    for key, value in pairs(ran.result) do result[key] = value end
    settle(self, item, result, ran.output)
  end
  if ran.is_over then tell() else table.insert(ran.waiting, tell) end
  return true
end

--- Runs a test once its fixtures are set up and what it depends on has run.
local function run_prepared(self, item, entry, done)
  local job = self.job
  self.state:use(entry, function(leave)
    local function release()
      leave()
      if done then done() end
    end
    if job.is_cancelled then return release() end
    self.state:prepare(entry, job, function(failed)
      if job.is_cancelled then return release() end
      if failed then
        release()
        return settle(self, item, { status = "failed", message = order.blame(failed), duration = 0 })
      end
      if not done and replay(self, item) then return release() end
      run(self, item, release)
    end)
  end)
end

function Worker:begin(item)
  local entry, job = self.state.entries[item.test.entry], self.job
  if entry.cleanup[1] then
    return self.state:clean(entry, function(release)
      if job.is_cancelled then return release() end
      run_prepared(self, item, entry, release)
    end)
  end
  if not replay(self, item) then run_prepared(self, item, entry) end
end

--- The limit of what runs before a test, unless it has its own.
local function limit_of(self, item)
  if item.test.test_timeout == nil then return item.policy.test_timeout or nil end
  return self.ctx.settings.test_timeout or nil
end

function Worker:next()
  self.job, self.kept = nil, nil
  self.queue:answer(self.queue:count() > 0)
  local item = self.queue:next()[1]
  if not item then return end
  self.job = {
    item = item, attempt = item.attempt, timeout = limit_of(self, item), lost = function() self:cancel() end,
  }
  self:begin(item)
end

function Worker:push(items)
  self.queue:push(items)
  if not self.job then self:next() end
end

function Worker:take(n)
  self.queue:take(n, self.job ~= nil)
end

function Worker:stop(item, why)
  self.lane:stop(item, why)
end

--- The run or the sandbox ends while the test waits for what it needs.
function Worker:cancel()
  local job = self.job
  if not job or job.is_cancelled then return end
  job.is_cancelled = true
  if job.command then job.command:kill(0) end
  self.job = nil
  local waiting = self.queue:drain()
  self.report.returned(table.move(waiting, 1, #waiting, 2, { job.item }))
end

function Worker:kill()
  if self.job and self.job.command then self.job.command:kill(0) end
  self.lane:kill()
end

function Worker:close() end

return M
