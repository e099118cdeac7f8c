--- Predictions as text.

local duration = require("runner.base.duration")
local text = require("runner.base.text")

local M = {}

local BAR = 40

local function time(seconds)
  return duration.format(seconds < 1 and math.floor(seconds * 1000 + 0.5) / 1000 or math.floor(seconds * 10 + 0.5) / 10)
end

local function money(amount)
  return amount and ("$%.2f"):format(amount) or ""
end

--- A table of predictions with a plot of their times.
---@param write fun(...: string)
---@param predictions runner.Prediction[]
function M.table(write, predictions)
  local longest, priced = 0, false
  for _, one in ipairs(predictions) do
    longest, priced = math.max(longest, one.wall), priced or one.cost ~= nil
  end
  write(("%9s %10s %10s %8s%s\n"):format("parallel", "sandboxes", "wall time", "in use", priced and "     cost" or ""))
  for _, one in ipairs(predictions) do
    local used = one.wall > 0 and one.work / (one.wall * one.parallel) or 0
    write(("%9d %10d %10s %7.0f%%%s  %s\n"):format(one.parallel, one.sandboxes, time(one.wall), math.min(1, used) * 100,
      priced and ("%9s"):format(money(one.cost)) or "",
      ("█"):rep(longest > 0 and math.max(1, math.floor(one.wall / longest * BAR + 0.5)) or 0)))
  end
end

--- One prediction in words.
---@param write fun(...: string)
---@param one runner.Prediction
---@param provider string
function M.summary(write, one, provider)
  write(("%d at once on %d sandbox%s of %s: %s%s\n"):format(one.parallel, one.sandboxes,
    one.sandboxes == 1 and "" or "es", provider, time(one.wall), one.cost and ", " .. money(one.cost) or ""))
end

--- What the time of the run consists of, and the tests that hold it back.
---@param write fun(...: string)
---@param one runner.Prediction
---@param path table[] of plan.critical_path
---@param tests runner.SimulatedTest[]
function M.critical(write, one, path, tests)
  if #path == 0 then return end
  write(("\nCritical path: %s until the slot is ready"):format(time(path[1].started)))
  write((", then %d test%s one after the other:\n"):format(#path, #path == 1 and "" or "s"))
  for i = 1, math.min(5, #path) do
    write(("  %8s  %s\n"):format(time(path[i].ended - path[i].started), text.escape(path[i].id)))
  end
  if #path > 5 then write(("            and %d more\n"):format(#path - 5)) end
  local slowest = table.move(tests, 1, #tests, 1, {})
  table.sort(slowest, function(a, b)
    if a.duration ~= b.duration then return a.duration > b.duration end
    return a.id < b.id
  end)
  write("\nTests that hold it back:\n")
  for i = 1, math.min(10, #slowest) do
    local part = one.wall > 0 and slowest[i].duration / one.wall or 0
    write(("  %8s  %4.1f%% of the run  %s\n"):format(time(slowest[i].duration), part * 100, text.escape(slowest[i].id)))
  end
end

--- How much is expected, and how much of that is known.
---@param write fun(...: string)
---@param tests runner.SimulatedTest[]
---@param known integer
function M.work(write, tests, known)
  local sum = 0
  for _, test in ipairs(tests) do sum = sum + test.duration end
  write(("%d test%s, %s of work"):format(#tests, #tests == 1 and "" or "s", time(sum)))
  if known < #tests then write((" (%d never ran: guessed)"):format(#tests - known)) end
  write("\n")
end

return M
