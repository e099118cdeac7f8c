--- Which of the tests that were found run, and in which order: names, filter expressions, the shard, the seed, the
--- configuration's `order`.

local errors = require("runner.base.errors")
local expression = require("runner.select.expression")

local M = {}

---@class runner.Selection what the command line asks for
---@field names string[]? parts of ids, or whole ones
---@field expressions runner.Expression[]? a test has to match one of them
---@field rerun boolean? only what did not pass in the last run
---@field shard runner.Shard?
---@field replay table<string, integer>? places of the tests in the order of an earlier run

--- Names as the command line has them: the whole id of a test means that test, not those whose ids hold it, too.
local function exact(tests, names)
  local ids, found = {}, {}
  for _, test in ipairs(tests) do ids[test.id] = true end
  for _, name in ipairs(names) do found[name] = ids[name] end
  return found
end

local function is_named(id, names, whole)
  for _, name in ipairs(names) do
    if whole[name] and id == name or not whole[name] and id:find(name, 1, true) then return true end
  end
  return #names == 0
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

--- Applies the user's `order` hook. It may reorder and drop tests, not invent or repeat them.
function M.reorder(tests, hook)
  local function wrong(message) errors.raise("config", "order: " .. message) end
  local ok, ordered = pcall(hook, table.move(tests, 1, #tests, 1, {}))
  if not ok then wrong("it failed: " .. tostring(ordered)) end
  if type(ordered) ~= "table" then wrong("it must return the list of tests, not a " .. type(ordered)) end
  local known, seen, left = {}, {}, 0
  for _, test in ipairs(tests) do known[test] = true end
  for _, test in ipairs(ordered) do
    if not known[test] or seen[test] then wrong("it returned a test twice, or something that is no test") end
    seen[test] = true
  end
  for _, test in pairs(ordered) do left = left + (seen[test] and 0 or 1) end
  if left > 0 then wrong("it returned a list with a hole, or more than a list") end
  return ordered
end

--- The tests to run, in order.
---@param tests table[]
---@param options { selection: runner.Selection?, context: runner.ExpressionContext?, groups: table<string, table>,
---  seed: integer?, order: function?, cost: (fun(test: table): number)? }
---@return table[] selected
---@return integer whole how many they are in all shards
---@return integer failed of all tests: with `rerun`, those that did not pass in the last run
---@async
function M.apply(tests, options)
  local selection, selected = options.selection or {}, {}
  local names, wanted = selection.names or {}, {}
  for i, one in ipairs(selection.expressions or {}) do wanted[i] = expression.compile(one, options.context) end
  local failed, whole_ids = 0, exact(tests, names)
  local rerun = selection.rerun and expression.compile(expression.parse("failed(latest)"), options.context)
  local function is_wanted(test)
    for _, matches in ipairs(wanted) do
      if matches(test) then return true end
    end
    return #wanted == 0
  end
  for _, test in ipairs(tests) do
    local filters = options.groups[test.group].filters or {}
    local is_rerun = not rerun or rerun(test)
    if is_rerun then failed = failed + 1 end
    if is_rerun and is_named(test.id, names, whole_ids) and matches_any(test.id, filters) and is_wanted(test) then
      selected[#selected + 1] = test
    end
  end
  local whole = #selected
  if selection.shard then
    selected = require("runner.select.shard").select(selected, selection.shard, options.cost or function() return 1 end)
  end
  if selection.replay then require("runner.select.replay").sort(selected, selection.replay) end
  if options.seed then shuffle(selected, options.seed) end
  if options.order then selected = M.reorder(selected, options.order) end
  return selected, whole, failed
end

--- Does any part of the selection need the results of earlier runs?
---@param selection runner.Selection
---@return boolean
function M.uses_past(selection)
  if selection.rerun then return true end
  for _, one in ipairs(selection.expressions or {}) do
    if one.uses_past then return true end
  end
  return false
end

return M
