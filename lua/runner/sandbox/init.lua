--- A sandbox: an isolated place with one agent, some slots, and one framework session a group. Providers open the
--- place; everything that happens in it goes through the agent.

local uv = require("luv")
local agent = require("runner.agent.client")
local context = require("runner.plugin.context")
local artifacts = require("runner.files.artifacts")
local errors = require("runner.base.errors")
local paths = require("runner.base.path")
local setups = require("runner.sandbox.group_setup")
local sync = require("runner.files.sync")
local task = require("runner.base.task")
local unwritable = require("runner.files.write_error")

local CONNECT_TIMEOUT_S = 60 -- an agent may have to be sent first
local CLOSE_TIMEOUT_S = 30
local TEARDOWN_TIMEOUT_S = 300 -- of a group
local DOWNLOAD_TIMEOUT_S = 600 -- what failed tests left is worth waiting for
--- A ping without any sign of life after so many periods: the link is dead, whatever TCP still hopes for. Periods are
--- counted, not seconds: a host that was itself stopped for a while has not listened.
local SILENT_PERIODS = 2

local M = {}

---@class runner.Sandbox
---@field id string
---@field provider table bound provider
---@field slots integer
---@field info table what the agent said of itself
---@field lost any? error, once the link is dead
---@field why string? what the provider knows of that, once it is closed
---@field proven boolean? a test has ended in it
---@field project { root: string, folder: string }? where the project came from, and where it is now, if it was sent
local Sandbox = {}
Sandbox.__index = Sandbox
Sandbox.__name = "runner.sandbox"

local function merge(...)
  local all = {}
  for i = 1, select("#", ...) do
    for key, value in pairs(select(i, ...) or {}) do all[key] = value end
  end
  return all
end

--- Asks the agent for a sign of life every `settings.ping` seconds.
local function watch_link(self)
  local period = self.run.settings.ping
  if not period or self.agent.plain then return end
  local milliseconds = math.max(1, math.ceil(period * 1000))
  local silent, heard, waiting = 0, nil, false
  self.pinger = uv.new_timer()
  self.pinger:start(milliseconds, milliseconds, function()
    if not waiting or self.agent.received ~= heard then
      silent, heard = 0, self.agent.received
    else
      silent = silent + 1
      if silent >= SILENT_PERIODS then
        return self.agent:give_up(("it has not answered for %g s"):format(period * silent))
      end
    end
    if waiting then return end
    waiting = true
    self.agent:ping(function() waiting = false end)
  end)
end

local function end_watch(self)
  if self.pinger and not self.pinger:is_closing() then self.pinger:close() end
end

--- The stream to the agent: on this machine the binary is the agent, some providers have it there by themselves,
--- elsewhere it is brought along. nil: no agent can run there, and the provider offers plain commands.
local function start_agent(self)
  local place = self.place
  if place.agent == "host" then return place.connect({ "runner", "agent" }) end
  local own = place.connect_agent and place:connect_agent()
  if own then return own end
  if place.start and (not place.connect or self.run.plain and self.run.plain[self.provider]) then return nil end
  local stream, why = require("runner.agent.deploy").connect(place)
  if stream then return stream end
  if not place.start then errors.raise("transport", why) end
  self.run.plain = self.run.plain or {} -- the provider's other sandboxes need not be asked
  if not self.run.plain[self.provider] then
    self.run.log("info", "%s: no agent can run there (%s): tests are run by plain commands", self.provider.name, why)
  end
  self.run.plain[self.provider] = true
  return nil
end

local function lost_by(self, lost_err)
  self.lost = lost_err or errors.new("transport", "the sandbox is gone")
  end_watch(self)
  if self.info and not self.closing then self.on_lost(self) end
end

local function greet(self)
  local stream = start_agent(self)
  if not stream then
    self.agent = require("runner.agent.shell_client").connect(self.place, {
      run_id = self.run.id,
      on_lost = function(lost_err) lost_by(self, lost_err) end,
    })
    self.info = self.agent.info
    return
  end
  local info, err = task.await(function(resume)
    self.agent = agent.connect(stream, {
      run_id = self.run.id,
      on_ready = resume,
      on_lost = function(lost_err)
        lost_by(self, lost_err)
        resume(nil, self.lost)
      end,
    })
    return function() self.agent:close() end
  end)
  if not info then error(err, 0) end
  self.info = info
end

--- Awaits; bounded; what goes wrong is said, not raised.
local function bounded(self, fn, limit)
  local ok, met, err = pcall(task.deadline, limit or CLOSE_TIMEOUT_S, fn)
  if not (ok and met) then self.run.log("warning", "%s: closing: %s", self.id, tostring(ok and err or met)) end
end

--- What the provider knows of the end of a sandbox that is lost or never worked.
local function explanation(self)
  local place = self.place
  local why
  if place.explain then bounded(self, function() why = place:explain() end) end
  return why
end

local function close_place(self)
  if self.place.close then bounded(self, function() self.place:close() end, self.place.close_timeout) end
end

--- Brings the project's files and runs `init_command`: then tests can run.
local function prepare(self)
  local ok, err = pcall(function()
    self.cwd = sync.bring(self) or self.cwd
    sync.initialise(self)
    self.downloads = artifacts.open(self)
  end)
  if ok then return end
  self:close()
  error(err, 0)
end

