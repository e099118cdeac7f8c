--- What a run would take, without doing it: the real queue under virtual time (runner.simulate.model), fed with what
--- the history expects of each test.

local model = require("runner.simulate.model")

local M = {}

---@class runner.PlanPool how sandboxes of a configuration look to the simulation
---@field name string of the provider
---@field slots integer? of each sandbox; nil: one sandbox that has them all, as this machine is
---@field most integer? sandboxes that there are
---@field start number seconds until one is ready
---@field price number? per sandbox and hour
---@field fixed_cost number seconds that each hand-out costs
---@field policies table<string, runner.GroupPolicy>

---@class runner.Prediction
---@field parallel integer slots
---@field sandboxes integer
---@field wall number seconds
---@field work number seconds of tests
---@field cost number?
---@field run runner.SimulatedRun

--- Seconds until a sandbox is ready, where the history does not know.
local START_S = { ["local"] = 0.05, docker = 1, ssh = 1 }
local START_OTHER_S = 10
local LOCAL_FIXED_S = 0.001

--- The pool of a configuration. Mixed pools are taken for one of their first provider.
---@param settings runner.Config
---@param history runner.History?
---@return runner.PlanPool
function M.pool(settings, history)
  local provider = settings.providers[1]
  local plugin, options = provider.plugin, provider.options
  local pool = { name = provider.name, price = options.price, policies = {} }
  if plugin.sandboxes then
    local targets = plugin.sandboxes(options, settings)
    pool.most, pool.slots = #targets, math.tointeger(targets[1] and targets[1].slots) or 1
  elseif provider.name ~= "local" then
    pool.slots = plugin.slots and plugin.slots(options, settings) or 1
  end
  pool.start = history and history:cost("sandbox", provider.name) or START_S[provider.name] or START_OTHER_S
  pool.fixed_cost = LOCAL_FIXED_S
  for _, group in ipairs(settings.groups) do
    local fixed = history and history:cost("batch", group.framework.name, group.name)
    pool.fixed_cost = math.max(pool.fixed_cost, fixed or 0)
    pool.policies[group.name] = {
      individual = group.individual, max_parallel = group.max_parallel, weight = group.weight,
      exclusive = group.exclusive, priority = group.priority, fixed_cost = fixed,
    }
  end
  return pool
end

--- The tests as the simulation takes them, durations as expected.
---@param tests table[] with `cost`
---@param policy_of (fun(test: table): table)?
---@return runner.SimulatedTest[]
function M.tests(tests, policy_of)
  local list = {}
  for i, test in ipairs(tests) do
    local policy = policy_of and policy_of(test) or {}
    list[i] = {
      id = test.id, group = test.group, file = test.file, duration = test.cost or 1, cost = test.cost,
      weight = policy.weight, exclusive = policy.exclusive, priority = policy.priority,
    }
  end
  return list
end

--- Predicts a run.
---@param tests runner.SimulatedTest[] its tables are written to
---@param pool runner.PlanPool
---@param parallel integer slots
---@param options { retries: integer?, keep: boolean? }?
---@return runner.Prediction
function M.predict(tests, pool, parallel, options)
  local worth = 0 -- slots beyond that stay idle
  for _, test in ipairs(tests) do worth = worth + (test.weight or 1) end
  local slots = math.min(pool.slots or parallel, math.max(1, worth))
  local most = pool.slots and math.min(pool.most or math.huge, #tests) or 1
  local sandboxes = math.max(1, math.min(math.ceil(parallel / slots), most))
  if #tests == 0 then
    local nothing = { last = {}, slots = {} }
    return { parallel = parallel, sandboxes = 0, wall = 0, work = 0, cost = pool.price and 0, run = nothing }
  end
  local run = model.run(tests, {
    sandboxes = sandboxes, slots = math.min(slots, parallel), start = pool.start, fixed_cost = pool.fixed_cost,
  }, { retries = options and options.retries, keep = options and options.keep, policies = pool.policies })
  return {
    parallel = parallel, sandboxes = sandboxes, wall = run.makespan, work = run.busy, run = run,
    cost = pool.price and run.sandbox_seconds / 3600 * pool.price,
  }
end

--- Least number from `low` to `high` for which `fits`, which holds from some number on; nil: for none.
local function least(low, high, fits)
  if not fits(high) then return nil end
  while low < high do
    local middle = (low + high) // 2
    if fits(middle) then high = middle else low = middle + 1 end
  end
  return low
end

--- The fewest slots with which the run ends in time; nil: no number does.
---@return runner.Prediction?
function M.for_deadline(tests, pool, seconds)
  local most = math.max(1, math.min(#tests, pool.most and pool.most * pool.slots or #tests))
  local parallel = least(1, most, function(n) return M.predict(tests, pool, n).wall <= seconds end)
  return parallel and M.predict(tests, pool, parallel)
end

--- The most slots that cost no more than a budget; nil: one is too dear already.
---@return runner.Prediction?
function M.for_budget(tests, pool, budget)
  local most = math.max(1, math.min(#tests, pool.most and pool.most * pool.slots or #tests))
  if M.predict(tests, pool, 1).cost > budget then return nil end
  local dear = least(1, most, function(n) return M.predict(tests, pool, n).cost > budget end)
  return M.predict(tests, pool, dear and math.max(1, dear - 1) or most)
end

--- The tests of the slot that ends last: what the run's time consists of.
---@param run runner.SimulatedRun with `slots`
---@return table[] executions in order
function M.critical_path(run)
  local last
  for _, one in ipairs(run.slots) do
    if not last or one.ended > last.ended then last = one end
  end
  local path = {}
  for _, one in ipairs(run.slots) do
    if last and one.sandbox == last.sandbox and one.slot == last.slot then path[#path + 1] = one end
  end
  table.sort(path, function(a, b) return a.started < b.started end)
  return path
end

return M
