--- Runs tests on hosts that one can log in to with SSH: one sandbox a host, one connection to it, one agent on it.
---
---     provider = ssh { hosts = { "build1", "ci@10.0.0.7" }, working_dir = "/home/ci/project" }
---
--- The user's ssh_config holds. With `working_dir` the project is expected to be there already.

local command_line = require("providers.ssh.command_line")
local errors = require("runner.base.errors")
local paths = require("runner.base.path")
local plugin = require("runner.plugin")
local ssh = require("runner.io.ssh")
local task = require("runner.base.task")
local terminal = require("runner.base.terminal")

--- Log-ins at once: sshd, or the one of a jump host, turns away more than 10 that are not done (MaxStartups).
local LOGINS = 8
--- One that takes longer is most likely waiting for a host that is down, and holds up nobody.
local LOGIN_TURN_S = 1
local STDERR_TAIL = 2000 -- bytes, for the message when the agent does not start
local KEEPALIVE_S = 15

--- Failures that trying again does not mend.
local FINAL = {
  EHOSTKEYCHANGED = true, EHOSTKEYUNKNOWN = true, EHOSTKEYREVOKED = true, EAUTH = true, ENOKEYS = true,
  EKEYMISSING = true, EKEYPERM = true, EKEYFILE = true, EPASSPHRASE = true, EUNSUPPORTED = true,
}

-- What the sandboxes of one `ssh { … }` share.
local shared = setmetatable({}, { __mode = "k" })

local function shared_of(options)
  local state = shared[options]
  if not state then
    state = { logins = task.semaphore(LOGINS), passphrases = {}, asking = task.semaphore(1) }
    shared[options] = state
  end
  return state
end

--- Files of this machine: relative to the configuration.
local function local_file(path, dir)
  if not path or path:find("^[~%%$]") then return path end
  return paths.absolute(path, dir)
end

local function own_home(path)
  return path and (path:gsub("^~/", (os.getenv("HOME") or "~") .. "/"))
end

--- Asks once for each key, however many hosts want it.
local function passphrase_for(state)
  return function(path, try)
    local answer
    state.asking:with(function()
      if try == 1 then answer = state.passphrases[path] end
      if answer then return end
      local again = try > 1 and "That was not it. " or ""
      answer = terminal.secret(("%sPassphrase of %s: "):format(again, path))
      state.passphrases[path] = answer
    end)
    return answer
  end
end

local function log_for(options, ctx, host)
  return function(level, format, ...)
    -- That no key is checked is said once, for all of the hosts.
    if level == "warn" then level = options.disable_host_key_check and "debug" or "warning" end
    ctx.log(level, "%s: %s", host, format:format(...))
  end
end

--- Waits for its turn; a slow one gives its turn up.
local function in_turn(state, fn)
  return task.scope(function(scope)
    local begun, done = task.event(), task.event()
    scope:spawn(function()
      state.logins:with(function()
        begun:set(true)
        task.deadline(LOGIN_TURN_S, function() done:wait() end)
      end)
    end)
    begun:wait()
    local ok, result = pcall(fn)
    done:set(true)
    if not ok then error(result, 0) end
    return result
  end)
end

--- With the transport "openssh" the host is reached by the first command only, so each may fail as a log-in does.
local function reach(state, host, sandbox, fn)
  local ok, result = pcall(in_turn, state, fn)
  if ok then return result end
  if not errors.is(result, "transport") then error(result, 0) end
  local message = result.message
  local is_named = message:find(host, 1, true) or sandbox and sandbox.id:find(host, 1, true)
  if not is_named then message = host .. ": " .. message end
  return errors.raise("provider", message, {
    host = host, code = result.context.code, permanent = FINAL[result.context.code],
  })
end

