--- A pytest process that runs tests: a fork of the session's zygote, or a process of its own ("fresh") when forking is
--- refused or not wanted. Speaks the protocol described in worker/__init__.py (see dialogue). Plain callbacks.

local uv = require("luv")
local dialogue = require("frameworks.pytest.dialogue")
local command = require("frameworks.pytest.command")
local lines = require("frameworks.pytest.lines")

local QUIET_MS, QUIET_TICKS = 50, 10 -- a dump of stacks is over when nothing came for so long; at most so often

local M = {}

---@class pytest.Peer: pytest.Dialogue
local Peer = {}
Peer.__index = Peer

local function on_exit(self, exit)
  dialogue.over(self, exit)
  self.over = true
  self.clock:close()
  self.handlers.exited(exit, self.tail)
end

local function remember(self, bytes)
  self.tail = (self.tail .. bytes):sub(-8192)
end

local function spawn(self, spec)
  local read = dialogue.reader(self)
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
    queue = {}, items = {}, idle = true, ahead = 0, said = {}, tail = "", last_token = 0, awaited = 1,
  }, Peer)
  self.slot = session:describe_slot(slot)
  self.marks = dialogue.marks(self)
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
  dialogue.forward(self)
end

--- Answered by `returned`, even when there is nothing to give back: at once while the process does not have all, else
--- between two of its tests.
function Peer:take(n)
  local queue = self.queue
  local first = math.max(#queue - n, 0) + 1
  if first > #queue then
    self.taking = n
    return dialogue.send(self, { take = n })
  end
  local returned = table.move(queue, first, #queue, 1, {})
  for i = #queue, first, -1 do queue[i] = nil end
  self.handlers.returned(returned)
end

--- Ends the running test alone; for isolation = "test".
function Peer:stop_test(item, grace)
  for token, entry in pairs(self.items) do
    if entry.item == item then dialogue.send(self, { stop = token, grace = grace }) end
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
  self.closing = true
  dialogue.send(self, { close = true })
end

---@param grace number? seconds between TERM and KILL
function Peer:kill(grace)
  self.killed = true
  if self.command then self.command:kill(grace or 0) end
end

return M
