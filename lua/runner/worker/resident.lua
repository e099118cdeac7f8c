--- A worker with a resident process, for runners whose start is dear: it is started once in a slot and told over its
--- control channel what to run, one unit (a file) at a time. What waits meanwhile can be taken back.
---
--- To the process: {run: what the framework's `request` says}. From it, in lines (see runner.worker.channel):
---   {ready: {…}} · {fatal: {message, text}} it cannot do its work and ends
---   {start: token} · {over: token} if the result comes later · {done: token, result: {…}}
---   {output: [stream, token or 0, text, 1 if hexadecimal]}
---   {ran: unit, errors: {message, trace} of the file itself, died?: the same of a process of its own where the tests
---     ran, gone?: tokens of tests that it does not have, unlisted?: lists of titles, recycle?: it wants to be replaced
---     by a new process}
---   {problem: {message, text}} · {bye: {error?}}
--- It ends after {close: true}.
---
--- A message that does not fit (see runner.worker.messages) ends the process; the test that ran then is to blame. Who
--- it is when a process ends: see runner.worker.file_run.

local uv = require("luv")
local channel = require("runner.worker.channel")
local exits = require("runner.io.exit_text")
local ledger = require("runner.worker.ledger")
local messages = require("runner.worker.messages")
local queue = require("runner.worker.queue")
local tail = require("runner.base.tail")
local task = require("runner.base.task")
local unit = require("runner.worker.file_run")

local M = {}

local TAIL = 64 * 1024
local WRONG = "what its process reported makes no sense: "
local START_LIMIT_S = 300
local LOAD_LIMIT_S = 60 -- at least, for what happens outside of tests
local END_PATIENCE_S = 10

---@class runner.ResidentSpec
---@field process fun(): table what ctx.spawn takes: argv, env, cwd …
---@field hello fun(slot: runner.Slot): table? the first message to a process
---@field unit fun(item: runner.Item): string tests of one unit run together
---@field request fun(items: runner.Item[], token: fun(item: runner.Item): integer): table what runs them
---@field admit? fun(item: runner.Item, process: any, send: fun(message: table), go: fun(refused: table?)) calls `go`
---  when the process may run its next unit, of which `item` is; `refused`: it may not, ever, with message and trace
---@field release? fun() a unit that was admitted is over
---@field spare? fun(handlers: table): runner.Command?, fun()? a process that is there already; its output and end go to
---  on_output and on_exit of `handlers`, what it has said before when the second value is called
---@field ready? fun(about: table)
---@field unlisted? fun() a unit turned out to have tests that were not listed
---@field load_timeout? number seconds for the file's own code, between tests (default: as for a test, at least 60)
---@field name string of the runner, for messages

---@class runner.ResidentWorker
local Worker = {}
Worker.__index = Worker

---@param ctx table of the framework
---@param slot runner.Slot
---@param report table what the worker reports to
---@param spec runner.ResidentSpec
---@return table worker
function M.worker(ctx, slot, report, spec)
  local self = setmetatable({
    ctx = ctx, slot = slot, report = report, spec = spec, queue = queue.new(report, spec.unit), last_token = 0,
    units = 0,
  }, Worker)
  self:start()
  return self
end

-- The clock of what is no test's -----------------------------------------------------------------------------------

local function stop_clock(self)
  if self.clock and not self.clock:is_closing() then self.clock:close() end
  self.clock = nil
end

local function start_clock(self, seconds, on_time)
  stop_clock(self)
  self.clock = uv.new_timer()
  self.clock:start(math.ceil(seconds * 1000), 0, function()
    stop_clock(self)
    on_time()
  end)
end

--- Ends the process and all that it started. Its parts end one after the other: nothing that they say of it counts.
local function kill(self, grace)
  if not self.peer then return end
  self.peer.is_killed = true
  self.peer.command:kill(grace)
end

--- The file's own code runs: it is loaded, or a hook sets up or tears down for several tests.
local function watch_file(self)
  local run = self.run
  if not run or not self.peer or not self.peer.ready then return end
  local limit = run.items[1].policy.test_timeout
  local seconds = self.spec.load_timeout or limit and math.max(limit, LOAD_LIMIT_S)
  if not seconds then return end
  start_clock(self, seconds, function()
    run.hung = seconds
    kill(self, self.ctx.settings.grace)
  end)
end

-- The unit that runs ------------------------------------------------------------------------------------------------

local run_next

--- The unit is over; what of it has no verdict waits again, in front.
local function over(self, run)
  local left = run.ledger:left()
  run.ledger:tell_outsiders(run.items[1].test.file)
  self.run = nil
  stop_clock(self)
  if self.spec.release then self.spec.release() end
  if run.returning then
    self.report.returned(left)
  else
    self.queue:put_back(left, run.ledger)
  end
  self.queue:answer(false)
  run_next(self)
end

--- The process in which the tests ran has ended.
local function died(self, run, result_of, leaks)
  if not run.returning or run.ledger.stopped then self.queue:isolate(run:died(result_of, leaks)) end
  over(self, run)
end

-- What the process says ---------------------------------------------------------------------------------------------

local on_message = {}

function on_message.ready(self, message, peer)
  peer.ready = true
  stop_clock(self)
  if self.spec.ready then self.spec.ready(message.ready) end
  run_next(self)
end

function on_message.fatal(_, message, peer)
  peer.fatal = message.fatal
end

function on_message.ran(self, message, peer)
  local run = self.run
  if not run or run.number ~= message.ran or peer.is_killed then return end
  if message.recycle and not self.on_end then
    self.peer = nil
    self:dismiss(peer)
  end
  if message.unlisted and message.unlisted[1] and self.spec.unlisted then self.spec.unlisted() end
  local death = message.died
  if not death then
    run:ended(message)
    return over(self, run)
  end
  died(self, run, function(where) return unit.crash(death, where) end)
end

--- Of single tests.
local function take(self, kind, message)
  local run = self.run
  if not run then return end
  run:take(kind, message)
  if self.run ~= run then return end
  if run.ledger:current() then stop_clock(self) elseif not self.clock then watch_file(self) end
end

for _, kind in ipairs({ "start", "over", "done", "output" }) do
  on_message[kind] = function(self, message, peer)
    if self.peer == peer then take(self, kind, message) end
  end
end

function on_message.problem(self, message)
  local problem = message.problem
  self.report.problem({
    kind = "teardown", text = problem.text,
    message = ("between tests of %s: %s"):format(self.spec.name, problem.message),
  })
end

function on_message.bye(self, message)
  local error = message.bye.error
  if error then
    self.report.problem({ kind = "teardown", text = error.trace,
      message = ("%s did not end well: %s"):format(self.spec.name, error.message) })
  end
end

-- The process -------------------------------------------------------------------------------------------------------

--- Why it ended before it could do anything.
local function complain(self, peer, exit)
  local fatal = peer.fatal
  local said = peer.tail:text()
  local message = fatal and fatal.message or peer.wrong and WRONG .. peer.wrong
    or peer.late and ("it did not start within %d s"):format(START_LIMIT_S)
    or exits.describe(exit)
  self.report.problem({
    kind = "infrastructure", text = fatal and fatal.text ~= "" and fatal.text or said ~= "" and said or nil,
    message = ("%s cannot run tests: %s"):format(self.spec.name, message),
  })
end

local function exited(self, peer, exit)
  if peer.patience then peer.patience:close() end
  local run = self.peer == peer and self.run or nil
  local culprit = run and (run.ledger.stopped or run.ledger:running()[1])
  local leaks = ledger.split_leaks(exit.leaks, culprit, self.report.problem)
  if self.peer ~= peer then return end
  self.peer = nil
  stop_clock(self)
  if self.on_end then
    if not peer.closing then self.report.problem({ kind = "teardown", message = ("%s: %s"):format(self.spec.name,
      exits.describe(exit)) }) end
    return self.on_end()
  end
  if exit.kind == "lost" then return self.report.exited(exit) end
  if not peer.ready and not (run and (run.ledger.stopped or run.returning)) then
    complain(self, peer, exit)
    self.run = nil
    if run and self.spec.release then self.spec.release() end
    return self.report.exited(exit)
  end
  if run then
    local death = { code = exit.code, signal = exit.signal, trace = peer.tail:text() }
    if peer.wrong then death = { message = WRONG .. peer.wrong, trace = death.trace } end
    return died(self, run, function(where) return unit.crash(death, where) end, leaks)
  end
  local said = peer.tail:text()
  self.report.problem({
    kind = "teardown", text = said:find("%S") and said or nil,
    message = ("%s ended between two files: %s"):format(self.spec.name,
      peer.wrong and WRONG .. peer.wrong or exits.describe(exit)),
  })
  run_next(self)
end

--- Starts the process, unless there is one.
function Worker:start()
  if self.peer then return end
  local peer = { tail = tail.new(TAIL) }
  self.peer = peer
  local read = channel.reader(function(message, kind)
    if peer.wrong or self.peer ~= peer and kind ~= "bye" and kind ~= "problem" then return end
    if on_message[kind] then on_message[kind](self, message, peer) end
  end, messages.RESIDENT, function(why)
    if peer.wrong then return end
    peer.wrong = why
    peer.command:kill(0)
  end)
  local handlers = {}
  function handlers.on_output(_, stream, bytes)
    if stream == "control" then return read(bytes) end
    peer.tail:add(bytes)
    local run = self.peer == peer and self.run
    local item = run and run:current()
    if item then self.report.output(item, stream, bytes) end
  end
  function handlers.on_exit(_, exit) exited(self, peer, exit) end
  local replay
  if self.spec.spare then peer.command, replay = self.spec.spare(handlers) end
  if not peer.command then
    local command = self.spec.process()
    command.control, command.on_output, command.on_exit = true, handlers.on_output, handlers.on_exit
    peer.command = self.ctx.spawn(command)
  end
  local hello = self.spec.hello and self.spec.hello(self.slot)
  if hello then peer.command:write(channel.encode(hello)) end
  start_clock(self, START_LIMIT_S, function()
    peer.late = true
    peer.command:kill(0)
  end)
  if replay then replay() end
end

--- Asks a process to end.
function Worker:dismiss(peer)
  peer.closing = true
  peer.command:write(channel.encode({ close = true }))
  peer.patience = uv.new_timer()
  peer.patience:start(END_PATIENCE_S * 1000, 0, function() peer.command:kill(0) end)
end

-- The queue ---------------------------------------------------------------------------------------------------------

local function begin(self)
  local items = self.queue:next()
  self.units = self.units + 1
  local run = unit.new(items, self.report)
  run.number = self.units
  self.run = run
  local request = self.spec.request(items, function(item)
    self.last_token = self.last_token + 1
    run.by_token[self.last_token] = item
    return self.last_token
  end)
  request.unit = run.number
  self.peer.command:write(channel.encode({ run = request }))
  watch_file(self)
  self.queue:answer(true)
end

local function refuse(self, why)
  for _, item in ipairs(self.queue:drain()) do
    self.report.finished(item, { status = "failed", message = why.message, trace = why.trace })
  end
end

function run_next(self)
  if self.run or self.asking or self.queue:count() == 0 or self.on_end then return end
  self:start()
  local peer = self.peer
  if not peer.ready then return end
  if not self.spec.admit then return begin(self) end
  self.asking = true
  local function send(message) peer.command:write(channel.encode(message)) end
  self.spec.admit(self.queue:first(), peer, send, function(refused)
    self.asking = nil
    if refused then return refuse(self, refused) end
    if self.queue:count() > 0 and self.peer == peer then return begin(self) end
    self.spec.release()
    run_next(self)
  end)
end

function Worker:push(items)
  self.queue:push(items)
  run_next(self)
end

function Worker:take(n)
  self.queue:take(n, self.run ~= nil)
end

local function stop(self, item, why)
  local run = self.run
  if not run or not self.peer then return end
  run.ledger.stopped = item
  run.returning = why == "cancelled"
  kill(self, self.ctx.settings.grace)
end

function Worker:stop(item, why) stop(self, item, why) end

--- Ends what runs, of which nobody can say which test it is.
function Worker:cancel() stop(self, nil, "cancelled") end

---@async
function Worker:close()
  local peer = self.peer
  if not peer then return end
  task.await(function(resume)
    self.on_end = resume
    self:dismiss(peer)
    return function() self.on_end = function() end end
  end)
  stop_clock(self)
end

function Worker:kill()
  kill(self, 0)
end

return M
