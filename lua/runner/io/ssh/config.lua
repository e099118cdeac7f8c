--- Where `ssh HOST` would go: the user's ssh_config, as `ssh -G` resolves it, under what the caller asked for.

local uv = require("luv")
local errors = require("runner.base.errors")
local process = require("runner.io.process")

local M = {}

local DEFAULT_TIMEOUT = 15

---@class runner.ssh.Target
---@field alias string as the caller named the host
---@field hostname string
---@field port integer
---@field user string
---@field where string "user@host:port", for messages
---@field identity_files string[]
---@field identities_only boolean
---@field agent string? the socket of the key agent
---@field certificate boolean the configuration names a certificate
---@field user_known_hosts string[]
---@field global_known_hosts string[]
---@field host_key_name string under which the key is looked up in known_hosts
---@field checking "strict"|"accept-new"|"off"
---@field family "any"|"inet"|"inet6"
---@field proxy_jump string?
---@field proxy_command string?
---@field connect_timeout number seconds

-- What `ssh -G` prints more than once, or with several values a line.
local lists = { identityfile = true, certificatefile = true }

local function parse(text)
  local found = {}
  for line in text:gmatch("[^\n]+") do
    local key, value = line:match("^(%S+) (.*)$")
    if key and lists[key] then
      found[key] = found[key] or {}
      table.insert(found[key], value)
    elseif key then
      found[key] = value
    end
  end
  return found
end

local function words(text)
  local list = {}
  for word in (text or ""):gmatch("%S+") do
    if word ~= "none" then list[#list + 1] = word end
  end
  return list
end

--- "~", %-tokens and ${VARIABLES}, as in ssh_config(5).
local function expand(path, target)
  local home = uv.os_homedir() or ""
  local tokens = {
    ["%"] = "%", d = home, h = target.hostname, i = tostring(uv.getuid()), k = target.host_key,
    n = target.alias, p = tostring(target.port), r = target.user, u = uv.os_get_passwd().username,
    l = uv.os_gethostname(), L = uv.os_gethostname():match("^[^.]*"),
  }
  path = path:gsub("^~/", function() return home .. "/" end)
  path = path:gsub("%%(.)", tokens)
  return (path:gsub("%${([%w_]+)}", os.getenv))
end

local function expand_all(paths, target)
  for i, path in ipairs(paths) do paths[i] = expand(path, target) end
  return paths
end

local function resolve(options)
  local argv = { "ssh", "-T", "-G" }
  local function add(flag, value)
    if value then table.move({ flag, tostring(value) }, 1, 2, #argv + 1, argv) end
  end
  add("-F", options.config_file)
  add("-p", options.port)
  if not options.host:find("@", 1, true) then add("-l", options.user) end -- ssh itself would prefer the flag
  add("--", options.host)
  local ok, result = pcall(process.run, argv)
  if not ok then
    if errors.is(result, "spawn") then return nil end -- no ssh here: the defaults must do
    error(result, 0)
  end
  if result.code ~= 0 then
    errors.raise("config", ("the ssh configuration of host %s cannot be read: %s"):format(
      options.host, result.stderr:gsub("%s+$", "")), { host = options.host })
  end
  return parse(result.stdout)
end

local checkings = { off = "off", ["false"] = "off", no = "off", ["accept-new"] = "accept-new" }

--- The socket that holds the user's keys, if any.
local function agent_socket(value, target)
  if value == "none" then return nil end
  if not value or value == "SSH_AUTH_SOCK" then return os.getenv("SSH_AUTH_SOCK") end
  if value:sub(1, 1) == "$" and value:sub(2, 2) ~= "{" then return os.getenv(value:sub(2)) end
  return expand(value, target)
end

local function none(value)
  return value ~= "none" and value or nil
end

--- Asks `ssh -G`, where there is an `ssh`.
---@param options runner.ssh.Options
---@return runner.ssh.Target
---@async
function M.resolve(options)
  local found = resolve(options) or {}
  local target = {
    alias = options.host,
    hostname = found.hostname or options.host,
    port = math.tointeger(tonumber(found.port)) or options.port or 22,
    user = found.user or options.user or uv.os_get_passwd().username,
    family = found.addressfamily or "any",
    identities_only = found.identitiesonly == "yes",
    proxy_jump = none(found.proxyjump),
    proxy_command = none(found.proxycommand),
    certificate = found.certificatefile ~= nil,
    connect_timeout = options.connect_timeout or tonumber(found.connecttimeout) or DEFAULT_TIMEOUT,
    checking = options.disable_host_key_check and "off" or checkings[found.stricthostkeychecking]
      or "strict",
  }
  local name = found.hostkeyalias or target.hostname:lower()
  target.host_key = name
  target.host_key_name = (target.port == 22 or found.hostkeyalias) and name
    or ("[%s]:%d"):format(name, target.port)
  target.where = ("%s@%s:%d"):format(target.user, target.hostname, target.port)
  target.agent = agent_socket(found.identityagent, target)
  target.identity_files = expand_all(
    found.identityfile or { "~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa" }, target)
  target.user_known_hosts = options.known_hosts and { options.known_hosts }
    or expand_all(words(found.userknownhostsfile or "~/.ssh/known_hosts"), target)
  target.global_known_hosts =
    expand_all(words(found.globalknownhostsfile or "/etc/ssh/ssh_known_hosts"), target)
  return target
end

M.expand = expand

return M
