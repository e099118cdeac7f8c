--- The host side of the agent: commands and requests over one byte stream. Plain callbacks, called from the loop; tasks
--- are the caller's business. Every command ends with exactly one on_exit, whatever happens to the link.

local uv = require("luv")
local errors = require("runner.base.errors")
local frame = require("runner.agent.frame")
local later = require("runner.base.defer")
local Command = require("runner.agent.command")

local M = {}

local EXIT_KINDS = { [0] = "exited", "signaled", "failed", "dropped" }
local CLOSED = "the link to the agent is closed"
local ANSWERS = { done = true, pong = true, need = true, taken = true, found = true, data = true } -- to requests
local STREAM_NAMES = { [1] = "stdout", [2] = "stderr", [3] = "control" }

---@class runner.AgentInfo what an agent says of its sandbox
---@field version integer
---@field arch string as `uname -m` says it
---@field cpus integer
---@field memory integer bytes
---@field hostname string
---@field cwd string

---@class runner.Agent
---@field info runner.AgentInfo? nil until on_ready
---@field received integer bytes that ever came
local Agent = {}
Agent.__index = Agent
Agent.__name = "runner.agent.client"

-- Frames of one turn of the loop leave in one write.
local function flush(self)
  if #self.outgoing == 0 or self.over then return end
  local bytes = table.concat(self.outgoing)
  self.outgoing = {}
  self.stream:write(bytes)
end

