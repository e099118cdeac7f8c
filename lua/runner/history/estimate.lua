--- What a test will take, from what it took. Pure.
---
--- Robust: a quantile, not a mean, so that one hanging run means nothing. The 60th percentile, because times vary
--- about log-normally: at a spread (sigma) of 0.5 the mean lies there, and sums over many tests come out right. Newer
--- samples weigh more: by rank, so that a test that became slower is known after a few runs however many there are a
--- day, and by age, so that what last ran half a year ago says little beside yesterday. Weights count only against each
--- other: an estimate stays right while time passes without a run, so it is kept in the file.

local format = require("runner.history.format")

local M = {}

local QUANTILE = 0.6
local RANK = 0.85 -- weight of each sample against the next newer one
local HALF_LIFE_S = 30 * 86400

--- Sorts values, few of them, and their weights with them, by insertion.
local function sort(values, weights)
  for i = 2, #values do
    local value, weight, at = values[i], weights[i], i
    while at > 1 and values[at - 1] > value do
      values[at], weights[at] = values[at - 1], weights[at - 1]
      at = at - 1
    end
    values[at], weights[at] = value, weight
  end
end

--- The smallest of the sorted values below or at which lies this part of the weight.
local function quantile(values, weights, total, q)
  local sum = 0
  for i = 1, #values do
    sum = sum + weights[i]
    if sum >= q * total - 1e-12 then return values[i] end
  end
  return values[#values]
end

---@param values number[]
---@return number?
function M.median(values)
  if #values == 0 then return nil end
  table.sort(values)
  return values[(#values + 1) // 2]
end

--- The samples of several lists as one, newest first.
local function merge(lists)
  local all = {}
  for _, list in ipairs(lists) do
    for i = #list - 1, 1, -2 do all[#all + 1] = { list[i], list[i + 1], #all } end
  end
  table.sort(all, function(a, b)
    if a[1] ~= b[1] then return a[1] > b[1] end
    return a[3] < b[3]
  end)
  local merged = {}
  for i = #all, 1, -1 do
    merged[#merged + 1], merged[#merged + 2] = all[i][1], all[i][2]
  end
  return merged
end

local ages = { newest = nil } -- weights by run, as long as the newest of them is the same

local function weight_by_age(token, newest)
  if ages.newest ~= newest then ages = { newest = newest } end
  local weight = ages[token]
  if not weight then
    weight = 0.5 ^ (math.max(0, format.time_of(newest) - format.time_of(token)) / HALF_LIFE_S)
    ages[token] = weight
  end
  return weight
end

--- The values of samples, sorted, their weights, and the sum of these.
---@param lists any[][] run, seconds, …, oldest first
---@param speeds table<string, number> of runs and places that are not as fast as the reference
---@return number[] values
---@return number[] weights
---@return number total
local function weigh(lists, speeds)
  local list = #lists == 1 and lists[1] or merge(lists)
  local values, weights, newest, by_rank, total = {}, {}, list[#list - 1], 1, 0
  for i = #list - 1, 1, -2 do
    local token, n = list[i], #values + 1
    local weight = weight_by_age(token, newest) * by_rank
    values[n], weights[n] = list[i + 1] / (speeds[token] or 1), weight
    by_rank, total = by_rank * RANK, total + weight
  end
  sort(values, weights)
  return values, weights, total
end

--- A test that was stopped at its limit would have taken longer: no less than when it is not stopped.
local function at_least(list, seconds)
  local out = {}
  for i = 1, #list, 2 do
    out[i], out[i + 1] = list[i], math.max(list[i + 1], seconds)
  end
  return out
end

local function quantiles(lists, speeds)
  local values, weights, total = weigh(lists, speeds)
  return quantile(values, weights, total, QUANTILE), quantile(values, weights, total, 0.95)
end

local function expected(test, speeds)
  local samples, lists = test.samples, {}
  for _, outcome in ipairs({ "passed", "failed", "crashed" }) do lists[#lists + 1] = samples[outcome] end
  local s, p95
  if #lists > 0 then
    s, p95 = quantiles(lists, speeds)
  end
  if samples.timed_out then
    lists[#lists + 1] = at_least(samples.timed_out, s or 0)
    s, p95 = quantiles(lists, speeds)
  end
  if samples.skipped and (not s or test.last[2] == "skipped") then s = samples.skipped[#samples.skipped] end
  return s, p95 or s
end

--- Enters what the samples of a test say of its next attempt; leaves what is there when it has none.
---@param test runner.history.Test
---@param speeds table<string, number> of runs and places that are not as fast as the reference
function M.enter(test, speeds)
  local s, p95 = expected(test, speeds)
  if s then test.s, test.p95 = M.bounded(s), M.bounded(math.max(s, p95)) end
end

--- Seconds as the file may hold them.
---@param seconds number
---@return number
function M.bounded(seconds)
  return format.round(math.min(seconds, format.LONGEST_S))
end

---@param samples any[] run, seconds, …
---@return number
function M.of_cost(samples)
  local values, weights, total = weigh({ samples }, {})
  return M.bounded(quantile(values, weights, total, QUANTILE))
end

return M
