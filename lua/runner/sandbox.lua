--- A sandbox: an isolated place with one agent, some slots, and one framework session a group. Providers open the place;
--- everything that happens in it goes through the agent.

local agent = require("runner.agent")
local errors = require("runner.errors")
local task = require("runner.task")

local CONNECT_TIMEOUT_S = 30
local CLOSE_TIMEOUT_S = 30

local M = {}

---@class runner.Sandbox
---@field id string
---@field provider table bound provider
---@field slots integer
---@field info table what the agent said of itself
---@field lost any? error, once the link is dead
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

--- Opens a sandbox and waits until its agent answers.
---@param provider table bound provider
---@param id string
---@param run { id: string, settings: table, log: function }
---@param on_lost fun(sandbox: runner.Sandbox) called once when the link dies before `close`
---@return runner.Sandbox
---@async
function M.open(provider, id, run, on_lost)
  local self = setmetatable({ id = id, provider = provider, run = run, sessions = {} }, Sandbox)
  local ctx = { run_id = run.id, dir = run.settings.dir, settings = run.settings, log = run.log }
  self.place = provider.plugin.open(provider.options, ctx, run.prepared and run.prepared[provider])
  local ok, err = task.deadline(CONNECT_TIMEOUT_S, function()
    local info, message = task.await(function(resume)
      self.agent = agent.connect(self.place.connect({ "runner", "agent" }), {
        run_id = run.id,
        on_ready = function(info) resume(info) end,
        on_lost = function(lost_err)
          self.lost = lost_err or errors.new("transport", "the sandbox is gone")
          resume(nil, self.lost)
          if self.info and not self.closing then on_lost(self) end
        end,
      })
      return function() self.agent:close() end
    end)
    if not info then error(message, 0) end
    self.info = info
  end)
  if not ok then
    errors.raise("transport", ("%s: the agent did not answer: %s"):format(id, tostring(err)))
  end
  self.slots = self.place.slots or 1
  self.cwd = self.place.cwd
  return self
end

--- What a framework may use in this sandbox, for one group.
---@param group { name: string, env: table? }
---@return table ctx
function Sandbox:context(group)
  local run = self.run
  local base = merge(run.settings.env, self.place.env, group.env, { RUNNER_RUN_ID = run.id })
  local ctx = {
    run_id = run.id, dir = run.settings.dir, settings = run.settings, log = run.log, group = group.name,
    agent = self.agent, sandbox = { id = self.id, cwd = self.cwd, env = base },
    shell = self.place.shell or "/bin/sh",
  }
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
    if err then errors.raise("transport", ("cannot write %s in %s: %s"):format(path, self.id, tostring(err))) end
  end
  function ctx.tmpdir()
    if not self.folder then
      local path, err = task.await(function(resume) self.agent:mkdtemp("runner-", resume) end)
      if not path then
        errors.raise("transport", ("no temporary folder in %s: %s"):format(self.id, tostring(err)))
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
    entry = { ready = task.event() }
    self.sessions[group.name] = entry
    local ok, session = pcall(group.framework.plugin.session, group.framework.options, self:context(group))
    if ok then entry.session = session else entry.error = session end
    entry.ready:set()
  else
    entry.ready:wait()
  end
  if entry.error then error(entry.error, 0) end
  return entry.session
end

--- Closes sessions, agent and place. Awaits; bounded; never raises.
---@async
function Sandbox:close()
  if self.closing then return end
  self.closing = true
  task.shield(function()
    local _, err = task.deadline(CLOSE_TIMEOUT_S, function()
      for _, entry in pairs(self.sessions) do
        if entry.session and not self.lost then pcall(entry.session.close, entry.session) end
      end
      if not self.lost then
        task.await(function(resume)
          self.agent:close(resume)
        end)
      end
      if self.place.close then self.place.close() end
    end)
    if err then self.run.log("warning", "%s: closing: %s", self.id, tostring(err)) end
  end)
end

--- Ends everything in the sandbox at once, without grace.
function Sandbox:kill()
  if not self.lost then self.agent:close() end
end

return M
