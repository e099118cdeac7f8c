--- One command of runner.plain: the line that runs it, what its marks say, and how it is ended.

local uv = require("luv")
local defer = require("runner.base.defer")
local mark = require("runner.base.marker")
local shell = require("runner.io.shell")

local M = {}

local LINE_LIMIT = 100 * 1024 -- Linux takes 128 KiB in one argument, and the provider's own words come on top
local NOISE_KEPT = 2000
local PATIENCE_MS = 2000 -- for a call to return after what it ran was killed
local MISSING = { control = "control channel", forkserver = "fork server", via = "fork server", stdin = "input" }

-- $1$2: the mark. The command is a child of this shell, which tells its end.
local WRAPPER = [[m=$1$2; shift 2; printf "%%s start %%s\n" "$m" $$; %s"$@"%s </dev/null; r=$?; ]]
  .. [[printf "%%s end %%s\n" "$m" $r; exit $r]]

-- $1: signal, $2: the wrapper's pid, $3: what the environment of the command's processes holds. Parents come first: one
-- that waits for its child must not take the child's end for an answer. Nobody is signalled twice.
local KILL = [[s=$1; p=$2; k() { set -- $1 $(cat /proc/$1/task/$1/children); ]]
  .. [[[ $1 = $p ] || kill -$s $1; shift; for c do k $c; done; }; k $p 2>/dev/null; ]]
  .. [[for e in /proc/[0-9]*/environ; do grep -qsF "$3" "$e" && { e=${e#/proc/}; e=${e%/environ}; ]]
  .. [[[ $e = $p ] || [ $e = $$ ] || kill -$s $e; }; done 2>/dev/null; exit 0]]

---@class runner.PlainCommand
---@field id integer
---@field pid integer? in the sandbox
local Command = {}
Command.__index = Command
Command.__name = "runner.plain.command"

---@param agent runner.PlainAgent
---@param id integer
---@param spec runner.SpawnSpec
function M.new(agent, id, spec)
  local self = setmetatable({ agent = agent, id = id, spec = spec, held = "", noise = "", err = "" }, Command)
  self.tag = spec.tag or ("%s.%d.%s"):format(agent.run_id, id, mark.half())
  return self
end

--- What stands in front of the command: limits, environment, folder.
local function preamble(spec, tag)
  local parts, odd = {}, {}
  local env = { RUNNER_COMMAND = tag }
  for key, value in pairs(spec.env or {}) do env[key] = value end
  local names = {}
  for name in pairs(env) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = env[name]
    if not name:find("^[%a_][%w_]*$") then
      if value then odd[#odd + 1] = shell.quote(name .. "=" .. value) end
    elseif value then
      parts[#parts + 1] = ("export %s=%s; "):format(name, shell.quote(value))
    else
      parts[#parts + 1] = ("unset %s; "):format(name)
    end
  end
  if spec.memory then parts[#parts + 1] = ("ulimit -v %d; "):format(spec.memory // 1024) end
  if spec.cwd and spec.cwd ~= "" then
    parts[#parts + 1] = ([[cd -- %s || { printf "%%s cd\n" "$m"; exit 126; }; ]]):format(shell.quote(spec.cwd))
  end
  if #odd > 0 then parts[#parts + 1] = "env " .. table.concat(odd, " ") .. " " end
  return table.concat(parts)
end

--- The line for the provider: words only, so that it may be split as well as given to a shell.
function Command:line()
  local first, second = mark.half(), mark.half()
  self.mark = first .. second .. " "
  local text = WRAPPER:format(preamble(self.spec, self.tag), self.spec.merge and " 2>&1" or "")
  local argv = { "sh", "-c", text, "sh", first, second }
  table.move(self.spec.argv, 1, #self.spec.argv, #argv + 1, argv)
  return shell.join(argv)
end

-- Output ------------------------------------------------------------------------------------------------------------

local function emit(self, stream, bytes)
  if bytes ~= "" and not self.over and self.spec.on_output then self.spec.on_output(self, stream, bytes) end
end

local words = {}

function words.start(self, pid)
  self.said_start, self.pid = true, math.tointeger(tonumber(pid))
  if self.signal_wanted then self:kill_there(self.signal_wanted) end
end

function words.cd(self)
  self.no_folder = true
end

local function set_killer(self, ms, fn)
  self.killer = self.killer or uv.new_timer()
  self.killer:start(ms, 0, fn)
end

local function end_call(self)
  set_killer(self, PATIENCE_MS, function() self.process:kill(0) end)
end

words["end"] = function(self, status)
  self.status = math.tointeger(tonumber(status))
  end_call(self) -- something left behind may hold the call open
end

local function on_stdout(self, bytes)
  local text = self.held .. bytes
  self.held = ""
  while not self.status do
    local at, after = text:find(self.mark, 1, true)
    local line_end = at and text:find("\n", after, true)
    at = at or mark.possible(text, self.mark)
    local before = text:sub(1, at - 1)
    if self.said_start then emit(self, "stdout", before) else self.noise = (self.noise .. before):sub(-NOISE_KEPT) end
    if not line_end then
      self.held = text:sub(at)
      return
    end
    local word, rest = text:sub(after + 1, line_end - 1):gsub("\r$", ""):match("^(%l+) ?(.*)$")
    text = text:sub(line_end + 1)
    if words[word] then words[word](self, rest) end
  end
end

local function on_output(self, stream, bytes)
  self.agent.received = self.agent.received + #bytes
  if stream == "stdout" then return on_stdout(self, bytes) end
  self.err = (self.err .. bytes):sub(-NOISE_KEPT)
  emit(self, "stderr", bytes)
end

-- Life --------------------------------------------------------------------------------------------------------------

--- Ends the command for its owner.
---@param exit table kind and what is known
function Command:finish(exit)
  if self.over then return end
  self.over = true
  if self.timer then self.timer:close() end
  exit.timed_out, exit.killed = self.timed_out or false, self.killed or false
  exit.wall = self.started and (uv.hrtime() - self.started) / 1e9 or 0
  exit.user, exit.system, exit.leaks = 0, 0, {}
  if self.spec.on_exit then self.spec.on_exit(self, exit) end
  self.agent:_ended(self)
end

local function end_of(self, code, signal)
  local status = self.status
  if self.no_folder then
    return { kind = "failed", message = ("chdir %s: %s"):format(self.spec.cwd, shell.excerpt(self.err)) }
  elseif status and status > 128 and status <= 128 + 64 then
    return { kind = "signaled", signal = status - 128 }
  elseif status then
    return { kind = "exited", code = status }
  elseif self.killed or self.timed_out then
    return { kind = "signaled", signal = self.killed_with or 15 }
  end
  local message = shell.complaint("the provider's command", {
    code = code, signal = signal, stderr = self.err, stdout = self.noise .. self.held,
  }) or "the provider's command ended without running what it was given; it printed: " .. shell.excerpt(self.noise)
  return { kind = "lost", message = message .. (self.said_start and " (in the middle of it)" or "") }
end

local function on_exit(self, code, signal)
  if self.killer then self.killer:close() end
  if self.held ~= "" and not self.status and self.said_start then emit(self, "stdout", self.held) end
  local exit = end_of(self, code, signal)
  local agent = self.agent
  if exit.kind == "lost" and not self.over and not agent.place.stateless then agent:give_up(exit.message) end
  self:finish(exit)
  agent:_process(-1)
end

local function lacking(spec)
  for key, name in pairs(MISSING) do
    if spec[key] then return ("plain commands have no %s"):format(name) end
  end
end

--- For the agent: its turn has come.
function Command:launch()
  if self.over then return end
  local message = lacking(self.spec)
  local line = not message and self:line()
  if line and #line > LINE_LIMIT then message = ("a command line of %d bytes is too long"):format(#line) end
  if message then return self:finish({ kind = "failed", message = message }) end
  self.started = uv.hrtime()
  self.agent:_process(1)
  local ok, process = pcall(self.agent.place.start, line, {
    on_output = function(stream, bytes) on_output(self, stream, bytes) end,
    on_exit = function(code, signal) on_exit(self, code, signal) end,
  })
  if not ok then
    self.agent:_process(-1)
    return self:finish({ kind = "lost", message = tostring(process) })
  end
  self.process = process
  -- At once, not when the mark comes: some providers give the output at the end only, and clocks have to run.
  local s, us = uv.gettimeofday()
  if self.spec.on_start then self.spec.on_start(self, nil, s + us / 1e6) end
  local limit = math.min(self.spec.deadline or math.huge, self.agent.place.timeout or math.huge)
  if limit < math.huge and not self.over then
    self.timer = uv.new_timer()
    self.timer:start(math.ceil(limit * 1000), 0, function()
      self.timed_out = true
      self:stop(self.spec.grace or 0)
    end)
  end
end

--- Sends a signal to the command's processes in the sandbox.
function Command:kill_there(signal)
  local agent = self.agent
  if not self.pid or self.status then return end
  local argv = { "sh", "-c", KILL, "sh", tostring(signal), tostring(self.pid), "RUNNER_COMMAND=" .. self.tag }
  agent:_process(1)
  local ok = pcall(agent.place.start, shell.join(argv), {
    on_output = function() end,
    on_exit = function() agent:_process(-1) end,
  })
  if not ok then agent:_process(-1) end
end

function Command:stop(grace)
  self.killed_with = grace > 0 and 15 or 9
  if self.agent.place.stateless then return self.process:kill(math.ceil(grace * 1000)) end
  self.signal_wanted = self.killed_with
  self:kill_there(self.killed_with)
  if grace <= 0 then return end_call(self) end
  set_killer(self, math.ceil(grace * 1000), function()
    self.killed_with = 9
    self:kill_there(9)
    end_call(self)
  end)
end

--- TERM to its processes, as far as they can be found, KILL after the grace. Not started: it never will be.
---@param grace number? seconds, default 0: KILL at once
function Command:kill(grace)
  if self.over then return end
  if not self.process then return self:drop() end
  self.killed = true
  self:stop(grace or 0)
end

--- Takes it out of its lane, unless it has started: then it goes on.
function Command:drop()
  if self.process then return end
  self.launch = function() end
  defer(function() self:finish({ kind = "dropped" }) end)
end

--- Sends a signal to its processes.
---@param number integer
function Command:signal(number)
  if self.process and not self.agent.place.stateless then self:kill_there(number) end
end

function Command.write() end
function Command.close_input() end

--- For the agent: the link is gone.
function Command:abandon(message)
  local process = self.process
  self:finish({ kind = "lost", message = message })
  if process then process:kill(0) end
end

return M
