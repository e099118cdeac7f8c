--- A worker that runs many tests in one process, for frameworks whose start is dear or whose unit is a file. One
--- command at a time; what is pushed meanwhile waits for the next and can be taken back.
---
--- A reader follows the output and says what started and how it went; some only know at the end, from a result file.
--- Nothing is guessed when a process dies: the test that ran is to blame; where nobody can say which that was, each of
--- the tests without a result runs again in a process of its own, and what that gives no result for has failed.

local uv = require("luv")
local exit_result = require("runner.worker.exit_result")
local ledger = require("runner.worker.ledger")
local queue = require("runner.worker.queue")
local tail = require("runner.base.tail")
local task = require("runner.base.task")

local M = {}

local TAIL = 64 * 1024
local NAMES_BYTES = 64 * 1024 -- of one command line; Linux takes 128 KiB in one argument
local NAMES_BYTES_PLAIN = 24 * 1024 -- where it is quoted once more
local DUMP_S = 1 -- for a process to say where it hangs

---@class runner.BatchSpec
---@field command fun(items: runner.Item[]): table what ctx.spawn takes: argv, env, cwd …
---@field reader fun(items: runner.Item[], sink: runner.BatchSink): runner.BatchReader
---@field fits? fun(items: runner.Item[], item: runner.Item): boolean may `item` go into one command with `items`?
---@field streams? boolean the reader says which test runs (default: it may know only at the end)
---@field dump? integer signal at which a process writes where it hangs, before it is ended
---@field size? fun(item: runner.Item): integer bytes that the item takes in the command line (default: those of its id)
---@field turn? fun(go: fun(leave: fun())) calls `go` when the command may run; `leave` is called at its end

---@class runner.BatchSink what a reader tells; calls about tests that are over, or of no batch, do nothing
---@field started fun(item: runner.Item) also of one that goes on after another of its process
---@field output fun(item: runner.Item?, stream: "stdout"|"stderr", bytes: string) nil: of the test that runs
---@field finished fun(item: runner.Item, result: table)
---@field outside fun(name: string, text: string?) something was reported that is of no test of the batch
---@field distrust fun(why: string) what the process reports makes no sense; it is ended
---@field problem fun(problem: table)
---@field running fun(): runner.Item?

---@class runner.BatchReader
---@field output fun(stream: string, bytes: string)
---@field ended? fun(exit: runner.Exit, done: fun()) the process has ended; calls `done` when all was told
---@field suspects? fun(): runner.Item[] the tests that ran when the process ended; default: the one started last
---@field explain? fun(exit: runner.Exit, tail: string): table? the result of a test that ran alone and got none
---@field tail? fun(): string the end of what was printed, for people (default: of all output)

---@class runner.BatchWorker
local Worker = {}
Worker.__index = Worker

---@param ctx table of the framework
---@param slot runner.Slot
---@param report table what the worker reports to
---@param spec runner.BatchSpec
---@return table worker
function M.worker(ctx, slot, report, spec)
  return setmetatable({
    ctx = ctx, slot = slot, report = report, spec = spec, queue = queue.new(report),
  }, Worker)
end

