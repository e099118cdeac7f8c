--- Speaks with a process that runs tests: gives it tests, and takes what it says of them in the order in which it can
--- be true. A test can say anything in its worker's name; what no worker says ends that worker (`accuse`), so that the
--- test that runs is blamed, and no other.

local lines = require("frameworks.pytest.lines")
local output_marks = require("frameworks.pytest.output_marks")

local END_PATIENCE_S = 10 -- for a process that has nothing left to do but to end
local GAP_S = 900 -- between two tests, where tests have no time limit
--- A process looks for what we say between two tests only: what it has is stuck behind the test that it runs. So it is
--- given what will take so many seconds beyond that; one more, whatever it takes, up to so many.
local AHEAD_S, ONE_AHEAD_S = 0.1, 1
local LEARN = 0.2 -- weight of a test in the moving average of what tests take

local M = {}

---@class pytest.Entry a test that the process was given
---@field token integer they go up in the order in which tests run
---@field item runner.Item
---@field ahead number seconds that it will take, while it has not started
---@field started boolean? by its marks
---@field ended boolean? both streams are past its end, or have no marks
---@field result table?

---@class pytest.Dialogue
---@field hello table? what the process said of itself
---@field bye table? it has run its session to the end
---@field queue runner.Item[] pushed, and not yet given to the process
---@field items table<integer, pytest.Entry> by token: given to the process, not finished
---@field awaited integer no token below it will get another result
---@field ahead number seconds that the items will take that it was given and has not started
---@field running pytest.Entry? by the marks
---@field last string? id of the test that ended last
---@field settling string? fixtures are being torn down; the last test's id, or ""
---@field taking integer? so many were asked back
---@field closing boolean? it was told to end
---@field accused string? what it said that no worker says

