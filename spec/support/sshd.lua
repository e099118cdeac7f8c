--- A real sshd on a loopback port, with throw-away keys, for the current user: `sshd.with(options, fn)` inside a task.
--- Keys and files live in one temporary folder, which `sshd.clean()` removes.

local uv = require("luv")
local process = require("runner.io.process")
local project = require("spec.support.project")
local task = require("runner.base.task")

local M = { read = project.read }

local SSHD = "/usr/sbin/sshd"
local root -- the temporary folder

---@return boolean
function M.available()
  if not uv.fs_stat(SSHD) then return false end
  if uv.getuid() == 0 then uv.fs_mkdir("/run/sshd", 493) end -- its privilege separation asks for it
  return true
end

local function write(path, text, mode)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  assert(uv.fs_chmod(path, mode or 384))
  return path
end

M.write = write

local function folder()
  if not root then root = assert(uv.fs_mkdtemp("/tmp/runner-sshd-XXXXXX")) end
  return root
end

--- A fresh path in the temporary folder.
local serial = 0
function M.path(name)
  serial = serial + 1
  return ("%s/%d-%s"):format(folder(), serial, name)
end

--- Makes a key pair, once for each name. → the path of the private key
---@param kind string "ed25519"
---@param name string
---@param passphrase string?
---@async
function M.key(kind, name, passphrase)
  local path = ("%s/%s_%s"):format(folder(), name, kind)
  if not uv.fs_stat(path) then
    local argv = { "ssh-keygen", "-q", "-t", kind, "-N", passphrase or "", "-C", name, "-f", path }
    if kind == "rsa" then table.move({ "-b", "2048" }, 1, 2, #argv + 1, argv) end
    assert(process.run(argv).code == 0, "ssh-keygen failed")
  end
  return path
end

--- "type base64" of a key pair.
function M.public(path)
  return (M.read(path .. ".pub"):match("^%S+ %S+"))
end

local function free_port()
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", 0))
  local port = tcp:getsockname().port
  tcp:close()
  return port
end

M.free_port = free_port

---@class spec.Sshd
---@field address string
---@field port integer
---@field key_path string of the user
---@field known_hosts string
---@field host_key string
---@field log string what sshd said
local Server = {}
Server.__index = Server

--- Options for ssh.connect, the given ones on top.
function Server:options(changes)
  local options = {
    host = self.address, port = self.port, key_path = self.key_path, known_hosts = self.known_hosts,
    config_file = self.config_file, connect_timeout = 20,
  }
  for key, value in pairs(changes or {}) do options[key] = value or nil end
  return options
end

--- Pids of the processes that serve connections.
function Server:connections()
  local parents, found = {}, {}
  for name in uv.fs_scandir_next, assert(uv.fs_scandir("/proc")) do
    local stat = name:find("^%d+$") and io.open("/proc/" .. name .. "/stat")
    if stat then
      local line = stat:read("a") or ""
      stat:close()
      parents[math.tointeger(tonumber(name))] = math.tointeger(tonumber(line:match("%) %S (%d+)")))
    end
  end
  for pid, parent in pairs(parents) do
    if parent == self.pid then
      found[#found + 1] = pid
      for child, of in pairs(parents) do
        local file = of == pid and io.open("/proc/" .. child .. "/comm")
        if file then
          if (file:read("a") or ""):find("^sshd") then found[#found + 1] = child end
          file:close()
        end
      end
    end
  end
  return found
end

--- Sends a signal to every process that serves a connection.
function Server:signal(name)
  for _, pid in ipairs(self:connections()) do uv.kill(pid, name) end
end

--- Waits until sshd has logged something that matches.
---@async
function Server:wait_log(pattern)
  while not self.log:find(pattern) do task.sleep(0.005) end
end

--- Starts sshd, calls `fn(server)`, stops sshd.
--- `netns`: the network namespace that it lives in, where it has `address`.
---@param options { config: string?, host_keys: string[]?, keys: string[]?, port: integer?, home: string?,
---  address: string?, netns: string? }
---@param fn async fun(server: spec.Sshd)
---@async
function M.with(options, fn)
  local server = setmetatable({
    address = options.address or "127.0.0.1", port = options.port or free_port(), log = "",
  }, Server)
  server.key_path = M.key("ed25519", "user")
  local host_keys = {}
  for i, kind in ipairs(options.host_keys or { "ed25519" }) do host_keys[i] = M.key(kind,
    "host") end
  server.host_key = host_keys[1]
  server.config_file = write(M.path("config"), "IdentitiesOnly yes\nIdentityAgent none\n")
  server.known_hosts = write(M.path("known_hosts"),
    ("[%s]:%d %s\n"):format(server.address, server.port, M.public(server.host_key)))
  -- The user's own start-up files stay out of the specs.
  local home = options.home or M.path("home")
  uv.fs_mkdir(home, 448)
  server.home = home
  local authorized = {}
  for i, path in ipairs(options.keys or { server.key_path }) do
    authorized[i] = ('environment="HOME=%s" %s\n'):format(home, M.public(path))
  end
  local config = {
    options.config or "", -- what is said first holds
    ("Port %d"):format(server.port), "ListenAddress " .. server.address, "UsePAM no", "StrictModes no",
    "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes",
      "LogLevel VERBOSE",
    "PidFile none", "PermitUserEnvironment yes", "AuthorizedKeysFile "
      .. write(M.path("authorized_keys"),
      table.concat(authorized), 420),
  }
  for _, path in ipairs(host_keys) do config[#config + 1] = "HostKey " .. path end

  local stderr = uv.new_pipe(false)
  local gone = task.event()
  local handle, pid
  local argv = { SSHD, "-D", "-e", "-f", write(M.path("sshd_config"), table.concat(config, "\n") .. "\n") }
  if options.netns then argv = { "ip", "netns", "exec", options.netns, table.unpack(argv) } end
  handle, pid = uv.spawn(argv[1], {
    args = { table.unpack(argv, 2) },
    stdio = { nil, nil, stderr },
  }, function()
    handle:close()
    gone:set(true)
  end)
  assert(handle, pid)
  server.pid = pid
  stderr:read_start(function(_, bytes)
    if bytes then
      server.log = server.log .. bytes
    elseif not stderr:is_closing() then
      stderr:close()
    end
  end)
  local ok, err = pcall(function()
    while not server.log:find("Server listening") do
      assert(not gone:is_set(), "sshd did not start: " .. server.log)
      task.sleep(0.005)
    end
    fn(server)
  end)
  task.shield(function()
    if not gone:is_set() then
      server:signal("sigcont")
      server:signal("sigkill")
      handle:kill("sigterm")
      gone:wait()
    end
  end)
  if not stderr:is_closing() then stderr:close() end
  if not ok then error(err, 0) end
end

--- Removes every file.
function M.clean()
  if root then os.execute("rm -rf " .. root) end
  root = nil
end

return M
