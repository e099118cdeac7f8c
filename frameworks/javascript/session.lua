--- The session of one sandbox and group for vitest, jest and mocha. One process of it lists the tests and does what the
--- project sets up once for all workers; each slot has a resident process of its own, which runs file after file.

local uv = require("luv")
local cache = require("runner.worker.list_cache")
local channel = require("runner.worker.channel")
local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local rw_gate = require("runner.worker.rw_gate")
local discovery = require("frameworks.javascript.discovery")
local shell_session = require("frameworks.javascript.shell_session")
local process = require("frameworks.javascript.command")
local resident = require("runner.worker.resident")
local transfer = require("frameworks.javascript.transfer")
local task = require("runner.base.task")

local M = {}

local TAIL = 64 * 1024
local LIST_TIMEOUT_S = 1800
local CLOSE_PATIENCE_S = 25
local FATAL_FILES = 20 -- that end the process when they are loaded; more are a mistake of the configuration
local SPARES = 4 -- processes of slots that start while tests are listed

--- What package managers keep about what they installed.
local INSTALLED = {
  "node_modules/.package-lock.json", "node_modules/.yarn-state.yml", "node_modules/.modules.yaml", ".pnp.cjs",
}

---@class javascript.Session
---@field leader table? the process that lists and sets up: command, list, ready, over
---@field serial boolean? the project does not want two of its files to run at once
local Session = {}
Session.__index = Session

