--- Stands in for the agent where none can run: each command is one call of the provider's, "run this line and give me
--- its output". The same methods as runner.agent, and less behind them: no input, no control channel, no fork server,
--- no resource usage, no leaks; a kill reaches what can be found.
---
--- The line says when the command starts and how it ends, in marks that nobody can guess. So what a login shell
--- prints is no output of the command, and a failure of the provider's (status 255 and the like) is never taken for
--- one of the command's: without the last mark the command is lost, and with it the sandbox.

local deploy = require("runner.agent.deploy")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local later = require("runner.base.defer")
local shell_command = require("runner.agent.shell_command")
local task = require("runner.base.task")

local M = {}

local CLOSED = "the sandbox is closed"
local NO_FILES = "commands in this sandbox find no files of one another"
local PUT_BYTES = 24 * 1024 -- of a file in one line

---@class runner.PlainPlace the part of a provider's place that plain commands need
---@field start fun(line: string, options: runner.ShellOptions): runner.ShellProcess like runner.shell.start: callbacks
---@field stateless boolean? commands need not meet: what one wrote, or left running, another may not find
---@field timeout number? seconds; limit of one command

---@class runner.PlainAgent
---@field plain true
---@field info runner.AgentInfo
---@field received integer
local Agent = {}
Agent.__index = Agent
Agent.__name = "runner.agent.shell_client"

-- Lanes: the commands of one run one after the other --------------------------------------------------------------

local function start_next(self, lane)
  local queue = self.lanes[lane]
  local command = table.remove(queue, 1)
  if command then
    queue.running = command
    command:launch()
  else
    self.lanes[lane] = nil
  end
end

