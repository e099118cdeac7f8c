--- Two histories that grew from one: what git asks for when branches meet, and what lines of one test that stand in one
--- file become. Samples are united and the newest kept; what one side removed and the other did not touch is removed.
--- Pure.

local estimate = require("runner.history.estimate")
local format = require("runner.history.format")

local M = {}

--- The latest of the samples that either side has. A run may have several samples of one value.
---@param ours any[]? run, seconds, …
---@param theirs any[]?
---@param limit integer
---@return any[]?
function M.samples(ours, theirs, limit)
  if not ours or not theirs then return ours or theirs end
  local all, left = {}, {}
  for i = 1, #ours, 2 do
    local name = ours[i] .. "=" .. ours[i + 1]
    left[name] = (left[name] or 0) + 1
    all[#all + 1] = { ours[i], ours[i + 1] }
  end
  for i = 1, #theirs, 2 do
    local name = theirs[i] .. "=" .. theirs[i + 1]
    if (left[name] or 0) > 0 then left[name] = left[name] - 1 else all[#all + 1] = { theirs[i], theirs[i + 1] } end
  end
  table.sort(all, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  local merged = {}
  for i = math.max(1, #all - limit + 1), #all do
    merged[#merged + 1], merged[#merged + 2] = all[i][1], all[i][2]
  end
  return merged
end

local function keys(ours, theirs, limit)
  local seen, all = {}, {}
  for _, list in ipairs({ ours, theirs }) do
    for _, key in ipairs(list) do
      if not seen[key] then all[#all + 1] = key end
      seen[key] = true
    end
  end
  table.sort(all)
  return table.move(all, math.max(1, #all - limit + 1), #all, 1, {})
end

--- What each side counted since the base, on top of what the base had.
local function count(base, ours, theirs)
  return math.max(ours, theirs, ours + theirs - base)
end

---@param base runner.history.Test? nil: they have none in common
---@param ours runner.history.Test
---@param theirs runner.history.Test
---@param limit integer samples of each outcome
---@param speeds table<string, number>
---@return runner.history.Test
function M.test(base, ours, theirs, limit, speeds)
  local newer = theirs.last[1] > ours.last[1] and theirs or ours
  local n, seen = {}, { 0, 0 }
  local test = {
    s = newer.s, p95 = newer.p95, last = newer.last, file = newer.file, n = n, samples = {},
    flaky = keys(ours.flaky, theirs.flaky, limit),
  }
  for _, outcome in ipairs(format.OUTCOMES) do
    local most = outcome == "skipped" and 1 or limit
    local samples = M.samples(ours.samples[outcome], theirs.samples[outcome], most)
    local which = outcome == "passed" and 1 or outcome ~= "skipped" and 2
    if which and samples then seen[which] = seen[which] + #samples // 2 end
    test.samples[outcome] = samples
  end
  for i = 1, 2 do
    -- Without a base it is unknown which runs both have counted: no fewer than can be seen.
    local common = base and base.n[i] or math.min(ours.n[i], theirs.n[i])
    n[i] = math.max(count(common, ours.n[i], theirs.n[i]), seen[i])
  end
  estimate.enter(test, speeds)
  return test
end

---@param ours runner.history.Cost
---@param theirs runner.history.Cost
---@param limit integer
---@return runner.history.Cost
function M.cost(ours, theirs, limit)
  local samples = M.samples(ours.samples, theirs.samples, limit)
  return { s = estimate.of_cost(samples), samples = samples }
end

--- One line of three. A line that cannot be read is no reason to lose the other.
---@param base string? line; nil: there was none
---@param ours string?
---@param theirs string?
---@param unite fun(base: string?, ours: string, theirs: string): string
---@return string? line nil: none is left
function M.line(base, ours, theirs, unite)
  if ours == theirs or theirs == base then return ours end
  if ours == base then return theirs end
  if not ours or not theirs then return ours or theirs end
  return unite(base, ours, theirs)
end

--- How lines of a test are united.
---@param limit integer
---@param speeds table<string, number>
---@return fun(base: string?, ours: string, theirs: string): string
function M.tests(limit, speeds)
  return function(base, ours, theirs)
    local a, key = format.read_test(ours)
    local b = format.read_test(theirs)
    if not a or not b then return a and ours or theirs end
    return format.test(key, M.test(base and format.read_test(base), a, b, limit, speeds))
  end
end

---@param limit integer
---@return fun(base: string?, ours: string, theirs: string): string
function M.costs(limit)
  return function(_, ours, theirs)
    local a, key = format.read_cost(ours)
    local b = format.read_cost(theirs)
    if not a or not b then return a and ours or theirs end
    return format.cost(key, M.cost(a, b, limit))
  end
end

return M