local function spec_of(self, place)
  local options = self.options
  local argv = process.node(options)
  place.folder = self.folder
  table.move({ self.folder .. "/main.cjs", self.name, process.about(options, place) }, 1, 3, #argv + 1, argv)
  return { argv = argv, env = process.environment(options), cwd = process.folder(options, self.ctx) }
end

-- The leader --------------------------------------------------------------------------------------------------------

local function on_message(self, leader, message)
  if leader.list:take(message) then
    if leader.list.done and leader.on_listed then leader.on_listed() end
  elseif message.ready then
    self.serial = self.serial or message.ready.serial
  elseif message.fatal then
    leader.fatal = message.fatal
  elseif message.set_up then
    leader.on_set_up(message.set_up)
  elseif message.bye then
    leader.bye = message.bye
  end
end

local function start_leader(self)
  local leader = { list = discovery.new(), tail = "", ended = task.event() }
  self.leader = leader
  local spec = spec_of(self, { workers = math.max(1, self.width) })
  local read = channel.reader(function(message) on_message(self, leader, message) end)
  spec.control = true
  function spec.on_output(_, stream, bytes)
    if stream == "control" then return read(bytes) end
    leader.tail = (leader.tail .. bytes):sub(-TAIL)
  end
  function spec.on_exit(_, exit)
    leader.exit = exit
    leader.ended:set()
    if leader.on_listed then leader.on_listed() end
    if leader.on_set_up then
      leader.on_set_up({ error = {
        message = "the process that sets up for all workers ended: "
          .. process.diagnose(self.ctx, self.name, self.options, exit, leader.fatal, ""),
        trace = leader.tail,
      } })
    end
  end
  leader.command = self.ctx.spawn(spec)
  return leader
end

local function tell(leader, message)
  if not leader.exit then leader.command:write(channel.encode(message)) end
end

-- Listing -----------------------------------------------------------------------------------------------------------

--- Asks one process. False: it ended while it loaded a file.
local function try_list(self, skip, limit)
  local leader = start_leader(self)
  local in_time = task.deadline(limit, function()
    task.await(function(resume)
      leader.on_listed = resume
      tell(leader, { list = { skip = skip } })
      return function() leader.on_listed = nil end
    end)
  end)
  leader.on_listed = nil
  local found, exit = leader.list, leader.exit
  if not in_time then
    leader.command:kill(self.ctx.settings.grace)
    errors.raise("config", ("%s did not list its tests within %g s%s"):format(self.name, limit,
      found.loading and "; it was loading " .. found.loading or ""))
  elseif found.done then
    return true, found
  elseif exit.kind == "lost" then
    errors.raise("transport", exit.message or "the sandbox was lost")
  elseif leader.fatal or not found.loading or #skip >= FATAL_FILES then
    errors.raise("config", process.diagnose(self.ctx, self.name, self.options, exit, leader.fatal, leader.tail))
  end
  return false, found
end

--- A file that ends the process when it is loaded is a problem of its own; the others are listed without it.
local function list(self)
  local limit = self.options.list_timeout or LIST_TIMEOUT_S
  if not self.ctx.collect_only then self:prepare_spares() end
  local skip, problems = {}, {}
  while true do
    local done, found = try_list(self, skip, limit)
    if done then
      found:check()
      table.move(problems, 1, #problems, #found.problems + 1, found.problems)
      if not found.setup then tell(self.leader, { close = true }) end
      return found
    end
    skip[#skip + 1] = found.loading
    problems[#problems + 1] = {
      file = found.loading, text = self.leader.tail,
      message = ("%s ended while it was loaded: %s"):format(self.name, exits.describe(self.leader.exit)),
    }
  end
end

--- Files on which a listing depends besides the project's own: what is installed.
local function installed(self)
  local files, folder = {}, self.options.working_dir
  for _, prefix in ipairs(folder and folder:sub(1, 1) ~= "/" and { "", folder .. "/" } or { "" }) do
    for _, name in ipairs(INSTALLED) do files[#files + 1] = prefix .. name end
    files[#files + 1] = ("%snode_modules/%s/package.json"):format(prefix, self.name)
  end
  return files
end

---@async
function Session:discover()
  local options, fresh = self.options, nil
  local kept = cache.get(self.ctx, {
    name = self.cached, files = installed(self), project = true,
    key = options,
  }, function()
    fresh = list(self)
    -- What went wrong is looked at anew each time.
    if #fresh.problems > 0 then return nil end
    return { files = fresh.files, setup = fresh.setup or false, serial = self.serial or false }, fresh.outside
  end)
  local found = fresh or kept
  self.serial = self.serial or found.serial or nil
  return discovery.tests(found, options.working_dir)
end

-- What is set up once -----------------------------------------------------------------------------------------------

--- Calls back with what the global setup left, at once when that is known.
local function with_setup(self, resume)
  if self.setup_result then return resume(self.setup_result) end
  self.setup_waiting[#self.setup_waiting + 1] = resume
  if #self.setup_waiting > 1 then return end
  local leader = self.leader
  if not leader or leader.exit then leader = start_leader(self) end
  leader.on_set_up = function(result)
    if self.setup_result then return end
    self.setup_result = result
    local waiting = self.setup_waiting
    self.setup_waiting = {}
    for _, one in ipairs(waiting) do one(result) end
  end
  tell(leader, { set_up = true })
end

-- Slots -------------------------------------------------------------------------------------------------------------

local function slot_process(self)
  return spec_of(self, { workers = 1, slot = true })
end

--- Processes of slots that will be needed start while tests are listed: both take about as long.
function Session:prepare_spares()
  for _ = 1, math.min(self.width, SPARES) do
    local spare = { waiting = {} }
    local spec = slot_process(self)
    spec.control = true
    function spec.on_output(command, stream, bytes)
      if spare.handlers then return spare.handlers.on_output(command, stream, bytes) end
      spare.waiting[#spare.waiting + 1] = { stream, bytes }
    end
    function spec.on_exit(command, exit)
      if spare.handlers then return spare.handlers.on_exit(command, exit) end
      spare.exit = exit
    end
    spare.command = self.ctx.spawn(spec)
    self.spares[#self.spares + 1] = spare
  end
end

--- One that was started before, for who would start one now.
local function take_spare(self, handlers)
  local spare = table.remove(self.spares)
  while spare and spare.exit do spare = table.remove(self.spares) end
  if not spare then return nil end
  spare.handlers = handlers
  return spare.command, function()
    for _, part in ipairs(spare.waiting) do handlers.on_output(spare.command, part[1], part[2]) end
  end
end

---@param slot runner.Slot
---@param report table
---@return table worker
function Session:worker(slot, report)
  local told -- the process that knows of the setup
  local leave -- the gate, at the end of the file that runs
  return resident.worker(self.ctx, slot, report, {
    name = self.name,
    load_timeout = self.options.load_timeout,
    process = function() return slot_process(self) end,
    spare = function(handlers) return take_spare(self, handlers) end,
    hello = function() return { slot = { worker = slot.index, stride = self.ctx.settings.max_parallel or 1 } } end,
    ready = function(about) self.serial = self.serial or about.serial end,
    unit = function(item) return item.test.unit end,
    request = discovery.request,
    admit = function(item, peer, send, go)
      local function enter()
        self.gate:enter(self.serial or false, function(left)
          leave = left
          go()
        end)
      end
      if not item.test.needs_setup or told == peer then return enter() end
      with_setup(self, function(result)
        if result.error then
          return go({ message = "the global setup failed: " .. result.error.message, trace = result.error.trace })
        end
        told = peer
        send({ was_set_up = result })
        enter()
      end)
    end,
    release = function()
      local left = leave
      leave = nil
      if left then left() end
    end,
    unlisted = function() cache.forget(self.ctx, self.cached) end,
  })
end

-- The end -----------------------------------------------------------------------------------------------------------

---@return table[] problems
---@async
function Session:close()
  for _, spare in ipairs(self.spares) do
    if not spare.exit then spare.command:kill(0) end
  end
  self.spares = {}
  local leader = self.leader
  if not leader or leader.exit then return {} end
  tell(leader, { close = true })
  local in_time = task.deadline(CLOSE_PATIENCE_S, function() leader.ended:wait() end)
  if not in_time then leader.command:kill(self.ctx.settings.grace) end
  if not self.setup_result then return {} end
  local error = leader.bye and leader.bye.error
  if leader.bye and not error then return {} end
  return { {
    kind = "teardown", text = error and error.trace or leader.tail,
    message = ("%s: the global teardown %s"):format(self.name, error and "failed: " .. error.message
      or in_time and "ended early" or "did not end"),
  } }
end

---@param name "vitest"|"jest"|"mocha"
---@param options table
---@param ctx table
---@return table session
---@async
function M.open(name, options, ctx)
  if ctx.agent.plain then return shell_session.open(name, options, ctx) end
  local cpus = ctx.agent.info and ctx.agent.info.cpus or uv.available_parallelism()
  local self = setmetatable({
    name = name, cached = ("%s %s"):format(name, ctx.group),
    options = options, ctx = ctx, spares = {}, setup_waiting = {}, gate = rw_gate.new(),
    width = math.min(ctx.settings.max_parallel or cpus, cpus), folder = ctx.tmpdir(),
  }, Session)
  transfer.put(ctx, name, self.folder)
  return self
end

return M
