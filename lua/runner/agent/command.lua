--- One command of an agent, as the host sees it: its input under the agent's credit, its output giving credit back.
--- Made by runner.agent, whose frames move it on; callers use what is public here.

local frame = require("runner.agent.frame")

local INPUT_CHUNK = 64 * 1024
local U32_MAX = 0xFFFFFFFF
local CREDIT_CHUNK = 64 * 1024 -- a quarter of the window: few frames, and the agent never waits for the last one

---@class runner.CommandExit
---@field kind "exited"|"signaled"|"failed"|"dropped"|"lost" failed: could not start; dropped: killed before that
---@field code integer? when exited
---@field signal integer? when signaled
---@field errno integer? when failed in the sandbox
---@field message string? why it failed or was lost
---@field timed_out boolean the deadline passed
---@field killed boolean `kill` was called while it ran
---@field wall number seconds, as are user and system
---@field user number
---@field system number
---@field memory integer peak, in bytes
---@field leaks { pid: integer, command: string, test: string? }[] processes it left running; they have been killed

---@class runner.SpawnSpec
---@field argv string[]
---@field shell_argv string[]? run instead where the program is a script that names no interpreter
---@field env table<string, string|false>? on top of the agent's own; false unsets
---@field clear_env boolean? start from an empty environment instead
---@field cwd string?
---@field lane integer? commands of one lane run one after the other
---@field deadline number? seconds; then it is killed as by `kill(grace)`
---@field grace number? seconds between TERM and KILL at the deadline
---@field memory integer? bytes of address space
---@field via runner.Command? a fork server that shall make the process
---@field tag string? RUNNER_COMMAND in its environment; must be unique; by default the agent makes one
---@field control boolean? a socket as its fd 3
---@field forkserver boolean? a fork server's socket as its fd 4
---@field stdin boolean? a pipe as its stdin
---@field merge boolean? stderr goes to stdout
---@field on_start fun(command: runner.Command, pid: integer, realtime: number)?
---@field on_output fun(command: runner.Command, stream: "stdout"|"stderr"|"control", bytes: string)?
---@field on_exit fun(command: runner.Command, exit: runner.CommandExit)?

---@class runner.Command
---@field id integer
---@field pid integer? once started
local Command = {}
Command.__index = Command
Command.__name = "runner.command"

local M = {}

local ENOEXEC = 8

local function milliseconds(seconds)
  if not seconds or seconds <= 0 then return 0 end
  return math.min(math.ceil(seconds * 1000), U32_MAX)
end