--- The two-way stream of a channel. What the remote side writes to stderr is logged, line by line.
local function stream_of(channel, ctx, host)
  local stream, tail, rest = {}, "", ""

  function stream:start(on_bytes)
    channel.on_stderr = function(bytes)
      tail = (tail .. bytes):sub(-STDERR_TAIL)
      rest = rest .. bytes
      for line in rest:gmatch("([^\n]*)\n") do ctx.log("info", "%s: %s", host, line) end
      rest = rest:match("[^\n]*$")
      if self.on_stderr then self.on_stderr(bytes) end
    end
    channel:start(function(bytes, err)
      if bytes then
        tail = ""
      elseif not err and tail:find("%S") then
        err = tail:gsub("%s+$", "")
      end
      on_bytes(bytes, err)
    end)
  end

  function stream:write(bytes) return channel:write(bytes) end
  function stream:shutdown() channel:close_write() end
  function stream:close() channel:close() end

  return stream
end

local function check(hosts)
  local seen = {}
  if #hosts == 0 then errors.raise("config", "provider ssh: hosts: name at least one") end
  for _, host in ipairs(hosts) do
    if seen[host] then
      errors.raise("config", ("provider ssh: hosts: %s is listed twice; `slots` says how many tests run at once on one")
        :format(host))
    end
    seen[host] = true
  end
end

return plugin.provider({
  name = "ssh",
  api = 1,
  options = {
    hosts = "string[]", -- names of ssh_config or addresses, also user@host and host:port
    user = "string?",
    key_path = "path?", -- the one key to use; default: the key agent's and those of ssh_config
    port = "positive?",
    working_dir = "path?", -- where the project is on the hosts; default: it is brought along
    slots = 'positive|"cpus"?', -- tests at once on one host; default: its cores
    disable_host_key_check = "boolean?",
    known_hosts = "path?", -- instead of the user's
    config_file = "path?", -- instead of ~/.ssh/config
    transport = '"auto"|"libssh2"|"openssh"?',
    keepalive = "duration?", -- default 15 s; a link silent for three times as long is dead
    connect_timeout = "duration?", -- default: that of ssh_config, or 15 s
    env = "env?",
    shell = "string?", -- for commands given as one string; default /bin/sh
  },

  sandboxes = function(options)
    check(options.hosts)
    local list = {}
    for i, host in ipairs(options.hosts) do list[i] = { name = host, slots = options.slots } end
    return list
  end,

  open = function(options, ctx)
    local host, state = ctx.target.name, shared_of(options)
    if options.disable_host_key_check and not state.warned then
      state.warned = true
      ctx.log("warning", "ssh: the keys of the hosts are not checked (disable_host_key_check = true)")
    end
    local name, port = host:match("^([^:]+):(%d+)$") -- IPv6 addresses have more colons
    local target = {
      host = name or host, user = options.user, port = tonumber(port) or options.port, transport = options.transport,
      key_path = local_file(options.key_path, ctx.dir),
      known_hosts = own_home(local_file(options.known_hosts, ctx.dir)),
      config_file = own_home(local_file(options.config_file, ctx.dir)),
      disable_host_key_check = options.disable_host_key_check, connect_timeout = options.connect_timeout,
      keepalive = options.keepalive or KEEPALIVE_S,
      passphrase = passphrase_for(state), log = log_for(options, ctx, host),
    }
    local connection = reach(state, host, ctx.sandbox, function() return ssh.connect(target) end)
    local dir = options.working_dir
    return {
      cwd = dir and ".", -- the agent starts there
      sees_project = dir ~= nil,
      env = options.env,
      shell = options.shell,
      slots = options.slots or "cpus",
      describe = connection.where,
      shell_command = command_line.shell(target, dir),
      connect = function(argv)
        local line = command_line.exec(argv, dir)
        local channel = reach(state, host, ctx.sandbox, function() return connection:exec(line) end)
        return stream_of(channel, ctx, host)
      end,
      exec = function(argv, stdin)
        return connection:run(command_line.exec(argv, dir), stdin)
      end,
      close = function() connection:close() end,
    }
  end,
})
