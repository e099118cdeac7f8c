--- Which tests there are and which of them run: asks each group's session, settles who owns a test, applies the names
--- given on the command line and the order.

local task = require("runner.task")

local M = {}

--- Finds the tests of all groups at once, in one sandbox.
---@param sandbox runner.Sandbox
---@param groups table[] in order
---@param warn fun(message: string)
---@return table[] tests with unique `id` and `group` set
---@return table[] problems what could not be collected
---@async
function M.collect(sandbox, groups, warn)
  local found = {}
  task.scope(function(scope)
    for i, group in ipairs(groups) do
      scope:spawn(function()
        local tests, problems = sandbox:session(group):discover()
        found[i] = { tests = tests, problems = problems or {} }
      end)
    end
  end)
  task.checkpoint() -- cancelled: not all were asked

  local tests, problems, owner, taken = {}, {}, {}, {}
  for i, group in ipairs(groups) do
    local overlap = 0
    for _, test in ipairs(found[i].tests) do
      local key = group.framework.name .. "\0" .. test.id
      if owner[key] then
        overlap = overlap + 1
      else
        owner[key] = group.name
        -- Two frameworks may use one name for two tests.
        if taken[test.id] then test.id = group.name .. ":" .. test.id end
        taken[test.id] = true
        test.group = group.name
        tests[#tests + 1] = test
      end
    end
    if overlap > 0 then
      warn(("%d tests of group %s belong to an earlier group already and run there"):format(overlap, group.name))
    end
    for _, problem in ipairs(found[i].problems) do
      problem.group = group.name
      problems[#problems + 1] = problem
    end
  end
  return tests, problems
end

local function matches_any(id, substrings)
  for _, substring in ipairs(substrings) do
    if id:find(substring, 1, true) then return true end
  end
  return #substrings == 0
end

--- Fisher–Yates with a generator of our own (SplitMix64), so that a seed means the same order on every machine.
local function shuffle(list, seed)
  local state = seed
  local function next_random(n)
    state = state + 0x9E3779B97F4A7C15
    local z = state
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    return ((z ~ (z >> 31)) >> 1) % n + 1
  end
  for i = #list, 2, -1 do
    local j = next_random(i)
    list[i], list[j] = list[j], list[i]
  end
end

--- The tests to run, in order.
---@param tests table[]
---@param options { names: string[]?, groups: table<string, table>, seed: integer?, order: function? }
---@return table[] selected
function M.select(tests, options)
  local names, selected = options.names or {}, {}
  for _, test in ipairs(tests) do
    local filters = options.groups[test.group].filters or {}
    if matches_any(test.id, names) and matches_any(test.id, filters) then selected[#selected + 1] = test end
  end
  if options.seed then shuffle(selected, options.seed) end
  if options.order then selected = M.reorder(selected, options.order) end
  return selected
end

--- Applies the user's `order` hook. It may reorder and drop tests, not invent or repeat them.
function M.reorder(tests, hook)
  local ordered = hook(table.move(tests, 1, #tests, 1, {}))
  if type(ordered) ~= "table" then error("the order hook must return the list of tests", 0) end
  local known, seen = {}, {}
  for _, test in ipairs(tests) do known[test] = true end
  for _, test in ipairs(ordered) do
    if not known[test] or seen[test] then
      error("the order hook returned a test twice or one that it was not given", 0)
    end
    seen[test] = true
  end
  return ordered
end

return M
