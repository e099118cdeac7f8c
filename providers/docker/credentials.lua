--- Who somebody is to a registry, as `docker login` and `podman login` have noted it: in a file, or in a keychain that
--- a helper program asks. The daemon pulls on our behalf, so it is told; nobody else is, and nothing is logged.

local base64 = require("runner.base.base64")
local cjson = require("cjson.safe")
local file = require("runner.base.files")
local shell = require("runner.io.shell")
local task = require("runner.base.task")

local M = {}

local HELPER_TIMEOUT_S = 30 -- a keychain may ask a person
local HUB, HUB_SERVER = "docker.io", "https://index.docker.io/v1/"
local HUB_NAMES = { ["docker.io"] = true, ["index.docker.io"] = true, ["registry-1.docker.io"] = true }

--- Where they may be noted: Docker's file, then podman's.
local function files()
  local list = {}
  local function add(variable, rest)
    local value = os.getenv(variable)
    if value and value ~= "" then list[#list + 1] = value .. rest end
    return #list > 0
  end
  if not add("DOCKER_CONFIG", "/config.json") then add("HOME", "/.docker/config.json") end
  add("REGISTRY_AUTH_FILE", "")
  add("XDG_RUNTIME_DIR", "/containers/auth.json")
  add("HOME", "/.config/containers/auth.json")
  return list
end

local function decode(path)
  local text = file.read(path)
  local config = text and cjson.decode(text)
  return type(config) == "table" and config or nil
end

local function field(config, name)
  return type(config[name]) == "table" and config[name] or {}
end

--- "https://index.docker.io/v1/" → "docker.io", "reg.example:5000/team/" → "reg.example:5000/team"
local function normalise(key)
  local name = key:gsub("^%w+://", ""):gsub("/+$", ""):gsub("/v[12]$", "")
  return HUB_NAMES[name:match("^[^/]*")] and HUB or name
end

--- The registry of an image's name, and all names that credentials for it may stand under, the longest first.
local function names_of(image)
  local repository = image:gsub("@.*$", ""):gsub(":[^:/]*$", "")
  local first = repository:match("^([^/]+)/")
  if not (first and (first:find("[.:]") or first == "localhost")) then return HUB, { HUB } end
  local registry, names = HUB_NAMES[first] and HUB or first, {}
  while repository:find("/", 1, true) do
    names[#names + 1] = repository
    repository = repository:match("^(.*)/")
  end
  names[#names + 1] = registry
  return registry, names
end

--- Asks a keychain. Nothing that it says is an error of ours: an image may be public.
local function ask(helper, server, log)
  if type(helper) ~= "string" or not helper:find("^[%w._-]+$") then return nil end
  local program = "docker-credential-" .. helper
  local ok, result = pcall(shell.run, program .. " get", { stdin = server .. "\n", timeout = HELPER_TIMEOUT_S })
  task.checkpoint()
  if not ok or result.code ~= 0 then
    local said = ok and shell.excerpt(result.stdout .. result.stderr) or tostring(result)
    if not said:find("credentials not found", 1, true) then
      log("warning", "docker: %s gave no credentials for %s: %s", program, server, said)
    end
    return nil
  end
  local answer = cjson.decode(result.stdout)
  if type(answer) ~= "table" or type(answer.Secret) ~= "string" then return nil end
  if answer.Username == "<token>" then return { identitytoken = answer.Secret } end
  return { username = answer.Username, password = answer.Secret }
end

local function of_entry(entry)
  if type(entry) ~= "table" then return nil end
  if type(entry.identitytoken) == "string" and entry.identitytoken ~= "" then
    return { identitytoken = entry.identitytoken }
  end
  local noted = type(entry.auth) == "string" and base64.decode(entry.auth) or ""
  local user, password = noted:match("^([^:]*):(.*)$")
  user, password = user or entry.username, password or entry.password
  return user and password and { username = user, password = (password:gsub("%z+$", "")) } or nil
end

local function find_in(config, registry, names, log)
  local server = registry == HUB and HUB_SERVER or registry
  for key, helper in pairs(field(config, "credHelpers")) do
    if normalise(key) == registry then return ask(helper, key, log) end
  end
  local noted = {}
  for key, entry in pairs(field(config, "auths")) do noted[normalise(key)] = entry end
  for _, name in ipairs(names) do
    local found = of_entry(noted[name])
    if found then return found end
  end
  return config.credsStore and ask(config.credsStore, server, log)
end

local function find(image, log)
  local registry, names = names_of(image)
  for _, path in ipairs(files()) do
    local config = decode(path)
    local found = config and find_in(config, registry, names, log)
    if found then
      found.serveraddress = registry == HUB and HUB_SERVER or registry
      return found, registry
    end
  end
  return nil, registry
end

local function header(value)
  return (base64.encode(assert(cjson.encode(value))):gsub("+", "-"):gsub("/", "_"))
end

--- For the pull of an image.
---@param image string
---@param log fun(level: string, format: string, ...)
---@return table<string, string>? headers
---@return string registry
---@async
function M.for_pull(image, log)
  local found, registry = find(image, log)
  return found and { ["X-Registry-Auth"] = header(found) } or nil, registry
end

--- For a build: what its FROM lines name.
---@param dockerfile string its text
---@param log fun(level: string, format: string, ...)
---@return table<string, string>? headers
---@async
function M.for_build(dockerfile, log)
  local all = {}
  for line in dockerfile:gmatch("[^\r\n]+") do
    local rest = line:match("^%s*[Ff][Rr][Oo][Mm]%s+(.*)$")
    local image = rest and rest:gsub("^%-%-%S+%s+", ""):match("^[^%s$]+")
    local found = image and find(image, log)
    if found then all[found.serveraddress] = found end
  end
  return next(all) and { ["X-Registry-Config"] = header(all) } or nil
end

return M
