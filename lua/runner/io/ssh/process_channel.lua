--- One `ssh` process that runs one command: the byte stream of runner.ssh.Channel over its pipes.
---
--- What ssh has to say goes to a pipe of its own (-E), so that stderr is the command's alone, and "Authenticated to"
--- there is the moment at which the command starts.

local uv = require("luv")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local task = require("runner.base.task")

local M = {}

local HIGH_WATER = 1024 * 1024
local TAIL = 4096
local GRACE_MS = 2000 -- for ssh to end by itself when told to
local LINGER_MS = 500 -- for pipes that somebody else still holds after its end

local function close(handle)
  if handle and not handle:is_closing() then handle:close() end
end

---@class runner.ssh.ProcessChannel the same interface as runner.ssh.Channel
local Channel = {}
Channel.__index = Channel
Channel.__name = "runner.io.ssh.process_channel"

-- What ssh writes, what it means, and how to mend it. The first that is found wins.
local meanings = {
  { "REMOTE HOST IDENTIFICATION HAS CHANGED", "EHOSTKEYCHANGED" },
  { "REVOKED HOST KEY", "EHOSTKEYREVOKED" },
  { "host key is known for", "EHOSTKEYUNKNOWN" },
  { "Host key verification failed", "EHOSTKEYUNKNOWN" },
  { "UNPROTECTED PRIVATE KEY FILE", "EKEYPERM" },
  { "Connection refused", "ECONNREFUSED" },
  { "Could not resolve hostname", "ENOTFOUND" },
  { "No route to host", "EHOSTUNREACH" },
  { "Network is unreachable", "ENETUNREACH" },
  { "Permission denied", "EAUTH" },
  { "Too many authentication failures", "EAUTH" },
  { "timed out", "ETIMEDOUT" },
  { "not responding", "ETIMEDOUT" },
}

local hints = {
  EAUTH = "is the user right, and the key in its ~/.ssh/authorized_keys there?",
  EHOSTKEYUNKNOWN = "add its key to known_hosts: ssh-keyscan -p %d %s",
  ECONNREFUSED = "is its sshd running, and is this its port?",
  ETIMEDOUT = "is it up, and does a firewall let port %d through?",
}

