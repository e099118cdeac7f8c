--- What is expected before a run, from the history: how long each test takes, and when it takes too long; what
--- hand-outs and sandboxes cost. Runs and plans reckon with the same.

local M = {}

--- A test that takes this much longer than nearly always is a straggler: part of its P95, and at least so many seconds.
local OVERDUE, OVERDUE_S = 1.5, 1

--- Seconds until a sandbox is ready, where the history does not know.
local START_S = { ["local"] = 0.05, docker = 1, ssh = 1 }
local START_OTHER_S = 10

--- Sets `cost` and, unless all of them run on this machine, `straggles` of tests, in seconds, where the history knows
--- anything of them. A cost that the framework declared stands where the history knows nothing.
---@param tests table[]
---@param history runner.History?
---@param settings runner.Config
function M.annotate(tests, history, settings)
  if not history then return end
  local estimates, any = {}, false
  for i, test in ipairs(tests) do
    local seconds, known = history:estimate(test)
    any = any or known
    estimates[i] = (known or not test.cost) and seconds or test.cost
  end
  if not any then return end
  local has_copies = false -- copies never run here
  for _, provider in ipairs(settings.providers) do has_copies = has_copies or provider.name ~= "local" end
  for i, test in ipairs(tests) do
    test.cost = estimates[i]
    local p95 = has_copies and history:p95(test)
    test.straggles = p95 and math.max(p95 * OVERDUE, p95 + OVERDUE_S) or nil
  end
end

--- What the queue has to know of the groups.
---@param settings runner.Config
---@param history runner.History?
---@return table<string, runner.GroupPolicy>
function M.policies(settings, history)
  local replays = settings.selection ~= nil and settings.selection.replay ~= nil
  local policies = {}
  for _, group in ipairs(settings.groups) do
    policies[group.name] = {
      individual = group.individual or replays, order = group.individual and 0 or 1, only_on = group.providers,
      max_parallel = group.max_parallel, weight = group.weight, exclusive = group.exclusive, priority = group.priority,
      fixed_cost = history and history:cost("batch", group.framework.name, group.name) or nil,
    }
  end
  return policies
end

--- Seconds until a sandbox is ready.
---@param provider string its name
---@param history runner.History?
---@return number
function M.start(provider, history)
  return history and history:cost("sandbox", provider) or START_S[provider] or START_OTHER_S
end

return M
