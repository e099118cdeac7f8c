--- The other transport, for what libssh2 cannot do (RSA keys before 1.11, certificates, hardware keys, GSSAPI,
--- ProxyCommand): one `ssh` process a command, without ControlMaster. There is no connection until the first `exec`.

local uv = require("luv")
local errors = require("runner.base.errors")
local process_channel = require("runner.io.ssh.process_channel")
local task = require("runner.base.task")

local M = {}

-- Printed by a small program that ssh runs: the environment is the one place that is neither argv nor a file.
local ASKPASS = '#!/bin/sh\nprintf "%s\\n" "$RUNNER_SSH_PASSPHRASE"\n'

local Transport = { kind = "openssh" }
Transport.__index = Transport

--- The environment of an ssh that must give a passphrase, and the folder that this takes.
local function askpass(passphrase)
  local folder = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/runner-ssh-XXXXXX"))
  local path = folder .. "/askpass"
  local fd = assert(uv.fs_open(path, "wx", 448)) -- 0700
  uv.fs_write(fd, ASKPASS, -1)
  uv.fs_close(fd)
  local list = { "SSH_ASKPASS=" .. path, "SSH_ASKPASS_REQUIRE=force", "RUNNER_SSH_PASSPHRASE="
    .. passphrase }
  for name, value in pairs(uv.os_environ()) do
    if not name:find("^SSH_ASKPASS") then list[#list + 1] = name .. "=" .. value end
  end
  return list, folder
end

local function quoted(path)
  return '"' .. path:gsub('["\\]', "\\%0") .. '"'
end

--- ssh's arguments up to the command.
local function arguments(target, options, key, asks)
  local argv = { "ssh", "-T" }
  local function option(name, value)
    table.move({ "-o", name .. "=" .. value }, 1, 2, #argv + 1, argv)
  end
  local function flag(name, value)
    if value then table.move({ name, tostring(value) }, 1, 2, #argv + 1, argv) end
  end
  flag("-F", options.config_file)
  flag("-p", options.port)
  flag("-l", options.user)
  option("BatchMode", asks and "no" or "yes")
  option("PasswordAuthentication", "no")
  option("KbdInteractiveAuthentication", "no")
  option("LogLevel", "DEBUG1") -- see log_line
  for _, name in ipairs { "ControlMaster", "PermitLocalCommand", "ForkAfterAuthentication",
    "ForwardX11" } do
    option(name, "no")
  end
  for _, name in ipairs { "ControlPath", "RemoteCommand" } do option(name, "none") end
  option("ClearAllForwardings", "yes") -- a LocalForward of the user's would fail the second time
  option("ConnectTimeout", math.ceil(target.connect_timeout))
  if options.keepalive then
    option("ServerAliveInterval", math.max(1, math.floor(options.keepalive)))
    option("ServerAliveCountMax", 3)
  end
  if target.checking == "off" then
    option("StrictHostKeyChecking", "no")
    option("UserKnownHostsFile", "/dev/null")
    option("GlobalKnownHostsFile", "/dev/null")
  else
    option("StrictHostKeyChecking", target.checking == "strict" and "yes" or "accept-new")
    if options.known_hosts then option("UserKnownHostsFile", quoted(options.known_hosts)) end
  end
  if key then
    option("IdentityFile", quoted(key.path))
    option("IdentitiesOnly", "yes")
  end
  flag("--", target.alias)
  return argv
end

---@async
function Transport:exec(command)
  if self.closed then
    errors.raise("transport", ("the connection to %s was closed"):format(self.target.where),
      { host = self.target.where, code = "ECANCELED" })
  end
  local argv = arguments(self.target, self.options, self.key, self.environment ~= nil)
  argv[#argv + 1] = command
  local channel = process_channel.open(argv, self.environment, self.target, self.key
    and self.key.path)
  for i = #self.channels, 1, -1 do
    if self.channels[i].settled then table.remove(self.channels, i) end
  end
  self.channels[#self.channels + 1] = channel
  return channel
end

--- Ends every ssh; inside a task it waits until they are gone.
function Transport:close()
  if self.closed then return end
  self.closed = true
  if self.folder then
    uv.fs_unlink(self.folder .. "/askpass")
    uv.fs_rmdir(self.folder)
  end
  for _, channel in ipairs(self.channels) do
    local on_bytes, was_closed, settled = channel.on_bytes, channel.closed, channel.settled
    channel:close()
    if on_bytes and not was_closed and not settled then
      on_bytes(nil, ("the connection to %s was closed"):format(self.target.where))
    end
  end
  if not task.is_task() then return end
  for _, channel in ipairs(self.channels) do channel:reap() end
end

---@param target runner.ssh.Target
---@param options runner.ssh.Options
---@param key runner.ssh.KeyFile? the key the caller named
---@param passphrase string? of that key
---@return runner.ssh.Transport
function M.connect(target, options, key, passphrase)
  local self = setmetatable({ target = target, options = options, key = key, channels = {} },
    Transport)
  if passphrase then self.environment, self.folder = askpass(passphrase) end
  return self
end

return M