--- As many of the queue as go into one command with its first. The number of the attempt is the command's, in its
--- environment.
local function next_batch(self)
  local spec, bytes, first = self.spec, 0, self.queue:first()
  local limit = self.ctx.agent.plain and NAMES_BYTES_PLAIN or NAMES_BYTES
  local function size(item) return 16 + (spec.size and spec.size(item) or #item.test.id) end
  return self.queue:next(function(batch, item)
    if #batch == 1 then bytes = size(first) end
    local more = size(item)
    if bytes + more > limit or first.attempt ~= item.attempt or spec.fits and not spec.fits(batch, item) then
      return false
    end
    bytes = bytes + more
    return true
  end)
end

--- A process that runs none of its tests is watched, too: it may hang while it loads them, or at its end.
local function watch(self, run)
  local limit = self.spec.streams and run.batch[1].policy.test_timeout
  if not limit or not run.command then return end
  run.clock = run.clock or uv.new_timer()
  run.clock:start(math.ceil(limit * 1000), 0, function()
    run.idle = limit
    M.stop(run.command, self.ctx.settings.grace, self.spec.dump)
  end)
end

--- What the reader tells goes to the ledger; the clock stands while a test runs, which has its own.
local function ledger_of(self, run)
  local report = self.report
  return ledger.new(run.batch, {
    started = function(item)
      if run.clock then run.clock:stop() end
      report.started(item)
    end,
    finished = function(item, result)
      report.finished(item, result)
      if not run.ledger:current() then watch(self, run) end
    end,
    output = report.output, problem = report.problem,
    distrusted = function()
      if run.command then run.command:kill(0) end
    end,
  }, { in_turn = true })
end

local function said_by(run)
  return run.reader.tail and run.reader.tail() or run.tail:text()
end

--- The result of a test that had the process to itself and of which nothing was told.
local function verdict(run, exit)
  local said = said_by(run)
  if run.ledger.wrong then
    return { status = "crashed", message = run.ledger.wrong, trace = said:find("%S") and said or nil }
  end
  local result = run.reader.explain and run.reader.explain(exit, said)
  if result then return result end
  result = exit_result.of_exit(exit)
  if run.idle then
    result.status, result.message = "failed", ("the process ran no test for %g s and was stopped"):format(run.idle)
  elseif result.status == "passed" then
    result.status, result.message = "failed", "the process ended well but gave no result for this test"
  end
  result.trace = said:find("%S") and said or nil
  return result
end

--- Whom the end of the process is laid to. Where several ran at once, each of them runs again, alone.
local function culprit_of(self, run)
  local suspects = run.reader and run.reader.suspects and not run.ledger.stopped and not run.returning
    and run.reader.suspects()
  if not suspects then return (run.ledger:blame()) end
  if #suspects > 1 then self.queue:isolate(suspects) end
  return #suspects == 1 and suspects[1] or nil
end

--- Settles the tests that the process has left without a result.
---@return runner.Item[] rest those that the end says nothing of
local function settle(self, run, exit)
  local rest, book = {}, run.ledger
  local culprit = culprit_of(self, run)
  local is_verdict = exit.kind ~= "lost" and not run.returning
  local to_blame = culprit or is_verdict and #run.batch == 1 and run.batch[1] or nil
  local own = book:leaks(exit, book:is_open(to_blame) and to_blame or nil)
  for _, item in ipairs(book:left()) do
    local result
    if item == book.stopped then
      result = { status = "failed" } -- the core knows why it was stopped
    elseif exit.kind == "failed" or is_verdict and item == to_blame then
      result = verdict(run, exit)
      if #run.batch > 1 then result.duration, result.cpu, result.memory = nil, nil, nil end -- they are the batch's
    elseif item == culprit then
      result = { status = exit.kind == "lost" and "lost" or "cancelled", message = exit.message }
    else
      rest[#rest + 1] = item
    end
    if result then
      result.leaks = item == to_blame and own or nil
      book:finish(item, result)
    end
  end
  book:tell_outsiders()
  return rest
end

local start

local function over(self, run, exit)
  if run.clock then run.clock:close() end
  if run.leave then run.leave() end
  local hung_at_end = run.idle and run.ledger:is_done()
  local rest = settle(self, run, exit)
  if hung_at_end then
    self.report.problem({ kind = "teardown", text = said_by(run),
      message = ("a process did not end within %g s after its last test and was stopped"):format(run.idle) })
  end
  self.run, run.over = nil, true
  if exit.kind == "lost" then return self.report.exited(exit) end
  if run.returning then
    self.report.returned(rest)
  else
    -- A process that told of some tests is not asked for the same again: only who told nothing is taken apart.
    if not run.ledger.told or exit.timed_out or run.idle or run.ledger.wrong then self.queue:isolate(rest) end
    self.queue:put_back(rest, run.ledger)
  end
  self.queue:answer(false)
  start(self)
end

--- The time of a command in which nobody can tell which test hangs: that of all its tests.
local function time_of(batch)
  local sum = 0
  for _, item in ipairs(batch) do
    if not item.policy.test_timeout then return nil end
    sum = sum + item.policy.test_timeout
  end
  return sum
end

local function launch(self, run)
  local batch = run.batch
  local command = self.spec.command(batch)
  run.reader = self.spec.reader(batch, run.ledger:sink())
  local env = { RUNNER_WORKER = tostring(self.slot.index), RUNNER_ATTEMPT = tostring(batch[1].attempt) }
  for name, value in pairs(command.env or {}) do env[name] = value end
  env.RUNNER_TEST_ID = #batch == 1 and batch[1].id or false
  command.env = env
  if #batch > 1 and not self.spec.streams then command.deadline = time_of(batch) end
  function command.on_output(_, stream, bytes)
    run.tail:add(bytes)
    if run.ledger.wrong then return end
    run.reader.output(stream, bytes)
  end
  function command.on_exit(_, exit)
    run.command = nil
    if run.clock then run.clock:stop() end
    -- Also by the signal to dump.
    exit.killed = exit.killed or run.ledger.stopped ~= nil or run.returning or run.idle ~= nil
    local function done() over(self, run, exit) end
    if run.reader.ended then run.reader.ended(exit, done) else done() end
  end
  run.command = self.ctx.spawn(command)
  if #batch == 1 then run.ledger:start(batch[1]) else watch(self, run) end
end

function start(self)
  if self.run then return end
  local batch = next_batch(self)
  if #batch == 0 then
    if self.on_end then self.on_end() end
    return
  end
  local run = { batch = batch, tail = tail.new(TAIL) }
  run.ledger = ledger_of(self, run)
  self.run = run -- until all of its tests are settled: whoever hears of one may push others
  local function go(leave)
    if run.over then return leave() end -- given back while it waited
    run.leave = leave
    launch(self, run)
  end
  if self.spec.turn then self.spec.turn(go) else launch(self, run) end
end

function Worker:push(items)
  self.queue:push(items)
  start(self)
end

--- What the running command has cannot be taken back before its end.
function Worker:take(n)
  self.queue:take(n, self.run ~= nil)
end

--- Ends the running command, of which nobody can say which test it runs: its tests are given back.
function Worker:cancel()
  self:stop(nil, "cancelled")
end

function Worker:stop(item, why)
  local run = self.run
  if not run then return end
  run.ledger.stopped = item
  run.returning = why == "cancelled"
  if run.command then
    M.stop(run.command, self.ctx.settings.grace, why == "timeout" and self.spec.dump)
  elseif not run.reader then -- it waits for its turn
    over(self, run, { kind = "dropped" })
  end
end

--- Ends a command; one that can say where it hangs is asked to before.
---@param command runner.Command
---@param grace number seconds
---@param dump integer|false|nil signal
function M.stop(command, grace, dump)
  if not dump then return command:kill(grace) end
  command:signal(dump)
  local timer = uv.new_timer()
  timer:start(math.ceil(DUMP_S * 1000), 0, function()
    timer:close()
    command:kill(grace)
  end)
  timer:unref()
end

---@async
function Worker:close()
  if not self.run then return end
  task.await(function(resume)
    self.on_end = resume
    return function() self.on_end = nil end
  end)
end

function Worker:kill()
  local run = self.run
  if run and run.command then run.command:kill(0) elseif run then run.over = true end
end

return M
