--- The agent in a volume of the daemon's, named after the hash of its bytes: uploaded once a daemon, mounted read-only
--- into every container. So a container costs no upload, and its image and root file system stay as they are.

local host = require("runner.core.host")
local digest = require("providers.docker.digest")
local tar = require("runner.base.tar")
local task = require("runner.base.task")

local M = {}

M.FOLDER = "/.runner"
M.LABEL = "runner.agent"

local MACHINES = { amd64 = "x86_64", arm64 = "aarch64", x86_64 = "x86_64", aarch64 = "aarch64" }

---@class docker.AgentVolume
---@field name string of the volume
---@field path string of the agent in the container
---@field bind string as in HostConfig.Binds
---@field package bytes string
---@field package checked table<docker.Engine, runner.Event>
local Volume = {}
Volume.__index = Volume

local function name_of(bytes)
  local hash = digest.new()
  hash.update(bytes)
  return "runner-agent-" .. hash.hex():sub(1, 16)
end

--- The agent for images of an architecture.
---@param architecture string as Go names it
---@return docker.AgentVolume? volume nil when this binary carries no such agent
---@return string? why
function M.of(architecture)
  local machine = MACHINES[architecture]
  local bytes = machine and host.resource("agent/" .. machine)
  if not bytes then
    return nil, ("this runner was built without an agent for %s (a static compiler was missing: "
      .. "`./dev setup --all` and build again)"):format(architecture)
  end
  local name = name_of(bytes)
  return setmetatable({
    name = name, path = M.FOLDER .. "/agent", bind = name .. ":" .. M.FOLDER .. ":ro", bytes = bytes,
    checked = {},
  }, Volume)
end

--- The names of all volumes that this binary uses: others are of older versions.
---@return table<string, true>
function M.current()
  local names = {}
  for _, machine in ipairs({ "x86_64", "aarch64" }) do
    local bytes = host.resource("agent/" .. machine)
    if bytes then names[name_of(bytes)] = true end
  end
  return names
end

--- Writes the agent through a container that is never started, the only one that may write there.
local function upload(self, engine, image, labels)
  local _, loader = engine:request("POST", "/containers/create", {
    json = {
      Image = image.id, Entrypoint = { self.path }, Labels = labels,
      HostConfig = { Binds = { self.name .. ":" .. M.FOLDER }, NetworkMode = "none" },
    },
  })
  local path = "/containers/" .. loader.Id
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    pcall(engine.request, engine, "DELETE", path, { query = { force = true } })
  end })
  engine:request("PUT", path .. "/archive", {
    query = { path = M.FOLDER }, type = "application/x-tar",
    -- The second file is written after the first: where it is, the first is whole.
    body = tar.of({
      { name = "agent", bytes = self.bytes, mode = tonumber("755", 8) }, { name = "complete", bytes = "" },
    }),
  })
end

--- Sees to it that the volume holds the agent; once for a daemon and a run, others wait for that. `container` mounts it
--- and is not started yet.
---@param engine docker.Engine
---@param image docker.Image
---@param container string
---@param labels table<string, string>
---@async
function Volume:ensure(engine, image, container, labels)
  local known = self.checked[engine]
  if known then
    local failure = known:wait()
    if failure then error(failure, 0) end
    return
  end
  local event = task.event()
  self.checked[engine] = event
  local ok, err = pcall(function()
    local answer = engine:request("HEAD", "/containers/" .. container .. "/archive", {
      query = { path = M.FOLDER .. "/complete" }, accept = { [404] = true },
    })
    if answer.status == 404 then
      -- A loader that is made while nobody listens any more would stay.
      task.shield(function() upload(self, engine, image, labels) end)
    end
  end)
  if not ok then self.checked[engine] = nil end
  event:set(not ok and err or nil)
  if not ok then error(err, 0) end
end

--- Makes the empty volume, with the label that `runner gc` knows it by. One that exists is left alone.
---@param engine docker.Engine
---@async
function Volume:make(engine)
  engine:request("POST", "/volumes/create", {
    json = { Name = self.name, Labels = { [M.LABEL] = "1" } },
  })
end

return M