--- Opens a sandbox and waits until its agent answers.
---@param provider table bound provider
---@param id string
---@param run { id: string, settings: table, log: function }
---@param on_lost fun(sandbox: runner.Sandbox) called once when the link dies before `close`
---@param target table? which of the provider's own sandboxes
---@return runner.Sandbox
---@async
function M.open(provider, id, run, on_lost, target)
  local self = setmetatable({ id = id, provider = provider, run = run, sessions = {}, on_lost = on_lost }, Sandbox)
  local ctx = context.new({
    run_id = run.id, dir = run.settings.dir, settings = run.settings, log = run.log, sandbox = { id = id },
    target = target, killed = run.killing,
  })
  self.place = provider.plugin.open(provider.options, ctx, run.prepared and run.prepared:of(provider))
  local limit = run.settings.connect_timeout or CONNECT_TIMEOUT_S
  local ok, met, err = pcall(task.deadline, limit, function() greet(self) end)
  if not (ok and met) then
    err = ok and err or met
    self.closing = true
    if self.agent and not self.lost then self.agent:close() end
    local why
    task.shield(function()
      why = explanation(self)
      close_place(self)
    end)
    task.checkpoint()
    if why and errors.is(err) then err = errors.new(err.kind, ("%s; %s"):format(err, why), err.context) end
    if errors.is(err, "config") then error(err, 0) end
    errors.raise("transport", "the agent did not answer: " .. tostring(err), {
      permanent = errors.is(err) and err.context.permanent,
    })
  end
  local slots = self.place.slots or 1
  self.slots = slots == "cpus" and math.max(1, self.info.cpus) or slots
  self.cwd = self.place.cwd and paths.absolute(self.place.cwd, self.info.cwd)
  watch_link(self)
  prepare(self)
  return self
end

--- Another agent in the place of an open sandbox, which stays the owner of the place.
---@param opened runner.Sandbox
---@return runner.Sandbox
---@async
function M.attach(opened)
  local self = setmetatable({
    id = opened.id, provider = opened.provider, run = opened.run, sessions = {}, place = opened.place,
    on_lost = function() end,
  }, Sandbox)
  greet(self)
  return self
end

--- What a framework may use in this sandbox, for one group.
---@param group { name: string, env: table? }
---@return table ctx
function Sandbox:context(group)
  local run = self.run
  local base = merge(run.settings.env, self.place.env, group.env, { RUNNER_RUN_ID = run.id })
  local ctx = context.new({
    run_id = run.id, dir = run.settings.dir, settings = run.settings, log = run.log, group = group.name,
    agent = self.agent, env = merge(run.settings.env, group.env), sandbox = {
      id = self.id, cwd = self.cwd, env = base, is_host = self.place.agent == "host", project = self.project,
    },
    shell = self.place.shell or "/bin/sh", collect_only = run.collect_only,
  })
  function ctx.spawn(spec)
    spec.cwd = spec.cwd or self.cwd
    spec.env = merge(base, spec.env)
    spec.memory = spec.memory or self.place.memory
    spec.grace = spec.grace or run.settings.grace
    return self.agent:spawn(spec)
  end
  function ctx.put(path, bytes, mode)
    local err = task.await(function(resume)
      self.agent:put(path, bytes, mode or 420, function(put_err) resume(put_err) end)
    end)
    if err then
      errors.raise("transport", ("cannot write a file in %s: %s"):format(self.id, (unwritable.explain(tostring(err)))))
    end
  end
  function ctx.send(name, list) return sync.send(self, name, list) end
  function ctx.tmpdir()
    if not self.folder then
      local path, err = task.await(function(resume) self.agent:mkdtemp("runner-", resume) end)
      if not path then
        local why = unwritable.explain(tostring(err))
        errors.raise("transport", ("no temporary folder in %s: %s"):format(self.id, why))
      end
      self.folder = self.folder or path
    end
    return self.folder
  end
  return ctx
end

--- The session of a group here; opened by the first that asks, waited for by the others.
---@param group table
---@return table session
---@async
function Sandbox:session(group)
  local entry = self.sessions[group.name]
  if not entry then
    entry = { group = group }
    entry.open = task.once(function()
      entry.ctx = self:context(group)
      setups.start(entry.ctx, group)
      entry.session = group.framework.plugin.session(group.framework.options, entry.ctx)
      return entry.session
    end)
    self.sessions[group.name] = entry
  end
  return entry.open()
end

--- What a session finds wrong at its end is a problem of the run, unless no test was to run.
local function close_session(self, entry)
  local problems, group = {}, entry.group
  if entry.session then
    local ok, found = pcall(entry.session.close, entry.session)
    problems = ok and found or problems
  end
  if group.teardown and entry.ctx then
    bounded(self, function() problems[#problems + 1] = setups.finish(entry.ctx, group) end, TEARDOWN_TIMEOUT_S)
  end
  if self.run.collect_only then return end
  for _, problem in ipairs(problems) do self.run:problem(problem, group.name) end
end

--- Closes sessions, agent and place. Awaits; bounded; never raises.
---@async
function Sandbox:close()
  if self.closing then return end
  local downloads = self.downloads
  self.downloads = nil
  if downloads then
    task.shield(function() bounded(self, function() downloads:close() end, DOWNLOAD_TIMEOUT_S) end)
  end
  self.closing = true
  end_watch(self)
  task.shield(function()
    local limit = CLOSE_TIMEOUT_S
    for _, entry in pairs(self.sessions) do limit = limit + (entry.group.teardown and TEARDOWN_TIMEOUT_S or 0) end
    bounded(self, function()
      for _, entry in pairs(self.sessions) do
        if not self.lost then close_session(self, entry) end
      end
      if not self.lost then
        task.await(function(resume)
          self.agent:close(resume)
          return function() self.agent:close() end
        end)
      end
    end, limit)
    self.why = self.lost and explanation(self) or nil
    if self.why then self.run.log("warning", "%s: %s", self.id, self.why) end
    close_place(self)
  end)
end

--- Ends everything in the sandbox at once, without grace.
function Sandbox:kill()
  if not self.lost then self.agent:close() end
end

return M
