--- What is expected of each test before it runs, from the history: how long it takes, and when it takes too long.

local M = {}

--- A test that takes this much longer than nearly always is a straggler: part of its P95, and at least so many seconds.
local OVERDUE, OVERDUE_S = 1.5, 1

--- Sets `cost` and `straggles` of tests, in seconds, where the history knows anything of them. A cost that the
--- framework declared stands where the history knows nothing.
---@param tests table[]
---@param history runner.History?
function M.annotate(tests, history)
  if not history then return end
  local estimates, any = {}, false
  for i, test in ipairs(tests) do
    local seconds, known = history:estimate(test)
    any = any or known
    estimates[i] = (known or not test.cost) and seconds or test.cost
  end
  if not any then return end
  for i, test in ipairs(tests) do
    test.cost = estimates[i]
    local p95 = history:p95(test)
    test.straggles = p95 and math.max(p95 * OVERDUE, p95 + OVERDUE_S)
  end
end

--- Seconds that each hand-out of a group costs on top of its tests.
---@param group runner.Group
---@param history runner.History?
---@return number?
function M.fixed_cost(group, history)
  return history and history:cost("batch", group.framework.name, group.name)
end

return M