local function explain(self)
  local target, said = self.target, self.said
  local code = "ECONNRESET"
  for _, meaning in ipairs(meanings) do
    if said:find(meaning[1], 1, true) then
      code = meaning[2]
      break
    end
  end
  local lines = {}
  for line in said:gmatch("[^\r\n]+") do
    if not line:find("^@") then lines[#lines + 1] = line end -- the frame that ssh draws around warnings
  end
  local hint = hints[code] and "; " .. hints[code]:format(target.port, target.hostname) or ""
  local message
  if self.authenticated then
    message = ("the connection to %s was lost: %s"):format(target.where,
      #lines > 0 and table.concat(lines, " ") or "the host closed it or the network broke")
  else
    message = ("cannot log in to %s with %s: ssh says: %s%s"):format(target.where,
      self.key_path and "key " .. self.key_path or "the keys of ssh_config and the key agent",
      #lines > 0 and table.concat(lines, " ") or "nothing", hint)
  end
  return errors.new("transport", message, {
    host = target.where, user = target.user, code = code, key = self.key_path,
  })
end

--- Everything is in: the process has ended and its pipes are empty.
local function settle(self)
  if self.settled then return end
  self.settled = true
  close(self.linger)
  for _, pipe in pairs(self.pipes) do close(pipe) end
  if not self.authenticated or self.process_code == 255 and not self.reported then
    self.error = explain(self)
  end
  if self.process_signal ~= 0 and not self.closed then
    self.error = errors.new("transport", ("the ssh process of %s %s"):format(self.target.where,
      exit_text.verb({ signal = self.process_signal })), { host = self.target.where, code = "ECONNRESET" })
  end
  self.room:set(true)
  self.ready:set(true)
  self.exit:set(true)
  if self.on_bytes and not self.closed then self.on_bytes(nil, self.error
    and self.error.message) end
end

local function piece_ended(self)
  self.open = self.open - 1
  if self.open == 0 then settle(self) end
end

local function read(self, pipe, on_bytes)
  pipe:read_start(function(_, bytes)
    if bytes then return on_bytes(bytes) end
    close(pipe)
    piece_ended(self)
  end)
end

-- An exit code of 255 may be the command's or ssh's own: only the log tells whether the host sent one.
local function log_line(self, line)
  if line:find("^debug") then
    local report = line:match("rtype (exit%-%l+)")
    self.reported = self.reported or report
  elseif line:find("^Authenticated to") then
    self.authenticated = true
    self.ready:set(true)
  elseif not line:find("^Transferred:") and not line:find("^Bytes per second:") then
    self.said = (self.said .. line .. "\n"):sub(-TAIL)
  end
end

local function read_log(self)
  local rest = ""
  read(self, self.pipes.log, function(bytes)
    close(self.log_writer) -- ssh has its own by now
    rest = rest .. bytes
    for line in rest:gmatch("([^\n]*)\n") do log_line(self, line) end
    rest = rest:match("[^\n]*$")
  end)
end

local function on_exit(self, code, signal)
  close(self.process)
  close(self.log_writer)
  self.process_code, self.process_signal = code, signal
  self.gone:set(true)
  if not self.on_bytes then self:start(function() end) end
  self.linger = uv.new_timer()
  self.linger:start(LINGER_MS, 0, function() settle(self) end)
  piece_ended(self)
end

--- Starts ssh; returns once the host has let us in.
---@param argv string[]
---@param environment string[]?
---@param target runner.ssh.Target
---@param key_path string?
---@return runner.ssh.ProcessChannel
---@async
function M.open(argv, environment, target, key_path)
  local self = setmetatable({
    target = target, key_path = key_path, stderr_tail = "", said = "", pending = 0, open = 4,
    ready = task.event(), exit = task.event(), gone = task.event(), room = task.event(),
    pipes = { stdin = uv.new_pipe(false), stdout = uv.new_pipe(false), stderr = uv.new_pipe(false),
      log = uv.new_pipe(false) },
  }, Channel)
  -- A pipe cannot be handed to ssh by number (it closes what it inherits), but under its name in /proc it can be
  -- opened.
  local ends = assert(uv.pipe({ nonblock = true }, { nonblock = true }))
  self.pipes.log:open(ends.read)
  self.log_writer = uv.new_pipe(false)
  self.log_writer:open(ends.write)
  table.insert(argv, 2, "-E")
  table.insert(argv, 3, ("/proc/%d/fd/%d"):format(uv.os_getpid(), ends.write))
  local pid
  self.process, pid = uv.spawn(argv[1], {
    args = table.move(argv, 2, #argv, 1, {}), env = environment, detached = true,
    stdio = { self.pipes.stdin, self.pipes.stdout, self.pipes.stderr },
  }, function(code, signal) on_exit(self, code, signal) end)
  if not self.process then
    for _, pipe in pairs(self.pipes) do close(pipe) end
    close(self.log_writer)
    errors.raise("transport", ("cannot start ssh for %s: %s; install OpenSSH's "
      .. "client"):format(target.where,
      pid), { host = target.where, code = "ENOENT" })
  end
  read_log(self)
  local ok, err = pcall(self.ready.wait, self.ready)
  if ok and self.authenticated then return self end
  self:close()
  self:reap()
  error(ok and (self.error or explain(self)) or err, 0)
end

--- As runner.ssh.Channel's.
function Channel:start(on_bytes)
  self.on_bytes = on_bytes
  if self.settled then
    on_bytes(nil, self.error and self.error.message)
    return
  end
  read(self, self.pipes.stdout, function(bytes)
    if not self.closed then on_bytes(bytes) end
  end)
  read(self, self.pipes.stderr, function(bytes)
    if self.on_stderr and not self.closed then
      self.on_stderr(bytes)
    else
      self.stderr_tail = (self.stderr_tail .. bytes):sub(-TAIL)
    end
  end)
end

function Channel:write(bytes)
  local stdin = self.pipes.stdin
  if self.write_ended or stdin:is_closing() or bytes == "" then return true end
  self.pending = self.pending + #bytes
  stdin:write(bytes, function()
    self.pending = self.pending - #bytes
    if self.pending >= HIGH_WATER then return end
    local room = self.room
    self.room = task.event()
    room:set(true)
  end)
  return self.pending < HIGH_WATER
end

---@async
function Channel:drain()
  while self.pending >= HIGH_WATER and not self.closed and not self.settled do self.room:wait() end
end

function Channel:close_write()
  if self.write_ended or self.pipes.stdin:is_closing() then return end
  self.write_ended = true
  self.pipes.stdin:shutdown(function() close(self.pipes.stdin) end)
end

function Channel:close()
  if self.closed then return end
  self.closed = true
  close(self.pipes.stdin)
  if not self.process:is_closing() then self.process:kill("sigterm") end
  self.room:set(true)
end

--- Waits until the process is gone; kills it when it does not go.
---@async
function Channel:reap()
  task.shield(function()
    if not task.deadline(GRACE_MS / 1000, function() self.gone:wait() end) then
      if not self.process:is_closing() then self.process:kill("sigkill") end
      self.gone:wait()
    end
    self.exit:wait()
  end)
end

---@async
function Channel:exit_status()
  if not self.on_bytes then self:start(function() end) end
  self.exit:wait()
  if self.error then error(self.error, 0) end
  if self.closed then
    errors.raise("transport", "the channel was closed", { host = self.target.where,
      code = "ECANCELED" })
  end
  if self.reported == "exit-signal" then return nil, "unknown" end
  return self.process_code
end

return M