--- Sends a message; what the process has not heard when it says hello may have to be said to another (`said`).
---@param self pytest.Peer
---@param message table
function M.send(self, message)
  local line = lines.encode(message)
  if not self.hello and self.said then self.said[#self.said + 1] = line end
  if self.command then self.command:write(line) end
end

--- Ends a process that says what none of ours says.
---@param self pytest.Peer
---@param why string
function M.accuse(self, why)
  if self.accused or self.over then return end
  self.accused = "what came over its control channel is nothing that a worker says: " .. why
  self.clock:stop()
  self.command:kill(0)
end

--- What a test will take, in seconds: as the history has it, or as tests have taken so far. nil: nobody knows.
local function expected(self, item)
  return item.test.straggles and item.test.cost or self.session.pace
end

--- Between two tests the process has a while, then it is given up.
local function watch_gap(self)
  if self.running or self.settling or not self.hello or not next(self.items) then return self.clock:stop() end
  local limit = self.session.ctx.settings.test_timeout or GAP_S
  self.clock:start(math.ceil(limit * 1000), 0, function()
    self.told = true
    self.handlers.problem({
      kind = "teardown", id = self.last,
      message = ("the worker did not go on%s within %g s"):format(self.last and " after this test" or "", limit),
    })
    self:dump_and_kill()
  end)
end

--- Gives the process what it may have in its queue. It is told what follows, too: that decides which fixtures stay.
---@param self pytest.Peer
function M.forward(self)
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
  M.send(self, { run = run, next = queue[1] and queue[1].test.nodeid })
  watch_gap(self)
end

local function begun(self, entry)
  self.ahead = math.max(0, self.ahead - entry.ahead)
  entry.ahead = 0
end

--- The entry whose result comes next.
local function awaited(self)
  while self.awaited <= self.last_token and not self.items[self.awaited] do self.awaited = self.awaited + 1 end
  return self.items[self.awaited]
end

local function finish(self, entry)
  if not entry.result or not entry.ended then return end
  self.items[entry.token] = nil
  begun(self, entry)
  if self.running ~= entry then self.handlers.started(entry.item) end
  self.running, self.idle, self.last = nil, next(self.items) == nil, entry.item.id
  local took = entry.result.duration
  if took then self.session.pace = (self.session.pace or took) * (1 - LEARN) + took * LEARN end
  self.handlers.finished(entry.item, entry.result)
  self.marks:release(entry.token)
  M.forward(self)
  watch_gap(self)
end

local on_message = {}

function on_message.hello(self, message)
  if self.hello then return "a second hello" end
  self.hello, self.said = message.hello, nil
  watch_gap(self)
end

function on_message.done(self, message)
  local entry = awaited(self)
  if not entry or entry.token ~= message.done then return "a result of a test that does not run" end
  self.awaited = self.awaited + 1
  message.done = nil
  entry.result = message
  finish(self, entry)
end

-- What cannot be written cannot be told by marks, of this test and perhaps of others.
function on_message.unmarked(self, message)
  local entry = self.items[message.unmarked]
  self.unmarked = true
  if not entry then return nil end
  entry.ended = true
  finish(self, entry)
end

function on_message.returned(self, message)
  local most = self.closing and math.huge or self.taking or 0
  if #message.returned > most or not self.taking and not self.closing then return "nobody asked for tests" end
  local returned = {}
  for i, token in ipairs(message.returned) do
    local entry = self.items[token]
    if not entry or entry.started or entry.result then return "a test was given back that has started" end
    returned[i] = entry.item
    begun(self, entry)
    self.items[token] = nil
  end
  self.taking = nil
  self.handlers.returned(returned)
end

--- Fixtures are being torn down between two tests, where no test's clock runs.
function on_message.settling(self, message)
  if self.running and not self.running.result then return nil end -- the marks were faster, or it is a lie
  self.settling = message.settling
  local limit = self.session.ctx.settings.test_timeout
  if not limit then return self.clock:stop() end
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
  watch_gap(self)
end

function on_message.problem(self, message)
  self.handlers.problem(message.problem)
end

function on_message.log(self, message)
  self.session.ctx.log(message.log[1], "%s", message.log[2])
end

--- The session is over. The process may still hang on a thread that does not end.
function on_message.bye(self, message)
  if self.running and not self.running.result then return "a session that ends while a test runs" end
  self.bye = message.bye
  local threads = table.concat(message.bye.threads, ", ")
  local patience = threads ~= "" and self.session.ctx.settings.grace or END_PATIENCE_S
  self.clock:start(math.ceil(patience * 1000), 0, function()
    self.handlers.problem({ kind = "leak", message = threads ~= ""
      and "threads kept the worker from ending: " .. threads or "the worker did not end" })
    self.command:kill(0)
  end)
end

--- A reader of what the process says over its control channel.
---@param self pytest.Peer
---@return fun(bytes: string)
function M.reader(self)
  return lines.reader(require("frameworks.pytest.protocol").WORKER, function(kind, message)
    if self.accused then return end
    local wrong = on_message[kind](self, message)
    if wrong then M.accuse(self, wrong) end
  end, function(why) M.accuse(self, why) end)
end

--- The marks in what it prints.
---@param self pytest.Peer
---@return pytest.Marks
function M.marks(self)
  return output_marks.new(self.slot.nonce, {
    known = function(token) return self.items[token] ~= nil end,
    started = function(token)
      local entry = self.items[token]
      self.clock:stop()
      self.running, entry.started = entry, true
      begun(self, entry)
      self.handlers.started(entry.item)
      -- Marks and messages come over two pipes: it may have said goodbye while it ran.
      if self.bye then return M.accuse(self, "a session that ends while a test runs") end
      M.forward(self)
    end,
    output = function(token, stream, bytes)
      local entry = self.items[token]
      self.handlers.output(entry and entry.item, stream, bytes)
    end,
    ended = function(token)
      local entry = self.items[token]
      if not entry then return end
      entry.ended = true
      finish(self, entry)
    end,
    odd = function(what)
      if not self.unmarked then M.accuse(self, what) end
    end,
  })
end

--- The process has ended, and all that it said was heard. A result counts when the test's end was marked; without that
--- it was said early, or something else than the test has ended the process just then. A test that never started has
--- none.
---@param self pytest.Peer
---@param exit runner.CommandExit
function M.over(self, exit)
  self.marks:finish()
  exit.message = self.accused or exit.message
  exit.told = exit.told or self.told
  local believed = not self.accused and (self.bye or self.killed or exit.kind == "lost")
  local done = {}
  for _, entry in pairs(self.items) do
    if entry.result and entry.started and (entry.ended or believed) then done[#done + 1] = entry end
  end
  table.sort(done, function(a, b) return a.token < b.token end)
  for _, entry in ipairs(done) do
    entry.ended = true
    finish(self, entry)
  end
end

return M
