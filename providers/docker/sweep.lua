--- Removes what dead runs have left on a daemon: containers that carry the label of a run of this user on this machine
--- which no longer lives, and the agents of older versions.

local cjson = require("cjson.safe")
local agent_volume = require("providers.docker.agent_volume")
local containers = require("providers.docker.container")
local leftovers = require("runner.plugin.leftovers")
local reuse = require("providers.docker.reuse")
local task = require("runner.base.task")

local M = {}

local TIMEOUT_S = 20 -- at a run's start

---@class runner.GcContext
---@field entries runner.journal.Entry[] of dead runs, this provider's
---@field owner string?
---@field is_alive fun(run: string): boolean
---@field all boolean? things kept for later runs, too
---@field dry_run boolean?
---@field report fun(what: string, err: any?) removed, or not and why

local function sweep_containers(engine, gc)
  local named = {}
  for _, entry in ipairs(gc.entries) do
    if entry.host == engine.address then named["/" .. entry.container] = true end
  end
  local filters = cjson.encode({ label = { containers.OWNER .. "=" .. gc.owner } })
  local _, list = engine:request("GET", "/containers/json", { query = { all = true, filters = filters } })
  for _, found in ipairs(list or {}) do
    local name = found.Names and found.Names[1] or "/" .. found.Id
    local run = found.Labels[containers.RUN]
    local kept = gc.all and found.Labels[containers.REUSE] and reuse.hold(found.Id)
    if kept or named[name] or (run and not gc.is_alive(run)) then
      local ok, err = true, nil
      local container = containers.existing(engine, found.Id, name:sub(2))
      if not gc.dry_run then
        ok, err = pcall(kept and reuse.remove or container.remove, container, kept)
      elseif kept then
        kept:close()
      end
      gc.report(("container %s on %s"):format(name:sub(2), engine.address), not ok and err or nil)
    end
  end
end

local function sweep_volumes(engine, gc)
  local filters = cjson.encode({ label = { agent_volume.LABEL }, dangling = { "true" } })
  local _, data = engine:request("GET", "/volumes", { query = { filters = filters } })
  local current = agent_volume.current()
  for _, volume in ipairs(type(data) == "table" and type(data.Volumes) == "table" and data.Volumes or {}) do
    if gc.all or not current[volume.Name] then
      local status = not gc.dry_run and engine:request("DELETE", "/volumes/" .. volume.Name, {
        accept = { [404] = true, [409] = true },
      }).status
      if status ~= 409 then gc.report(("volume %s on %s"):format(volume.Name, engine.address)) end
    end
  end
end

--- Sweeps one daemon.
---@param engine docker.Engine
---@param gc runner.GcContext
---@async
function M.run(engine, gc)
  sweep_containers(engine, gc)
  sweep_volumes(engine, gc)
end

--- At a run's start: what dead runs have left on these daemons. Never in the way: bounded, and failures are only said.
---@param engines docker.Engine[]
---@param owner string
---@param log fun(level: string, format: string, ...)
---@async
function M.before_run(engines, owner, log)
  local dead, swept = leftovers.dead(), {}
  local held <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    for _, run in ipairs(dead) do run:close() end
  end })
  local entries = {}
  for _, run in ipairs(dead) do
    for _, entry in ipairs(run.entries) do
      if entry.provider == "docker" then entries[#entries + 1] = entry end
    end
  end
  local function sweep(engine)
    local clean = true
    local done, err = task.deadline(TIMEOUT_S, function()
      M.run(engine, {
        entries = entries, owner = owner, is_alive = leftovers.is_alive,
        report = function(what, why)
          clean = clean and not why
          log("info", why and "docker: cannot remove the dead %s: %s" or "docker: removed the dead %s",
            what, tostring(why))
        end,
      })
    end)
    if not done then error(err, 0) end
    swept[engine.address] = clean
  end
  task.scope(function(scope)
    for _, engine in ipairs(engines) do
      scope:spawn(function()
        local ok, err = pcall(sweep, engine)
        task.checkpoint()
        if not ok then log("info", "docker: looking for dead containers: %s", tostring(err)) end
      end)
    end
  end)
  for _, run in ipairs(dead) do
    local left = false
    for _, entry in ipairs(run.entries) do
      left = left or entry.provider ~= "docker" or not swept[entry.host]
    end
    if not left then run:remove() end
  end
end

return M
