--- A pytest process that runs tests: a fork of the session's zygote, or a process of its own ("fresh") when forking is
--- refused or not wanted. Speaks the protocol described in worker/__init__.py. Plain callbacks, no tasks.

local uv = require("luv")
local command = require("frameworks.pytest.command")
local lines = require("frameworks.pytest.lines")
local output_marks = require("frameworks.pytest.output_marks")

local END_PATIENCE_S = 10 -- for a process that has nothing left to do but to end
local QUIET_MS, QUIET_TICKS = 50, 10 -- a dump of stacks is over when nothing came for so long; at most so often
--- A process looks for what we say between two tests only: what it has is stuck behind the test that it runs. So it is
--- given what will take so many seconds beyond that; one more, whatever it takes, up to so many.
local AHEAD_S, ONE_AHEAD_S = 0.1, 1
local LEARN = 0.2 -- weight of a test in the moving average of what tests take

local M = {}

---@class pytest.Peer
---@field hello table? what the process said of itself
---@field bye table? it has run its session to the end
---@field queue runner.Item[] pushed, and not yet given to the process
---@field items table<integer, table> by token: given to the process, not finished
---@field ahead number seconds that the items will take that it was given and has not started
---@field running table? item
---@field settling string? fixtures are being torn down; the last test's id, or ""
local Peer = {}
Peer.__index = Peer

