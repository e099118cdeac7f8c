--- Runs tests in containers, through the API of Docker Engine or podman; no `docker` program is needed. One sandbox is
--- one container; its main process is the agent.

local agent_volume = require("providers.docker.agent_volume")
local api = require("providers.docker.api")
local containers = require("providers.docker.container")
local errors = require("runner.base.errors")
local image = require("providers.docker.image")
local leftovers = require("runner.plugin.leftovers")
local place = require("providers.docker.place")
local plugin = require("runner.plugin")
local reuse = require("providers.docker.reuse")
local sweep = require("providers.docker.sweep")
local task = require("runner.base.task")

---@class docker.Prepared what the sandboxes of a run share
---@field hosts { engine: docker.Engine, image: docker.Image, agent: docker.AgentVolume }[]
---@field turn integer sandboxes opened so far
---@field owner string? of the containers; nil when there is no journal

local function owner_of(options, ctx)
  local ok, owner = pcall(leftovers.owner)
  if ok then return owner end
  if options.reuse then error(owner, 0) end -- nobody would find the containers again
  ctx.log("warning", "docker: what is left when this run is killed has to be removed by hand: %s", tostring(owner))
end

local function prepare_host(engine, recipe, options, ctx)
  local ok, err = pcall(function()
    local found = image.ensure(engine, recipe, options, ctx.log)
    local agent, why = agent_volume.of(found.architecture)
    if not agent then errors.raise("provider", ("the image %s: %s"):format(found.name, why)) end
    agent:make(engine)
    return { engine = engine, image = found, agent = agent }
  end)
  if not ok then
    engine:close()
    error(err, 0)
  end
  return err
end