local function environment(env)
  local list = {}
  for key, value in pairs(env or {}) do
    list[#list + 1] = value == false and key or key .. "=" .. value
  end
  table.sort(list)
  return list
end

function M.new(agent, id, spec)
  return setmetatable({
    agent = agent,
    id = id,
    spec = spec,
    owed = 0, -- bytes of output taken, not yet given back as credit
    inputs = {},
  }, Command)
end

-- Per input stream: what waits here, and how much the agent has not passed on yet.
local function input_of(self, stream)
  local input = self.inputs[stream]
  if not input then
    input = { queue = {}, first = 1, last = 0, outstanding = 0 }
    self.inputs[stream] = input
  end
  return input
end

local function pump(self, stream)
  local input = input_of(self, stream)
  while input.first <= input.last do
    local room = frame.WINDOW - input.outstanding
    if room == 0 then return end
    local piece = input.queue[input.first]
    if #piece > room then
      input.queue[input.first] = piece:sub(room + 1)
      piece = piece:sub(1, room)
    else
      input.queue[input.first] = nil
      input.first = input.first + 1
    end
    input.outstanding = input.outstanding + #piece
    self.agent:_send("input", self.id, { stream = stream, bytes = piece })
  end
  if input.closing and not input.closed then
    input.closed = true
    self.agent:_send("input", self.id, { stream = stream, bytes = "" })
  end
end

local function stream_of(self, name)
  return frame.streams[name or (self.spec.control or self.spec.via) and "control" or "stdin"]
end

--- Sends bytes to the command's control socket if it has one, else to its stdin. Order is kept; what the command does
--- not read waits here.
---@param bytes string
---@param stream "stdin"|"control"|nil
function Command:write(bytes, stream)
  if self.over or #bytes == 0 then return end
  local number = stream_of(self, stream)
  local input = input_of(self, number)
  if input.closing then return end
  -- A long string is cut up here, once; cutting its head off again and again would copy it as often.
  for at = 1, #bytes, INPUT_CHUNK do
    input.last = input.last + 1
    input.queue[input.last] = bytes:sub(at, at + INPUT_CHUNK - 1)
  end
  pump(self, number)
end

--- Ends that input, after what was written.
---@param stream "stdin"|"control"|nil
function Command:close_input(stream)
  if self.over then return end
  local number = stream_of(self, stream)
  input_of(self, number).closing = true
  pump(self, number)
end

--- Sends a signal to its first process only.
---@param number integer
function Command:signal(number)
  if not self.over then self.agent:_send("signal", self.id, { number = number }) end
end

--- Takes it out of its lane, unless it has started: then it goes on.
function Command:drop()
  if not self.over then self.agent:_send("kill", self.id, { grace_ms = frame.KILL_NEVER }) end
end

--- TERM to all of its processes, KILL after the grace. A second call can shorten the grace.
---@param grace number? seconds, default 0: KILL at once
function Command:kill(grace)
  if self.over then return end
  self.agent:_send("kill", self.id, { grace_ms = milliseconds(grace) })
end

-- What follows is for runner.agent.

--- The fields of the SPAWN frame.
function Command:_launch()
  local spec, flags = self.spec, 0
  for name, bit in pairs(frame.flags) do
    if spec[name] then flags = flags | bit end
  end
  return {
    flags = flags,
    lane = spec.lane,
    deadline_ms = milliseconds(spec.deadline),
    grace_ms = milliseconds(spec.grace),
    memory = spec.memory,
    via = spec.via and spec.via.id,
    tag = spec.tag,
    cwd = spec.cwd,
    argv = spec.argv,
    env = environment(spec.env),
  }
end

function Command:_started(pid, realtime)
  self.pid = pid
  if self.spec.on_start then self.spec.on_start(self, pid, realtime) end
end

function Command:_output(stream, bytes)
  if self.spec.on_output then self.spec.on_output(self, stream, bytes) end
  self.owed = self.owed + #bytes
  if self.owed >= CREDIT_CHUNK then
    self.agent:_send("credit", self.id, { bytes = self.owed })
    self.owed = 0
  end
end

function Command:_input_credit(stream, bytes)
  local input = self.inputs[stream]
  if not input or input.outstanding < bytes then return false end
  input.outstanding = input.outstanding - bytes
  pump(self, stream)
  return true
end

local function finish(self, exit)
  self.over = true
  self.inputs = {}
  if self.spec.on_exit then self.spec.on_exit(self, exit) end
end

--- Takes an EXIT frame.
function Command:_exited(kind, f)
  if kind == "failed" and f.code == ENOEXEC and self.spec.shell_argv then
    self.spec.argv, self.spec.shell_argv = self.spec.shell_argv, nil
    return self.agent:_relaunch(self)
  end
  for _, leak in ipairs(f.leaks) do
    if leak.test == "" then leak.test = nil end
  end
  finish(self, {
    kind = kind,
    code = kind == "exited" and f.code or nil,
    signal = kind == "signaled" and f.code or nil,
    errno = kind == "failed" and f.code or nil,
    message = f.message ~= "" and f.message or nil,
    timed_out = f.flags & frame.exit_flags.timed_out ~= 0,
    killed = f.flags & frame.exit_flags.killed ~= 0,
    wall = f.wall_us / 1e6,
    user = f.user_us / 1e6,
    system = f.system_us / 1e6,
    memory = f.memory,
    leaks = f.leaks,
  })
end

local function finish_without_process(self, kind, message)
  finish(self, {
    kind = kind, message = message, timed_out = false, killed = false,
    wall = 0, user = 0, system = 0, memory = 0, leaks = {},
  })
end

function Command:_lost(message)
  finish_without_process(self, "lost", message)
end

function Command:_failed(message)
  finish_without_process(self, "failed", message)
end

return M