local function send(self, message)
  local line = lines.encode(message)
  if not self.hello and self.said then self.said[#self.said + 1] = line end
  if self.command then self.command:write(line) end
end

--- What a test will take, in seconds: as the history has it, or as tests have taken so far. nil: nobody knows.
local function expected(self, item)
  return item.test.straggles and item.test.cost or self.session.pace
end

--- Gives the process what it may have in its queue. It is told what follows, too: that decides which fixtures stay.
local function forward(self)
  local queue, run = self.queue, {}
  local left = AHEAD_S - self.ahead
  if queue[1] and self.idle == false and left < AHEAD_S / 2 then return end
  for i, item in ipairs(queue) do
    local seconds = expected(self, item)
    local fits = seconds and (seconds <= left or self.ahead == 0 and seconds <= ONE_AHEAD_S)
    if self.idle == false and not fits then break end
    self.last_token = self.last_token + 1
    local entry = { token = self.last_token, item = item, ahead = self.idle == false and seconds or 0 }
    self.items[self.last_token], self.idle = entry, false
    self.ahead, left = self.ahead + entry.ahead, left - entry.ahead
    run[i] = { self.last_token, item.test.nodeid, item.attempt, item.id }
  end
  if #run == 0 then return end
  table.move(queue, #run + 1, #queue + #run, 1)
  send(self, { run = run, next = queue[1] and queue[1].test.nodeid })
end

local function begun(self, entry)
  self.ahead = math.max(0, self.ahead - entry.ahead)
  entry.ahead = 0
end

local function finish(self, token)
  local entry = self.items[token]
  if not entry or not entry.result or not entry.ended then return end
  self.items[token] = nil
  begun(self, entry)
  if self.running ~= entry.item then self.handlers.started(entry.item) end
  self.running, self.idle = nil, next(self.items) == nil
  local took = entry.result.duration
  if took then self.session.pace = (self.session.pace or took) * (1 - LEARN) + took * LEARN end
  self.handlers.finished(entry.item, entry.result)
  self.marks:release(token)
  forward(self)
end

local on_message = {}

function on_message.hello(self, message)
  self.hello, self.said = message.hello, nil
end

function on_message.done(self, message)
  local entry = self.items[message.done]
  if not entry then return end
  message.done = nil
  entry.result = message
  finish(self, entry.token)
end

function on_message.unmarked(self, message)
  local entry = self.items[message.unmarked]
  if not entry then return end
  entry.ended = true
  finish(self, entry.token)
end

function on_message.returned(self, message)
  local returned = {}
  for _, token in ipairs(message.returned) do
    local entry = self.items[token]
    if entry then
      begun(self, entry)
      self.items[token] = nil
      returned[#returned + 1] = entry.item
    end
  end
  self.handlers.returned(returned)
end

--- Fixtures are being torn down between two tests, where no test's clock runs.
function on_message.settling(self, message)
  self.settling = message.settling
  local limit = self.session.ctx.settings.test_timeout
  if not limit then return end
  self.clock:start(math.ceil(limit * 1000), 0, function()
    self.handlers.problem({
      kind = "teardown", id = message.settling ~= "" and message.settling or nil,
      message = ("fixtures were not torn down within %g s"):format(limit),
    })
    self:dump_and_kill()
  end)
end

function on_message.settled(self)
  self.settling = nil
  self.clock:stop()
end

function on_message.problem(self, message)
  self.handlers.problem(message.problem)
end

function on_message.log(self, message)
  self.session.ctx.log(message.log[1], "%s", message.log[2])
end

--- The session is over. The process may still hang on a thread that does not end.
function on_message.bye(self, message)
  self.bye = message.bye
  local threads = table.concat(message.bye.threads, ", ")
  local patience = threads ~= "" and self.session.ctx.settings.grace or END_PATIENCE_S
  self.clock:start(math.ceil(patience * 1000), 0, function()
    self.handlers.problem({ kind = "leak", message = threads ~= ""
      and "threads kept the worker from ending: " .. threads or "the worker did not end" })
    self.command:kill(0)
  end)
end

local function read_message(self, message)
  if message.done then return on_message.done(self, message) end
  for kind in pairs(message) do
    if on_message[kind] then return on_message[kind](self, message) end
  end
end

local function start_marks(self)
  return output_marks.new(self.slot.nonce, {
    started = function(token)
      local entry = self.items[token]
      if not entry then return end
      self.clock:stop()
      self.running = entry.item
      begun(self, entry)
      self.handlers.started(entry.item)
      forward(self)
    end,
    output = function(token, stream, bytes)
      local entry = self.items[token]
      self.handlers.output(entry and entry.item, stream, bytes)
    end,
    ended = function(token)
      local entry = self.items[token]
      if not entry then return end
      entry.ended = true
      finish(self, token)
    end,
  })
end

local function on_exit(self, exit)
  self.marks:finish()
  -- Results that are here count, even if the end of the output was lost.
  local done = {}
  for _, entry in pairs(self.items) do
    if entry.result then done[#done + 1] = entry end
  end
  table.sort(done, function(a, b) return a.token < b.token end)
  for _, entry in ipairs(done) do
    entry.ended = true
    finish(self, entry.token)
  end
  self.over = true
  self.clock:close()
  self.handlers.exited(exit, self.tail)
end

local function remember(self, bytes)
  self.tail = (self.tail .. bytes):sub(-8192)
end

local function spawn(self, spec)
  local read = lines.reader(function(message) read_message(self, message) end)
  spec.control, spec.tag = true, self.slot.tag
  spec.on_output = function(_, stream, bytes)
    self.spoke = true
    if stream == "control" then return read(bytes) end
    if not self.hello then remember(self, bytes) end
    self.marks:feed(stream, bytes)
  end
  self.command = self.session.ctx.spawn(spec)
end

local NEVER_STARTED = { kind = "dropped", wall = 0, user = 0, system = 0, memory = 0, leaks = {} }

local function start_fresh(self)
  if self.killed then return on_exit(self, NEVER_STARTED) end
  local session = self.session
  self.slot.workerinput, self.slot.basetemp = session.workerinput, session.basetemp
  spawn(self, {
    argv = command.argv(session.options, session.folder),
    env = command.environment(session.options, self.slot),
    on_exit = function(_, exit) on_exit(self, exit) end,
  })
  self.command:write(lines.encode({ slot = self.slot, files = self.files }))
  for _, line in ipairs(self.said) do self.command:write(line) end
end

local function start_fork(self)
  spawn(self, {
    argv = {},
    via = self.session.zygote,
    on_exit = function(_, exit)
      if exit.kind ~= "failed" then return on_exit(self, exit) end
      self.session:with_template(function() start_fresh(self) end)
    end,
  })
  self.command:write(lines.encode({ slot = self.slot }))
end

---@class pytest.PeerHandlers
---@field started fun(item: table)
---@field output fun(item: table?, stream: string, bytes: string)
---@field finished fun(item: table, result: table)
---@field returned fun(items: table[])
---@field problem fun(problem: table)
---@field exited fun(exit: runner.CommandExit, tail: string) tail: the end of what it printed before it was ready

---@param session pytest.Session
---@param slot runner.Slot
---@param handlers pytest.PeerHandlers
---@param files string[]? collect these only, in a process of its own
---@return pytest.Peer
function M.start(session, slot, handlers, files)
  local self = setmetatable({
    session = session, handlers = handlers, files = files, clock = uv.new_timer(),
    queue = {}, items = {}, idle = true, ahead = 0, said = {}, tail = "", last_token = 0,
  }, Peer)
  self.slot = session:describe_slot(slot)
  self.marks = start_marks(self)
  if not files and session:can_fork() then
    start_fork(self)
  else
    session:with_template(function() start_fresh(self) end)
  end
  return self
end

---@param items table[] to run after those it has
function Peer:push(items)
  table.move(items, 1, #items, #self.queue + 1, self.queue)
  forward(self)
end

--- Answered by `returned`, even when there is nothing to give back: at once while the process does not have all, else
--- between two of its tests.
function Peer:take(n)
  local queue = self.queue
  local first = math.max(#queue - n, 0) + 1
  if first > #queue then return send(self, { take = n }) end
  local returned = table.move(queue, first, #queue, 1, {})
  for i = #queue, first, -1 do queue[i] = nil end
  self.handlers.returned(returned)
end

--- Ends the running test alone; for isolation = "test".
function Peer:stop_test(item, grace)
  for token, entry in pairs(self.items) do
    if entry.item == item then send(self, { stop = token, grace = grace }) end
  end
end

-- The command's first process may be a launcher, such as `uv run`.
local function send_signal(self, number)
  if self.command.pid == self.hello.pid then return self.command:signal(number) end
  local kill = ("kill -%d %d"):format(number, self.hello.pid)
  self.session.ctx.spawn({ argv = { "/bin/sh", "-c", kill } })
end

--- Lets the process print the stacks of its threads, then ends it.
function Peer:dump_and_kill()
  if self.over or self.dumping then return end
  local grace = self.session.ctx.settings.grace
  if not self.hello then return self:kill(grace) end
  self.dumping = true
  send_signal(self, self.hello.dump_signal)
  self.spoke = true -- it gets at least two ticks
  local ticks = 0
  self.clock:start(QUIET_MS, QUIET_MS, function()
    ticks = ticks + 1
    if self.spoke and ticks < QUIET_TICKS then
      self.spoke = false
    else
      self.clock:stop()
      self.command:kill(grace)
    end
  end)
end

--- Asks it to end its session; `exited` follows.
function Peer:close()
  send(self, { close = true })
end

---@param grace number? seconds between TERM and KILL
function Peer:kill(grace)
  self.killed = true
  if self.command then self.command:kill(grace or 0) end
end

return M