--- For commands, too: encodes and queues a frame. Returns nil and a message when it is too large.
function Agent:_send(name, id, fields)
  if self.over then return true end
  local bytes, message = frame.encode(frame.to_agent, name, id, fields)
  if not bytes then return nil, message end
  local outgoing = self.outgoing
  outgoing[#outgoing + 1] = bytes
  if #outgoing == 1 then self.timer:start(0, 0, self.flush) end
  return true
end

local function excerpt(bytes)
  local text = bytes:sub(1, 200):gsub("[^%g ]+", " "):gsub("^%s+", ""):gsub("%s+$", "")
  return text
end

-- Ends everything that waits for an answer.
local function abandon(self, message)
  local commands, requests = self.commands, self.requests
  self.commands, self.requests = {}, {}
  local ids = {}
  for id in pairs(commands) do ids[#ids + 1] = id end
  table.sort(ids)
  for _, id in ipairs(ids) do commands[id]:_lost(message) end
  for _, request in pairs(requests) do request.on.done(message) end
end

local function stop(self)
  self.over = true
  self.timer:close()
  self.stream:close()
end

-- The link died by itself, or because it was told to. The owner hears of it before its commands do, so that it gives
-- out no more.
local function lose(self, message)
  if self.over then return end
  stop(self)
  if self.closing then
    if self.closing.on_closed then self.closing.on_closed() end
    return
  end
  if self.on_lost then self.on_lost(errors.new("transport", message)) end
  abandon(self, message)
end

local handlers = {}

function handlers.hello(self, f)
  if self.info then return "a second HELLO" end
  if f.version ~= frame.VERSION then
    return ("the agent speaks version %d of the protocol, not %d"):format(f.version, frame.VERSION)
  end
  self.info = f
  f.type, f.id = nil, nil
  if self.on_ready then self.on_ready(f) end
end

function handlers.started(_, f, command)
  command:_started(f.pid, f.realtime_us / 1e6)
end

function handlers.out(_, f, command)
  local name = STREAM_NAMES[f.stream]
  if not name or #f.bytes == 0 or #f.bytes > frame.OUT_MAX then return "malformed OUT" end
  command:_output(name, f.bytes)
end

function handlers.input_credit(_, f, command)
  local expected = command:_input_credit(f.stream, f.bytes)
  if not expected then return "INPUT_CREDIT for what was not sent" end
end

function handlers.exit(self, f, command)
  local kind = EXIT_KINDS[f.kind]
  if not kind then return ("an EXIT of the unknown kind %d"):format(f.kind) end
  self.commands[f.id] = nil
  command:_exited(kind, f)
end

function handlers.done(self, f, request)
  self.requests[f.id] = nil
  if f.errno ~= 0 then request.on.done(f.message, nil, f.errno) else request.on.done(nil, f.message) end
end

-- What a request was not made for is malformed.
for name in pairs(ANSWERS) do
  handlers[name] = handlers[name] or function(_, f, request)
    local on = request.on[name]
    if not on then return name:upper() .. " for something else" end
    return on(f)
  end
end

handlers["error"] = function(_, f)
  return "the agent gave up: " .. f.message
end

local function dispatch(self, f)
  if self.over then return end
  local type = f.type
  local subject, wrong
  if type == "hello" or type == "error" then
    subject = self
  elseif not self.info then
    return lose(self, ("the agent's first frame was %s, not HELLO"):format(type:upper()))
  else
    subject = (ANSWERS[type] and self.requests or self.commands)[f.id]
  end
  if subject then
    wrong = handlers[type](self, f, subject)
  else
    wrong = ("%s for %d, which nobody knows"):format(type:upper(), f.id)
  end
  if wrong then lose(self, wrong) end
end

local function on_bytes(self, bytes, err)
  if self.over or (self.closing and bytes) then return end
  self.received = self.received + #(bytes or "")
  if not bytes then
    local reason = err and ("the link to the agent broke: " .. tostring(err))
      or self.info and "the agent ended" or "the agent ended before it said hello"
    return lose(self, reason)
  end
  local ok, message = self.decoder:feed(bytes, self.dispatch)
  if ok then return end
  if not self.info then
    message = ("no agent answers at the other end, but: %s"):format(excerpt(bytes))
  end
  lose(self, message)
end

--- Speaks to an agent over a stream and says hello; commands may be given at once.
---@param stream runner.Stream with `shutdown`, `agent:close` can wait until the agent has cleaned up and gone
---@param options { run_id: string?, on_ready: fun(info: runner.AgentInfo)?, on_lost: fun(err: runner.Error)? }
---@return runner.Agent
function M.connect(stream, options)
  local self = setmetatable({
    stream = stream,
    on_ready = options.on_ready,
    on_lost = options.on_lost,
    decoder = frame.decoder(frame.to_host),
    timer = uv.new_timer(),
    outgoing = {},
    commands = {},
    requests = {},
    last_id = 0,
    received = 0,
  }, Agent)
  self.flush = function() flush(self) end
  self.dispatch = function(f) dispatch(self, f) end
  self:_send("hello", 0, { version = frame.VERSION, run_id = options.run_id or "run" })
  stream:start(function(bytes, err) on_bytes(self, bytes, err) end)
  return self
end

local function next_id(self)
  self.last_id = self.last_id + 1
  return self.last_id
end

--- Starts a command, or queues it in its lane. Failures come as an exit, never at once.
---@param spec runner.SpawnSpec
---@return runner.Command
function Agent:spawn(spec)
  return self:_relaunch(Command.new(self, nil, spec))
end

--- For commands: starts one, under a new id.
---@param command runner.Command
---@return runner.Command
function Agent:_relaunch(command)
  command.id = next_id(self)
  if self.over or self.closing then
    later(function() command:_lost(CLOSED) end)
    return command
  end
  self.commands[command.id] = command
  local sent, message = self:_send("spawn", command.id, command:_launch())
  if not sent then
    self.commands[command.id] = nil
    later(function() command:_failed(message) end)
  end
  return command
end

---@class runner.AgentRequest what the agent answers, perhaps in many frames
local Request = {}
Request.__index = Request

--- Sends a frame that belongs to it.
---@param name string
---@param fields table?
function Request:send(name, fields)
  if self.agent.requests[self.id] == self then return self.agent:_send(name, self.id, fields) end
end

--- Makes a request. `on` has a function for each kind of frame that may come back (they return a message when the frame
--- makes no sense), and `done(err?, value?, errno?)`, called exactly once, never before this returns.
---@param name "put"|"mkdtemp"|"ping"|"sync"|"list"|"get"
---@param fields table
---@param on table<string, fun(f: table): string?>
---@return runner.AgentRequest
function Agent:request(name, fields, on)
  local request = setmetatable({ agent = self, id = next_id(self), on = on }, Request)
  local sent, message
  if self.over or self.closing then
    message = CLOSED
  else
    self.requests[request.id] = request
    sent, message = self:_send(name, request.id, fields)
  end
  if not sent then
    self.requests[request.id] = nil
    later(function() on.done(message) end)
  end
  return request
end

--- Writes a file in one step, making its folders.
---@param path string
---@param bytes string up to a little under 1 MiB
---@param mode integer? default 0644
---@param on_done fun(err: string?)
function Agent:put(path, bytes, mode, on_done)
  self:request("put", { mode = mode or 420, path = path, bytes = bytes }, { done = function(err) on_done(err) end })
end

--- Makes a folder that the agent removes at its end.
---@param prefix string of its name
---@param on_done fun(path: string?, err: string?)
function Agent:mkdtemp(prefix, on_done)
  self:request("mkdtemp", { prefix = prefix }, { done = function(err, path) on_done(path, err) end })
end

--- Asks for a sign of life.
---@param on_pong fun(err: string?) err when the link died instead
function Agent:ping(on_pong)
  self:request("ping", {}, {
    done = on_pong,
    pong = function(f)
      self.requests[f.id] = nil
      on_pong()
    end,
  })
end

--- Declares the link dead, because of a silence that it does not notice itself. All that runs ends as "lost".
---@param message string
function Agent:give_up(message)
  lose(self, message)
end

--- Ends the agent: it kills all that still runs (those commands end as "lost"), cleans up and goes. A second call no
--- longer waits for that.
---@param on_closed fun()? called when the agent has gone, or at once if the stream cannot tell
function Agent:close(on_closed)
  local before = self.closing
  self.closing = before or { on_closed = on_closed }
  if not self.over then
    flush(self)
    if self.stream.shutdown and not before then
      self.stream:shutdown()
      return abandon(self, CLOSED)
    end
    stop(self)
    abandon(self, CLOSED)
  end
  if before and before.on_closed then later(before.on_closed) end
  if on_closed then later(on_closed) end
end

return M
