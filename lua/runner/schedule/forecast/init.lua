--- What a run would take, without doing it: the real queue under virtual time (runner.simulate.model), fed with what
--- the history expects of each test.

local model = require("runner.schedule.forecast.model")
local predict = require("runner.schedule.estimates")

local M = {}

---@class runner.PlanPool how sandboxes of a configuration look to the simulation
---@field name string of the provider
---@field slots integer? of each sandbox; nil: one sandbox that has them all, as this machine is
---@field most integer? sandboxes that there are
---@field hosts string[]? those that it consists of
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

local LOCAL_FIXED_S = 0.001

--- The pool of a configuration. Mixed pools are taken for one of their first provider.
---@param settings runner.Config
---@param history runner.History?
---@return runner.PlanPool
function M.pool(settings, history)
  local provider = settings.providers[1]
  local plugin, options = provider.plugin, provider.options
  local pool = {
    name = provider.name, price = options.price, policies = predict.policies(settings, history),
    start = predict.start(provider.name, history), fixed_cost = LOCAL_FIXED_S,
  }
  if plugin.sandboxes then
    local targets = plugin.sandboxes(options, settings)
    pool.most, pool.slots, pool.hosts = #targets, math.tointeger(targets[1] and targets[1].slots) or 1, {}
    for i, target in ipairs(targets) do pool.hosts[i] = target.name end
  elseif provider.name ~= "local" then
    pool.slots = plugin.slots and plugin.slots(options, settings) or 1
  end
  for _, policy in pairs(pool.policies) do
    pool.fixed_cost, policy.only_on = math.max(pool.fixed_cost, policy.fixed_cost or 0), nil
  end
  return pool
end

--- How slow a pool is, as the history knows: the mean of its hosts.
---@param pool runner.PlanPool
---@param history runner.History
---@param host string? where the tests were found
---@return number
function M.speed(pool, history, host)
  if not pool.hosts or #pool.hosts == 0 then return (history:speed(pool.name, host)) end
  local sum = 0
  for _, name in ipairs(pool.hosts) do sum = sum + history:speed(pool.name, name) end
  return sum / #pool.hosts
end

--- The tests as the simulation takes them, durations as expected.
---@param tests table[] with `cost`, on a host of speed 1
---@param speed number how slow those are that run them
---@param policy_of (fun(test: table): table)?
---@return runner.SimulatedTest[]
function M.tests(tests, speed, policy_of)
  local list = {}
  for i, test in ipairs(tests) do
    local policy, cost = policy_of and policy_of(test) or {}, test.cost and test.cost * speed
    list[i] = {
      id = test.id, group = test.group, file = test.file, duration = cost or 1, cost = cost,
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
    local nothing = { slots = {} }
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

--- What the run's time consists of: the test that ends last, what it waited for, and so on, back to a slot that had
--- only just become ready. A test waits for its slot, or for one that ran elsewhere: a mutex, a limit, room.
---@param run runner.SimulatedRun with `slots`
---@param pool runner.PlanPool
---@return table[] executions in order
function M.critical_path(run, pool)
  local all, before, last_of = run.slots, {}, {} -- in the order in which they ended
  for i, one in ipairs(all) do
    local slot = one.sandbox .. "." .. one.slot
    before[i], last_of[slot] = last_of[slot], i
  end
  local longest_gap = pool.fixed_cost + 1e-6

  --- The last execution that had ended when this one started.
  local function ended_before(i)
    local low, high = 0, i - 1
    while low < high do
      local middle = (low + high + 1) // 2
      if all[middle].ended <= all[i].started then low = middle else high = middle - 1 end
    end
    return low > 0 and all[low].ended <= all[i].started and low or nil
  end

  local function cause_of(i)
    local own, other = before[i], ended_before(i)
    local function is_near(j) return j and all[i].started - all[j].ended <= longest_gap end
    if is_near(own) then return own end
    return is_near(other) and other or own
  end

  local path, i = {}, #all > 0 and #all or nil
  while i do
    path[#path + 1], i = all[i], cause_of(i)
  end
  for at = 1, #path // 2 do path[at], path[#path + 1 - at] = path[#path + 1 - at], path[at] end
  return path
end

return M
