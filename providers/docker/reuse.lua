--- Containers that stay for the next run (`reuse = true`). Between runs they are stopped, with their files as they
--- were. A container fits when image and options are the same; a lock on this machine keeps two runs from taking the
--- same one.

local cjson = require("cjson.safe")
local containers = require("providers.docker.container")
local digest = require("providers.docker.digest")
local leftovers = require("runner.plugin.leftovers")
local system = require("runner.core.system")
local uv = require("luv")

local M = {}

--- Text that is the same for equal tables: keys in order.
local function canonical(value)
  if type(value) ~= "table" then return tostring(value) end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do keys[i] = ("%s=%s"):format(tostring(key), canonical(value[key])) end
  return "{" .. table.concat(keys, ",") .. "}"
end

--- Names what a container is made of.
---@param body table as sent to the engine
---@return string
function M.key(body)
  local hash = digest.new()
  hash.update(canonical(body))
  return hash.hex():sub(1, 24)
end

local function path_of(id)
  return leftovers.make_folder("reuse") .. "/" .. id .. ".lock"
end

--- Keeps a container from other runs, until the lock is closed.
---@param id string
---@return runner.Lock? nil: another run has it
function M.hold(id)
  return (system.lock(path_of(id)))
end

--- Removes a container that `hold` was called for.
---@param container docker.Container
---@param held runner.Lock
---@async
function M.remove(container, held)
  container:remove()
  uv.fs_unlink(path_of(container.id))
  held:close()
end

--- A container of an earlier run that fits and that nobody uses; removes those of this project that fit no more.
---@param engine docker.Engine
---@param key string
---@param labels table<string, string> with owner and project
---@return docker.Container?
---@return runner.Lock?
---@async
function M.claim(engine, key, labels)
  local filters = cjson.encode({ label = {
    containers.OWNER .. "=" .. labels[containers.OWNER], containers.PROJECT .. "=" .. labels[containers.PROJECT],
    containers.REUSE,
  } })
  local _, list = engine:request("GET", "/containers/json", { query = { all = true, filters = filters } })
  for _, found in ipairs(list or {}) do
    local held = M.hold(found.Id)
    if held then
      local container = containers.existing(engine, found.Id, (found.Names[1] or found.Id):gsub("^/", ""))
      local fits = found.Labels[containers.REUSE] == key
      if fits and (found.State == "exited" or found.State == "created") then return container, held end
      -- It runs although its run is gone, or its image or options have changed.
      M.remove(container, held)
    end
  end
end

return M
