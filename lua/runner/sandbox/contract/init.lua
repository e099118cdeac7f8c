--- What every provider promises, as checks that run against a real one: `runner provider test` prints them, and the
--- specs of our own providers are made of them. This is the reference for who writes a provider.
---
--- A check that needs what plain commands lack is "absent" there, which is no failure: frameworks know how to do
--- without.

local checks = require("runner.sandbox.contract.checks")
local errors = require("runner.base.errors")
local provider_setup = require("runner.sandbox.provider_setup")
local sandbox = require("runner.sandbox")
local task = require("runner.base.task")
local uv = require("luv")

local M = {}

local CHECK_TIMEOUT_S = 60

---@class runner.ContractResult
---@field name string
---@field status "holds"|"fails"|"absent"
---@field message string? why it fails or is absent
---@field duration number seconds

---@class runner.ContractWorld what a check may use
---@field provider runner.Bound
local World = {}
World.__index = World

--- The open sandbox; a new one if the last was lost.
---@return runner.Sandbox
---@async
function World:sandbox()
  if self.opened and (self.opened.lost or self.opened.closing) then self:close() end
  self.opened = self.opened or self:own_sandbox()
  return self.opened
end

--- A sandbox for this check alone, which it must close.
---@async
function World:own_sandbox()
  self.count = self.count + 1
  return sandbox.open(self.provider, ("contract-%d"):format(self.count), self.run, function() end, self.target)
end

function World:close()
  local opened = self.opened
  self.opened = nil
  if opened then opened:close() end
end

--- Starts a command: { command, started, exited (events), stdout, stderr, control, wait() → itself and its exit }.
---@param spec runner.SpawnSpec
---@param opened runner.Sandbox? default: the shared one
---@async
function World:start(spec, opened)
  opened = opened or self:sandbox()
  local run = { stdout = {}, stderr = {}, control = {}, started = task.event(), exited = task.event() }
  function run.text(stream) return table.concat(run[stream]) end
  function run.wait() return run, run.exited:wait() end
  --- Waits until the output holds the pattern.
  function run.says(pattern, stream)
    while not run.text(stream or "stdout"):find(pattern) do
      if run.exited:is_set() then
        error(("it ended without saying %s, but: %s"):format(pattern, run.text("stdout") .. run.text("stderr")), 0)
      end
      run.more = task.event()
      run.more:wait()
    end
    return run.text(stream or "stdout"):match(pattern)
  end
  local function said()
    if run.more then run.more:set() end
  end
  spec.on_start = function() run.started:set() end
  spec.on_output = function(_, stream, bytes)
    table.insert(run[stream], bytes)
    said()
  end
  spec.on_exit = function(_, exit)
    if run.exited:is_set() then error("a second exit of one command", 0) end
    run.exited:set(exit)
    said()
  end
  run.command = opened.agent:spawn(spec)
  return run
end

--- `sh -c script` to its end; more of the spec in a table.
---@return string stdout
---@return table exit
---@return string stderr
---@async
function World:sh(script, spec, opened)
  spec = spec or {}
  spec.argv = { "sh", "-c", script, "sh", table.unpack(spec.args or {}) }
  local run, exit = self:start(spec, opened).wait()
  return run.text("stdout"), exit, run.text("stderr")
end

--- Another agent in the place of `opened`.
---@async
function World.attach(_, opened) return sandbox.attach(opened) end

local function new_world(provider, options)
  local settings = {
    dir = options.dir, working_dir = options.dir, path = options.dir .. "/runner.lua", env = {}, copy_dirs = {},
    max_parallel = 2, grace = 1, sync = false, providers = { provider },
  }
  local run = { id = ("contract-%d"):format(uv.os_getpid()), settings = settings, log = options.log }
  run.prepared = provider_setup.new(run)
  local targets = provider.plugin.sandboxes and provider.plugin.sandboxes(provider.options, settings)
  return setmetatable({ provider = provider, run = run, count = 0, target = targets and targets[1] }, World)
end

local function run_check(world, check)
  local started = uv.hrtime()
  local result = { name = check.name, status = "holds" }
  local ok, met, err = pcall(task.deadline, CHECK_TIMEOUT_S, function()
    local opened = world:sandbox()
    if opened.agent.plain and check.needs == "agent" then
      result.status, result.message = "absent", "plain commands only"
    elseif opened.place.stateless and check.needs == "state" then
      result.status, result.message = "absent", "no command finds what another left"
    else
      check.fn(world, opened)
    end
  end)
  if not (ok and met) then
    task.checkpoint()
    result.status, result.message = "fails", tostring(ok and err or met)
  end
  result.duration = (uv.hrtime() - started) / 1e9
  return result
end

--- The checks whose name holds the text; raises an error of kind "usage" where there is none.
local function chosen(only)
  local list, names = {}, {}
  for i, check in ipairs(checks) do
    names[i] = check.name
    if not only or check.name:find(only, 1, true) then list[#list + 1] = check end
  end
  if #list > 0 then return list end
  errors.raise("usage", ("--only: no check has %q in its name"):format(only), {
    hint = "the checks are:\n    " .. table.concat(names, "\n    "),
  })
end

--- Runs the contract. A provider that cannot even open a sandbox has one result, which says so.
---@param provider runner.Bound
---@param options { dir: string, log: fun(level: string, format: string, ...)?, only: string?,
---  on_result: fun(result: runner.ContractResult)? } dir: what relative paths of the options start from
---@return runner.ContractResult[]
---@async
function M.check(provider, options)
  local list = chosen(options.only)
  options.log = options.log or function() end
  local world, results = new_world(provider, options), {}
  local function add(result)
    results[#results + 1] = result
    if options.on_result then options.on_result(result) end
  end
  local ok, err = pcall(function()
    local opening = run_check(world, { name = "a sandbox opens, and answers", fn = checks.opens })
    add(opening)
    if opening.status == "fails" then return end
    for _, check in ipairs(list) do add(run_check(world, check)) end
  end)
  task.shield(function()
    pcall(world.close, world)
    world.run.prepared:finish()
  end)
  if not ok then error(errors.coerce(err, "internal"), 0) end
  return results
end

return M
