--- The two kinds of worker that the core sees: one process for many tests, and one process for each.

local exits = require("runner.io.exit_text")
local command = require("frameworks.pytest.command")
local peer = require("frameworks.pytest.process")
local task = require("runner.base.task")

local M = {}

local function await_end(self, on_timeout)
  if self.over then return end
  task.await(function(resume)
    self.on_end = resume
    return on_timeout or function() self.on_end = nil end
  end)
end

local function ended(self)
  self.over = true
  if self.on_end then self.on_end() end
end

local function count_failure(session, result)
  if result.status ~= "passed" and result.status ~= "skipped" then
    session.failed = session.failed + 1
  end
end

-- One process for many tests ----------------------------------------------------------------------------------------

local Resident = {}
Resident.__index = Resident

--- The process ended while it tore fixtures down, or before it had: the project's doing.
local function blame_teardown(self, exit)
  local id = self.peer.settling
  self.report.problem({
    kind = "teardown", id = id ~= "" and id or nil,
    message = ("worker %d %s %s"):format(self.slot.index, exits.verb(exit),
      id and "while it tore fixtures down" or "before its session had ended"),
  })
end

local function closed(self, exit)
  for _, leak in ipairs(exit.leaks) do
    self.report.problem({
      kind = "leak", id = leak.test, message = "left running: " .. leak.command,
    })
  end
  if self.peer.bye or self.peer.killed or self.peer.dumping then return end
  blame_teardown(self, exit)
end

local function died(self, exit, tail)
  if exit.kind == "exited" and not self.peer.hello then
    local _, message = command.diagnose(self.session.options, exit, tail)
    self.report.problem({ kind = "infrastructure", message = message, text = tail })
  elseif self.peer.settling and exit.kind ~= "lost" then
    if not self.peer.dumping then blame_teardown(self, exit) end -- else it was told that it took too long
    exit.told = true
  end
  self.report.exited(exit)
end

---@param session pytest.Session
---@param slot runner.Slot
---@param report table
---@return table worker
function M.resident(session, slot, report)
  local self = setmetatable({ session = session, report = report, slot = slot }, Resident)
  self.peer = peer.start(session, slot, {
    started = report.started,
    output = report.output,
    finished = function(item, result)
      count_failure(session, result)
      report.finished(item, result)
    end,
    returned = function(items)
      if self.taking then
        self.taking = nil
      elseif #items == 0 then
        return -- nothing was left when it closed
      end
      report.returned(items)
    end,
    problem = report.problem,
    exited = function(exit, tail)
      if self.closing then closed(self, exit) else died(self, exit, tail) end
      ended(self)
    end,
  })
  return self
end

function Resident:push(items) self.peer:push(items) end

function Resident:take(n)
  self.taking = true
  self.peer:take(n)
end

function Resident:stop(item, why)
  if self.session.options.isolation == "test" then
    self.peer:stop_test(item, self.session.ctx.settings.grace)
  elseif why == "timeout" then
    self.peer:dump_and_kill()
  else
    self.peer:kill(self.session.ctx.settings.grace)
  end
end

--- Tears fixtures down and ends the process.
---@async
function Resident:close()
  self.closing = true
  if self.over then return end
  self.peer:close()
  await_end(self)
end

function Resident:kill() self.peer:kill() end

-- One process for each test -----------------------------------------------------------------------------------------

local Single = {}
Single.__index = Single

---@param session pytest.Session
---@param slot runner.Slot
---@param report table
---@return table worker
function M.single(session, slot, report)
  local self = { session = session, slot = slot, report = report, queue = {}, over = true }
  return setmetatable(self, Single)
end

local function result_of(exit, result, tail, process)
  local began = process.hello
  if process.accused then result, began = nil, true end
  if not result and not began and exit.kind == "exited" then
    result = { status = "failed", duration = exit.wall, trace = tail ~= "" and tail or nil }
    result.message = "pytest ended before it could run the test"
  elseif not result then
    result = { status = "crashed", duration = exit.wall, trace = tail ~= "" and tail or nil }
    result.message = ("the test's process %s%s"):format(exits.verb(exit), exit.message and ": " .. exit.message or "")
    result.exit_code, result.signal = exit.code, exit.signal
  end
  result.cpu, result.memory = exit.user + exit.system, exit.memory
  result.leaks = #exit.leaks > 0 and exit.leaks or nil
  return result
end

local function run_next(self)
  local item = table.remove(self.queue, 1)
  if not item then return ended(self) end
  local report, result = self.report, nil
  self.over, self.item = false, item
  report.started(item)
  self.peer = peer.start(self.session, self.slot, {
    started = function() end,
    -- All that the process prints is the test's: collection and fixtures are for it alone.
    output = function(_, stream, bytes) report.output(item, stream, bytes) end,
    finished = function(_, its_result)
      result = its_result
      self.peer:close()
    end,
    returned = function() end,
    problem = function(problem)
      if problem.kind ~= "teardown" then return report.problem(problem) end
      if not result or result.status ~= "failed" then
        result = { status = "failed", trace = problem.text }
        result.message = "teardown: " .. problem.message
      end
    end,
    exited = function(exit, tail)
      self.item = nil
      result = result_of(exit, result, tail, self.peer)
      count_failure(self.session, result)
      if exit.kind == "lost" then
        ended(self)
        return report.exited(exit)
      end
      report.finished(item, result)
      if self.killed then
        ended(self)
        report.exited(exit)
      else
        run_next(self)
      end
    end,
  }, { item.test.file })
  self.peer:push({ item })
end

function Single:push(items)
  table.move(items, 1, #items, #self.queue + 1, self.queue)
  if self.over then run_next(self) end
end

function Single:take(n)
  local first = math.max(#self.queue - n, 0) + 1
  local returned = table.move(self.queue, first, #self.queue, 1, {})
  for i = #self.queue, first, -1 do self.queue[i] = nil end
  self.report.returned(returned)
end

function Single:stop(item, why)
  if self.item ~= item then return end
  if why == "timeout" then
    self.peer:dump_and_kill()
  else
    self.peer:kill(self.session.ctx.settings.grace)
  end
end

---@async
function Single:close()
  await_end(self)
end

function Single:kill()
  self.killed = true
  if self.item then self.peer:kill() end
end

return M
