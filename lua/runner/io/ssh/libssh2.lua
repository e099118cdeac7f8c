--- The usual transport: one libssh2 session, many channels.

local uv = require("luv")
local auth = require("runner.io.ssh.auth")
local channel = require("runner.io.ssh.channel")
local core = require("runner.core.ssh")
local errors = require("runner.base.errors")
local jump = require("runner.io.ssh.jump")
local known_hosts = require("runner.io.ssh.known_hosts")
local session_queue = require("runner.io.ssh.session_queue")
local task = require("runner.base.task")

local M = {}

local function fail(target, code, format, ...)
  errors.raise("transport", format:format(...), { host = target.where, user = target.user,
    code = code })
end

local families = { inet = "inet", inet6 = "inet6" }

--- The numeric addresses of the host.
local function addresses(target)
  local found, message = task.await(function(resume)
    local request = uv.getaddrinfo(target.hostname, nil, {
      socktype = "stream", family = families[target.family],
    }, function(err, list) resume(list, err) end)
    return function() request:cancel() end
  end)
  if not found or #found == 0 then
    fail(target, "ENOTFOUND", "host %s cannot be found: %s", target.hostname,
      message == "EAI_NONAME" and "there is no such name" or message or "it has no address")
  end
  return found
end

local mends = {
  ECONNREFUSED = "nothing listens there: is its sshd running, and is %d its port?",
  EHOSTUNREACH = "there is no way to it: is it up? (port %d)",
  ENETUNREACH = "there is no way to its network (port %d)",
  ETIMEDOUT = "it does not answer: is it up, and does a firewall let port %d through?",
}

--- A session over a connected socket: the first address that answers.
local function dial(target)
  local message, code
  for _, address in ipairs(addresses(target)) do
    local session
    session, message, code = core.connect(address.addr, target.port)
    if session then
      local connection = session_queue.new(session, target.where)
      local ok, connected
      ok, connected, message, code = pcall(connection.call, connection, function()
        return session:connected()
      end)
      if ok and connected then return connection end
      connection:close()
      if not ok then error(connected, 0) end
    end
  end
  local mend = mends[code]
  fail(target, code, "cannot connect to %s: %s", target.where,
    mend and mend:format(target.port) or message)
end

--- The same over the hosts of a ProxyJump.
local function dial_through(target, config_file)
  local hop = jump.start(target, config_file)
  local session, message, code = core.attach(hop.fd)
  if not session then
    hop.close()
    fail(target, code, "%s", message)
  end
  local connection = session_queue.new(session, target.where)
  connection.on_close = hop.close
  return connection, hop
end

--- Versions and keys, until both sides are sure of each other's secret.
local function shake_hands(connection, target, hop)
  local session = connection.session
  local ok, message, code = connection:call(function() return session:handshake() end)
  if ok then return end
  if code == "EKEX" or code == "EHOSTKEY" then
    fail(target, "EUNSUPPORTED", "libssh2 %s and %s agree on no way to talk (%s)%s", core.version,
      target.where,
      message:gsub("^the connection to %S+ was lost: ", ""),
      not core.rsa_sha2 and ": a host that has only an RSA key needs libssh2 1.11" or "")
  end
  if hop then
    hop.reap()
    local said = hop.said()
    fail(target, code, "cannot connect to %s through %s: %s", target.where, target.proxy_jump,
      said ~= "" and said or message)
  end
  if connection.received == 0 then
    fail(target, code, "%s hung up before a word: does it block this address, or have too many "
      .. "connections (MaxStartups of its sshd)?", target.where)
  end
  fail(target, code, "%s answers, but not as an SSH server does: %s", target.where, message)
end

---@class runner.ssh.Transport
---@field kind "libssh2"|"openssh"
---@field exec async fun(self, command: string): runner.ssh.Channel
---@field close fun(self)
local Transport = {}
Transport.__index = Transport

---@async
function Transport:exec(command)
  return channel.open(self.link, command)
end

--- Inside a task it waits until the process of a ProxyJump is gone, too.
function Transport:close()
  self.link:close()
  if self.hop and task.is_task() then self.hop.reap() end
end

--- What libssh2 cannot do raises code EUNSUPPORTED.
---@param target runner.ssh.Target
---@param options runner.ssh.Options
---@param key runner.ssh.KeyFile? the key the caller named
---@param log fun(level: string, format: string, ...)
---@return runner.ssh.Transport
---@async
function M.connect(target, options, key, log)
  local function unsupported(format, ...)
    fail(target, "EUNSUPPORTED", format, ...)
  end
  if target.proxy_command then unsupported("%s is reached by a ProxyCommand", target.where) end
  if target.certificate then unsupported("%s asks for a certificate, which libssh2 lacks",
    target.where) end
  if key then auth.check_supported(key, target) end

  local known, algorithms = {}, nil
  if target.checking ~= "off" then
    local files = table.move(target.global_known_hosts, 1, #target.global_known_hosts,
      #target.user_known_hosts + 1, { table.unpack(target.user_known_hosts) })
    known = known_hosts.lookup(files, target.host_key_name)
    local usable
    algorithms, usable = known_hosts.algorithms(known)
    if not usable then
      unsupported("%s is known by a key that libssh2 %s cannot check (%s, %s:%d)", target.where,
        core.version, known[1].type, known[1].file, known[1].line)
    end
  end

  local left = target.connect_timeout
  local function timely(fn)
    local start = uv.hrtime()
    local results = table.pack(task.deadline(left, fn))
    left = math.max(0, left - (uv.hrtime() - start) / 1e9)
    if not results[1] then
      fail(target, "ETIMEDOUT", "cannot connect to %s: it did not answer within %g s: is it up, "
        .. "and does a "
        .. "firewall let port %d through?", target.where, target.connect_timeout, target.port)
    end
    return table.unpack(results, 2, results.n)
  end

  local connection, hop
  local ok, err = pcall(function()
    timely(function()
      if target.proxy_jump then
        connection, hop = dial_through(target, options.config_file)
      else
        connection = dial(target)
      end
      local session = connection.session
      if algorithms then session:prefer_host_keys(algorithms) end
      shake_hands(connection, target, hop)
      if target.checking ~= "off" then
        local host_key = session:host_key()
        if not host_key then fail(target, "EHOSTKEY", "%s showed no host key", target.where) end
        known_hosts.check(target, known, host_key, log)
      end
    end)
    auth.log_in(connection, target, key, options.passphrase, timely)
  end)
  if not ok then
    if connection then connection:close() end
    if hop then hop.reap() end
    error(err, 0)
  end
  if options.keepalive then connection:keepalive(options.keepalive) end
  return setmetatable({ kind = "libssh2", link = connection, hop = hop }, Transport)
end

return M