--- Once a run: speaks to the daemons, sees to the image on each, removes what dead runs have left. A daemon that fails
--- is left out while another works.
local function prepare(options, ctx)
  local recipe = image.recipe(options, ctx.dir, ctx.settings)
  local addresses = options.hosts or { api.default_address() }
  local prepared = { hosts = {}, turn = 0, owner = owner_of(options, ctx) }
  local engines, failure = {}, nil
  local function each_host(fn)
    task.scope(function(scope)
      for _, address in ipairs(addresses) do
        scope:spawn(function()
          local ok, err = pcall(fn, address)
          if ok then return end
          task.checkpoint()
          failure = failure or err
          if #addresses > 1 then ctx.log("warning", "docker: %s is not used: %s", address, tostring(err)) end
        end)
      end
    end)
  end
  task.scope(function(scope)
    each_host(function(address) engines[address] = api.connect(address) end)
    local list = {}
    for _, engine in pairs(engines) do list[#list + 1] = engine end
    if prepared.owner then
      scope:spawn(function() sweep.before_run(list, prepared.owner, ctx.log) end)
    end
    each_host(function(address)
      local engine = engines[address]
      if engine then prepared.hosts[#prepared.hosts + 1] = prepare_host(engine, recipe, options, ctx) end
    end)
  end)
  if #prepared.hosts > 0 then return prepared end
  failure = errors.coerce(failure, "provider")
  failure.context.permanent = true
  error(failure, 0)
end

--- A container for the sandbox: one of an earlier run, or a new one.
local function obtain(options, ctx, prepared, host, spec)
  local body = containers.body(spec)
  local labels = { [containers.RUN] = ctx.run_id, [containers.OWNER] = prepared.owner }
  if options.reuse then
    local key = reuse.key(body)
    labels = {
      [containers.REUSE] = key, [containers.OWNER] = prepared.owner, [containers.PROJECT] = ctx.dir,
    }
    local container, lock = reuse.claim(host.engine, key, labels)
    if container then return container, lock end
  end
  local name = ("runner-%s-%d"):format(ctx.run_id, spec.number)
  local forget
  if not options.reuse and prepared.owner then
    local ok, err = pcall(leftovers.add, ctx.run_id, {
      provider = "docker", host = host.engine.address, container = name,
    })
    if ok then
      forget = err
    else
      -- Without a journal `runner gc` would take this run for dead: it must not know the container.
      ctx.log("warning", "docker: %s", tostring(err))
      labels[containers.OWNER] = nil
    end
  end
  body.Labels = labels
  -- The engine may carry out a request that was broken off: so it is not, and a container that came too late is
  -- removed.
  local made, container = pcall(task.shield, function()
    return containers.create(host.engine, name, body, options.platform)
  end)
  local wanted, reason = pcall(task.checkpoint)
  if made and not wanted then
    task.shield(function() made = not pcall(container.remove, container) end)
  end
  if forget and not made then forget() end
  if not made or not wanted then error(wanted and container or reason, 0) end
  return container, options.reuse and reuse.hold(container.id) or nil, forget
end

return plugin.provider({
  name = "docker",
  api = 1,
  options = {
    image = "string?",
    dockerfile = "path?", -- builds the image; relative to the configuration, as is
    context = "path?", -- default: the configuration's folder
    build_args = "map?",
    pull = '"missing"|"always"|"never"?', -- default "missing"
    platform = "string?", -- "linux/arm64"
    working_dir = "path?", -- in the container
    volumes = "string[]?", -- "HOST:/CONTAINER[:ro]", relative to the configuration, or "NAME:/CONTAINER"
    network = "string?", -- "none", "bridge", "host" or a network's name; default: the daemon's
    env = "env?",
    user = "string?", -- "name", "1000" or "1000:1000"
    shell = "string?",
    cpus = "number?",
    memory = "bytes?", -- of the whole container
    host_config = "table?", -- anything else of the API's HostConfig: { ShmSize = 2 ^ 30 | 0, Privileged = true }
    reuse = "boolean?", -- keep containers, stopped, for the next run
    slots = "positive?", -- tests at once in one container; default 1
    hosts = "string[]?", -- addresses of daemons, used in turn; default: DOCKER_HOST or the socket of this machine
  },

  check = function(options)
    local builds = options.dockerfile or options.context
    if options.image and builds then return "image and dockerfile/context exclude each other" end
    if not options.image and not builds then return 'set image = "NAME", or dockerfile = "PATH" to build one' end
  end,

  slots = function(options) return options.slots or 1 end,

  prepare = prepare,

  open = function(options, ctx, prepared)
    prepared = prepared or prepare(options, ctx)
    local number = prepared.turn + 1
    prepared.turn = number
    local host = prepared.hosts[number % #prepared.hosts + 1]
    local volumes = containers.volumes(options.volumes, ctx.dir)
    local cwd, sees_project = containers.place_of_project(options, volumes, ctx.settings.working_dir or ctx.dir)
    local binds = {}
    for i, volume in ipairs(volumes) do binds[i] = volume.bind end
    binds[#binds + 1] = host.agent.bind
    local container, lock, forget = obtain(options, ctx, prepared, host, {
      number = number, options = options, image = host.image, binds = binds, cwd = cwd,
      argv = { host.agent.path },
    })
    return place.new({
      container = container, host = host, options = options, lock = lock, forget = forget, log = ctx.log,
      labels = { [containers.RUN] = ctx.run_id, [containers.OWNER] = prepared.owner },
      cwd = cwd, sees_project = sees_project, id = ctx.sandbox and ctx.sandbox.id or container.name,
    })
  end,

  finish = function(_, _, prepared)
    for _, host in ipairs(prepared and prepared.hosts or {}) do host.engine:close() end
  end,

  --- For `runner gc`.
  ---@param gc runner.GcContext
  gc = function(gc)
    local seen, addresses = {}, {}
    local function add(address)
      if not seen[address] then addresses[#addresses + 1] = address end
      seen[address] = true
    end
    for _, entry in ipairs(gc.entries) do add(entry.host) end
    local default = api.default_address()
    local needed = seen[default]
    add(default)
    for _, address in ipairs(addresses) do
      local ok, err = pcall(function()
        local engine <close> = setmetatable({ value = api.connect(address) }, {
          __close = function(self) self.value:close() end,
        })
        sweep.run(engine.value, gc)
      end)
      task.checkpoint()
      -- Nobody says that there is a daemon at the usual place.
      if not ok and (address ~= default or needed) then gc.report("containers on " .. address, err) end
    end
  end,
})
