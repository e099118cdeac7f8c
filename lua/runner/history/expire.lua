--- What is forgotten. A test that is gone keeps nothing: a run that sees every test of its group and not this one is
--- what tells, for others say nothing of it (a part of the tests, another branch). Pure.

local format = require("runner.history.format")

local M = {}

local DAY_S = 86400.0
local GONE_DAYS = 90 -- unseen, and a whole run of its group was without it
local WHOLE_RUNS = 30 -- so many were without it, at any time
local LOST_DAYS = 365 -- nothing tells of its group any more
local PAUSE_DAYS = 30 -- a longer time without a run counts as so much: nobody worked, or a clock has jumped

--- How old something is in days, pauses shortened, by the run that last saw it.
---@param keys string[] of runs, sorted
---@return fun(seen: string): number
local function ages(keys)
  local days, at, known = {}, {}, {}
  for i = #keys, 1, -1 do
    at[i] = format.time_of(keys[i])
    days[i] = i == #keys and 0 or days[i + 1] + math.min((at[i + 1] - at[i]) / DAY_S, PAUSE_DAYS)
  end
  return function(seen)
    if known[seen] then return known[seen] end
    local low, high = 1, #keys -- the first run that is no older
    while low < high do
      local middle = (low + high) // 2
      if keys[middle] >= seen then high = middle else low = middle + 1 end
    end
    local gap = math.max(0, (at[low] - format.time_of(seen)) / DAY_S)
    -- Before the first run that is described there were others.
    known[seen] = days[low] + (low > 1 and math.min(gap, PAUSE_DAYS) or gap)
    return known[seen]
  end
end

---@class runner.history.ExpireRules
---@field days integer? also what was not seen for so many days of the calendar
---@field whole_runs integer?

--- Removes what is expired, and nothing else. Age is counted from the newest run: nothing is forgotten because nobody
--- worked for a while.
---@param index runner.history.Index
---@param rules runner.history.ExpireRules? default: what every recorded run applies
---@return integer removed
function M.apply(index, rules)
  rules = rules or {}
  local newest = index.run_keys[#index.run_keys]
  if not newest then return 0 end
  local whole = {} -- by group: the runs that saw all of it, newest first
  for i = #index.run_keys, 1, -1 do
    for _, group in ipairs(index.runs[index.run_keys[i]].whole) do
      whole[group] = whole[group] or {}
      table.insert(whole[group], index.run_keys[i])
    end
  end
  local removed, age_of, last_day = 0, ages(index.run_keys), nil
  if rules.days then last_day = format.time_of(newest) - rules.days * DAY_S end
  local function is_gone(key, seen)
    local runs = whole[format.parts(key)[1]] or {}
    local without, days = runs[rules.whole_runs or WHOLE_RUNS], age_of(seen)
    return days > LOST_DAYS or last_day and format.time_of(seen) < last_day or without and seen < without
      or days > GONE_DAYS and runs[1] and seen < runs[1]
  end
  for key, line in pairs(index.tests) do
    local _, _, seen = format.head(line, key)
    if seen and format.time_of(seen) and seen < newest and is_gone(key, seen) then
      index.tests[key], removed = nil, removed + 1
    end
  end
  for key, line in pairs(index.costs) do
    local seen = format.last_of_cost(line)
    local time = format.time_of(seen)
    if time and (age_of(seen) > GONE_DAYS or last_day and time < last_day) then index.costs[key] = nil end
  end
  return removed
end

return M
