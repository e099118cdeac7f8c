--- What is forgotten. A test that is gone keeps nothing: a run that sees every test of its group and not this one is
--- what tells, for others say nothing of it (a part of the tests, another branch). Pure.

local format = require("runner.history.format")

local M = {}

local DAY_S = 86400
local GONE_DAYS = 90 -- unseen, and a whole run of its group was without it
local WHOLE_RUNS = 30 -- so many were without it, at any time
local LOST_DAYS = 365 -- nothing tells of its group any more

local LAST = '^"s":[^,]*,"p95":[^,]*,"last":%["(%w+)","'

--- The run that last saw a test.
---@param line string
---@param key string
---@return string?
local function seen_in(line, key)
  return line:match(LAST, 9 + #key + 1)
end

---@class runner.history.ExpireRules
---@field days integer?
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
  local removed, now = 0, format.time_of(newest)
  local function is_gone(key, seen)
    local runs, days = whole[format.parts(key)[1]] or {}, (now - format.time_of(seen)) / DAY_S
    local without = runs[rules.whole_runs or WHOLE_RUNS]
    return days > LOST_DAYS or without and seen < without
      or days > (rules.days or GONE_DAYS) and runs[1] and seen < runs[1]
  end
  for key, line in pairs(index.tests) do
    local seen = seen_in(line, key)
    if seen and format.time_of(seen) and seen < newest and is_gone(key, seen) then
      index.tests[key], removed = nil, removed + 1
    end
  end
  for key, line in pairs(index.costs) do
    local seen = format.time_of(line:match('"([%w.]+)",[%d%.e+-]+%]}$'))
    if seen and (now - seen) / DAY_S > (rules.days or GONE_DAYS) then
      index.costs[key] = nil
    end
  end
  return removed
end

return M
