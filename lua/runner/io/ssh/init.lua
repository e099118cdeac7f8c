--- SSH: one connection to a host, many commands over it.
---
---   local connection = ssh.connect { host = "build1", user = "ci" }
---   local result = connection:run("uname -a")
---   local channel = connection:exec("cat")        -- a two-way byte stream: start, write, close
---   connection:close()
---
--- The user's ssh_config holds, as for `ssh`. libssh2 carries the connection; what it cannot do goes by the `ssh`
--- program ("openssh"), chosen by itself and said once. Errors are of kind transport; `context.code` tells them apart:
--- ENOTFOUND ECONNREFUSED EHOSTUNREACH ETIMEDOUT (the host), EHOSTKEYCHANGED EHOSTKEYUNKNOWN EHOSTKEYREVOKED (its key),
--- EAUTH ENOKEYS EKEYMISSING EKEYPERM EKEYFILE EPASSPHRASE (ours), ESESSIONS (too many channels on one connection),
--- EDENIED, ECONNRESET (lost), ECANCELED (closed by us), EUNSUPPORTED (by the transport that was asked for).

local config = require("runner.io.ssh.config")
local errors = require("runner.base.errors")
local task = require("runner.base.task")

local M = {}

---@class runner.ssh.Options
---@field host string a name of ssh_config, or an address
---@field user string?
---@field port integer?
---@field key_path string? the one key to use
---@field passphrase (fun(path: string, try: integer): string?)? asked for an encrypted key; may await; nil: gives up
---@field known_hosts string? this file instead of the user's
---@field disable_host_key_check boolean?
---@field config_file string? instead of ~/.ssh/config
---@field transport "auto"|"libssh2"|"openssh"|nil
---@field keepalive number? seconds; a link silent for three times as long is dead
---@field connect_timeout number? seconds, default that of ssh_config, or 15
---@field log fun(level: string, format: string, ...)?

---@class runner.ssh.Connection
---@field transport "libssh2"|"openssh" which one it is
---@field where string "user@host:port"
---@field package carrier runner.ssh.Transport
local Connection = {}
Connection.__index = Connection
Connection.__name = "runner.ssh.connection"

--- Runs a command in the user's login shell; returns once it was started. Raises, also with code ESESSIONS: the host
--- allows no more channels on this connection, open another one.
---@param command string
---@return runner.ssh.Channel
---@async
function Connection:exec(command)
  return self.carrier:exec(command)
end

---@class runner.ssh.Result
---@field code integer? nil when a signal ended it
---@field signal string? "KILL"
---@field stdout string
---@field stderr string

--- Runs a command to its end, with all of its output in memory.
---@param command string
---@param stdin string?
---@return runner.ssh.Result
---@async
function Connection:run(command, stdin)
  local channel = self:exec(command)
  local out, err = {}, {}
  channel.on_stderr = function(bytes) err[#err + 1] = bytes end
  channel:start(function(bytes) out[#out + 1] = bytes end)
  if stdin then channel:write(stdin) end
  channel:close_write()
  local ok, code, signal = pcall(channel.exit_status, channel)
  if not ok then
    channel:close()
    error(code, 0)
  end
  return { code = code, signal = signal, stdout = table.concat(out), stderr = table.concat(err) }
end

--- Ends the connection and every channel of it.
function Connection:close()
  self.carrier:close()
end

Connection.__close = Connection.close

local told = {} -- why a host goes by openssh: said once a process

local function by_openssh(target, options, key, log)
  local auth, openssh = require("runner.io.ssh.auth"), require("runner.io.ssh.openssh")
  local passphrase = key and key.encrypted and options.passphrase
    and auth.passphrase(key, target, options.passphrase, 1)
  if key and key.encrypted and not passphrase and not target.agent then
    auth.passphrase(key, target, nil, 1)
  end
  log("debug", "%s is reached by the ssh program", target.where)
  return openssh.connect(target, options, key, passphrase or nil)
end

local function no_log() end

--- `ssh -G` takes a few ms, in which what comes next is loaded.
local function resolve(options)
  return task.scope(function(scope)
    scope:spawn(function() require("runner.io.ssh.libssh2") end)
    return config.resolve(options)
  end)
end

--- Connects and logs in. With the transport "openssh" the host is contacted by the first `exec`.
---@param options runner.ssh.Options
---@return runner.ssh.Connection
---@async
function M.connect(options)
  local log = options.log or no_log
  local wanted = options.transport or "auto"
  if type(options.host) ~= "string" or options.host == "" or options.host:find("^%-")
    or options.host:find("[%s%c]") then
    errors.raise("config", ("%q is not the name of a host"):format(tostring(options.host)))
  end
  local target = resolve(options)
  local auth, libssh2 = require("runner.io.ssh.auth"), require("runner.io.ssh.libssh2")
  local key = options.key_path and auth.explicit(config.expand(options.key_path, target), target)
  if target.checking == "off" then
    log("warn", "the host key of %s is not checked", target.where)
  end

  local carrier
  if wanted ~= "openssh" then
    local ok, result = pcall(libssh2.connect, target, options, key, log)
    if ok then
      carrier = result
    elseif not errors.is(result, "transport") or result.context.code ~= "EUNSUPPORTED" then
      error(result, 0)
    elseif wanted == "libssh2" then
      errors.raise("transport", result.message .. '; transport = "auto" or "openssh" uses the '
        .. 'ssh program instead',
        { host = target.where, code = "EUNSUPPORTED" })
    elseif not told[result.message] then
      told[result.message] = true
      log("info", "%s: using the ssh program instead", result.message)
    end
  end
  carrier = carrier or by_openssh(target, options, key, log)
  return setmetatable({ carrier = carrier, transport = carrier.kind, where = target.where },
    Connection)
end

return M
