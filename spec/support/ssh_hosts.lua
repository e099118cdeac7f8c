--- Several hosts to log in to, under the names h1, h2, … of one ssh_config: an sshd each, on loopback or in a network
--- namespace of its own, where it can be cut off.

local uv = require("luv")
local process = require("runner.io.process")
local sshd = require("spec.support.sshd")

local M = {}

---@class spec.SshHosts
---@field servers spec.Sshd[]
---@field names string[]
---@field config_file string
---@field known_hosts string
---@field key_path string
local Hosts = {}
Hosts.__index = Hosts

--- The provider for these hosts, as Lua source, working in the home folder; `more` is added to its options or
--- replaces them.
---@param more table<string, string>? option → Lua source; "nil" leaves an option out
---@return string
function Hosts:provider(more)
  local names = {}
  for i, name in ipairs(self.names) do names[i] = ("%q"):format(name) end
  local options = {
    hosts = "{ " .. table.concat(names, ", ") .. " }", config_file = ("%q"):format(self.config_file),
    known_hosts = ("%q"):format(self.known_hosts), key_path = ("%q"):format(self.key_path),
    connect_timeout = "10", working_dir = '"~"',
  }
  for key, value in pairs(more or {}) do options[key] = value end
  local parts = {}
  for key, value in pairs(options) do parts[#parts + 1] = key .. " = " .. value end
  return 'require("providers.ssh") { ' .. table.concat(parts, ", ") .. " }"
end

local function describe(self)
  local config, known = {}, {}
  for i, server in ipairs(self.servers) do
    config[i] = ("Host h%d\n  HostName %s\n  Port %d\n"):format(i, server.address, server.port)
    known[i] = sshd.read(server.known_hosts)
  end
  config[#config + 1] = "Host *\n  IdentitiesOnly yes\n  IdentityAgent none\n"
  self.config_file = sshd.write(sshd.path("config"), table.concat(config))
  self.known_hosts = sshd.write(sshd.path("known_hosts"), table.concat(known))
  self.key_path = self.servers[1].key_path
end

--- Starts the hosts, calls `fn(hosts)`, stops them.
---@param each table[] options of sshd.with, one a host
---@param fn async fun(hosts: spec.SshHosts)
---@async
function M.with(each, fn)
  local self = setmetatable({ servers = {}, names = {} }, Hosts)
  local function start(i)
    if i > #each then
      describe(self)
      return fn(self)
    end
    sshd.with(each[i], function(server)
      self.servers[i], self.names[i] = server, "h" .. i
      start(i + 1)
    end)
  end
  start(1)
end

--- Options for `n` alike.
function M.alike(n, options)
  local each = {}
  for i = 1, n do each[i] = options or {} end
  return each
end

local function ip(...)
  local result = process.run({ "ip", ... })
  assert(result.code == 0, result.stderr)
end

--- May this process make network namespaces?
---@return boolean
---@async
function M.can_isolate()
  local name = ("runner-spec-%d"):format(uv.os_getpid())
  local ok, result = pcall(process.run, { "ip", "netns", "add", name })
  if not ok or result.code ~= 0 then return false end
  ip("netns", "del", name)
  return true
end

--- As `with`, each host in a namespace with an address of its own; `hosts:cut(i)` takes its cable out.
---@param n integer
---@param fn async fun(hosts: spec.SshHosts)
---@async
function M.with_isolated(n, fn)
  local pid = uv.os_getpid()
  local each, names = {}, {}
  local ok, err = pcall(function()
    for i = 1, n do
      local name, link = ("runner-spec-%d-%d"):format(pid, i), ("rs%d-%d"):format(pid % 100000, i)
      local subnet = ("10.%d.%d"):format(128 + pid % 100, i)
      ip("netns", "add", name)
      names[i] = name
      ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
      ip("addr", "add", subnet .. ".1/24", "dev", link)
      ip("link", "set", link, "up")
      ip("-n", name, "addr", "add", subnet .. ".2/24", "dev", "eth0")
      ip("-n", name, "link", "set", "eth0", "up")
      each[i] = { netns = name, address = subnet .. ".2", link = link }
    end
    M.with(each, function(hosts)
      function hosts.cut(_, i) ip("link", "set", each[i].link, "down") end
      fn(hosts)
    end)
  end)
  for _, name in ipairs(names) do pcall(ip, "netns", "del", name) end
  if not ok then error(err, 0) end
end

return M