--- Starts a command, or queues it in its lane. Failures come as an exit, never at once.
---@param spec runner.SpawnSpec
---@return runner.PlainCommand
function Agent:spawn(spec)
  self.last_id = self.last_id + 1
  local command = shell_command.new(self, self.last_id, spec)
  if self.over then
    later(function() command:finish({ kind = "lost", message = CLOSED }) end)
    return command
  end
  self.commands[command] = true
  local lane = spec.lane or 0
  if lane == 0 then
    later(function() command:launch() end)
  else
    local queue = self.lanes[lane]
    if queue then
      queue[#queue + 1] = command
    else
      self.lanes[lane] = { command }
      later(function()
        if self.lanes[lane] then start_next(self, lane) end
      end)
    end
  end
  return command
end

--- For commands: this one has ended.
function Agent:_ended(command)
  self.commands[command] = nil
  local lane = command.spec.lane or 0
  local queue = self.lanes[lane]
  if queue and queue.running == command then
    queue.running = nil
    if not self.over then start_next(self, lane) end
  elseif queue then
    for i, other in ipairs(queue) do
      if other == command then table.remove(queue, i) break end
    end
  end
end

--- For commands: the processes that are still there; `close` waits for them.
function Agent:_process(change)
  self.processes = self.processes + change
  if self.processes == 0 and self.on_quiet then
    local on_quiet = self.on_quiet
    self.on_quiet = nil
    on_quiet()
  end
end

local function abandon(self, message)
  self.over = true
  local list = {}
  for command in pairs(self.commands) do list[#list + 1] = command end
  table.sort(list, function(a, b) return a.id < b.id end)
  self.commands, self.lanes = {}, {}
  for _, command in ipairs(list) do command:abandon(message) end
end

--- The sandbox is gone: all that runs ends as "lost". The owner hears of it first, so that it gives out no more.
---@param message string
function Agent:give_up(message)
  if self.over then return end
  self.over = true
  if self.on_lost then self.on_lost(errors.new("transport", message)) end
  abandon(self, message)
end

-- Requests ----------------------------------------------------------------------------------------------------------

-- Runs a script of ours and calls on_done(err?, stdout).
local function script(self, text, args, on_done)
  local out, err = {}, ""
  local argv = { "sh", "-c", text, "sh" }
  table.move(args, 1, #args, 5, argv)
  self:spawn({
    argv = argv,
    on_output = function(_, stream, bytes)
      if stream == "stdout" then out[#out + 1] = bytes else err = (err .. bytes):sub(-500) end
    end,
    on_exit = function(_, exit)
      if exit.kind == "exited" and exit.code == 0 then return on_done(nil, table.concat(out)) end
      on_done(exit.message or err ~= "" and (err:gsub("%s+$", "")) or exit_text.describe(exit))
    end,
  })
end

--- Writes a file, making its folders. It appears in one step, when all of it is there.
---@param path string
---@param bytes string
---@param mode integer? default 0644
---@param on_done fun(err: string?)
function Agent:put(path, bytes, mode, on_done)
  if self.place.stateless then
    return later(function() on_done(NO_FILES) end)
  end
  local at, new = 1, ("%s.%d.new"):format(path, self.last_id + 1)
  local folder = path:match("^(.+)/[^/]*$") or "."
  local function step(err)
    if err then return on_done(err) end
    if at > #bytes and at > 1 then
      return script(self, [[chmod "$2" "$1" && mv -f -- "$1" "$3"]], { new, ("%o"):format(mode or 420), path }, on_done)
    end
    local piece = bytes:sub(at, at + PUT_BYTES - 1)
    local first = at == 1
    at = at + PUT_BYTES
    local text = first and [[mkdir -p -- "$1" && : >"$2" && printf "$3" >>"$2"]] or [[printf "$3" >>"$2"]]
    script(self, text, { folder, new, deploy.escape(piece) }, step)
  end
  step()
end

--- Makes a folder that goes when the agent goes.
---@param prefix string
---@param on_done fun(path: string?, err: string?)
function Agent:mkdtemp(prefix, on_done)
  if self.place.stateless then
    return later(function() on_done(nil, NO_FILES) end)
  end
  script(self, [[umask 077; mktemp -d "${TMPDIR:-/tmp}/$1XXXXXX"]], { prefix }, function(err, out)
    if err then return on_done(nil, err) end
    local path = out:gsub("\n$", "")
    self.folders[#self.folders + 1] = path
    on_done(path)
  end)
end

--- There is no link that could be dead.
---@param on_pong fun(err: string?)
function Agent:ping(on_pong)
  later(function() on_pong(self.over and CLOSED or nil) end)
end

local function tell_closed(self)
  local waiting = self.closing
  self.closing = {}
  for _, on_closed in ipairs(waiting) do later(on_closed) end
end

local function finish_closing(self)
  abandon(self, CLOSED)
  if self.processes == 0 then return tell_closed(self) end
  self.on_quiet = function() tell_closed(self) end
end

--- Ends what still runs (as "lost"), removes the temporary folders. A second call no longer waits for that.
---@param on_closed fun()?
function Agent:close(on_closed)
  if self.closing then
    table.insert(self.closing, on_closed)
    return tell_closed(self)
  end
  self.closing = { on_closed }
  local running = {}
  for command in pairs(self.commands) do running[#running + 1] = command end
  for _, command in ipairs(running) do
    command:kill(0)
    command:finish({ kind = "lost", message = CLOSED })
  end
  if self.over or #self.folders == 0 then return finish_closing(self) end
  script(self, [[rm -rf -- "$@"]], self.folders, function() finish_closing(self) end)
end

-- Opening -----------------------------------------------------------------------------------------------------------

local PROBE = [[uname -m 2>/dev/null || echo unknown; ]]
  .. [[nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; uname -n 2>/dev/null || echo unknown; pwd]]

local function probe(self)
  local err, text = task.await(function(resume)
    script(self, PROBE, {}, resume)
    return function() self:close() end
  end)
  if err then errors.raise("transport", err) end
  local arch, cpus, hostname, cwd = text:match("^([^\n]*)\n([^\n]*)\n([^\n]*)\n(.*)\n$")
  if not arch then errors.raise("transport", "no sh answers in the sandbox, but: " .. text:sub(1, 200)) end
  self.info = {
    version = 1, arch = arch, cpus = math.tointeger(tonumber(cpus)) or 1, memory = 0, hostname = hostname, cwd = cwd,
  }
end

--- Opens an agent that is none. Asks the sandbox what it is like, unless it is stateless: then every call may cost a
--- machine. Raises an error of kind "transport" when that fails.
---@param place runner.PlainPlace
---@param options { run_id: string?, on_lost: fun(err: runner.Error)? }
---@return runner.PlainAgent
---@async
function M.connect(place, options)
  local self = setmetatable({
    plain = true, place = place, run_id = options.run_id or "run", received = 0, last_id = 0,
    commands = {}, lanes = {}, folders = {}, processes = 0,
  }, Agent)
  if place.stateless then
    self.info = { version = 1, arch = "unknown", cpus = 1, memory = 0, hostname = "unknown", cwd = "/" }
  else
    probe(self)
  end
  self.on_lost = options.on_lost
  return self
end

return M
