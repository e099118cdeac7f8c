--- A recorded run as input of the simulation: its tests with the times they took, its sandboxes with the times they
--- needed to start.

local errors = require("runner.errors")
local event_log = require("runner.event_log")
local format = require("runner.history.format")
local results_dir = require("runner.report.results_dir")

local M = {}

---@class runner.Recording
---@field tests runner.SimulatedTest[] cost = duration; `fails` as recorded
---@field parallel integer slots
---@field sandboxes integer
---@field start number seconds until a sandbox was ready, the median
---@field wall number seconds from the first sandbox's start to the last test's end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2] or 0
end

local FAILED = require("runner.retry").FAILURE

--- Reads an event log. Raises an error of kind "usage".
---@param path string the log, or the results folder with it
---@return runner.Recording
function M.read(path)
  local events, message = event_log.read(results_dir.log(path))
  if not events then errors.raise("usage", ("cannot read %s: %s"):format(path, message)) end
  local tests, by_id, starting, starts, slots, sandboxes = {}, {}, {}, {}, 0, 0
  local first, last
  for event in events do
    local name, id, at = event.event, event.id, tonumber(event.time)
    if name == "test" and id and not by_id[id] then
      by_id[id] = { id = id, group = event.group, file = event.file, fails = 0 }
      tests[#tests + 1] = by_id[id]
    elseif name == "attempt_finished" and by_id[id] and format.is_duration(event.duration) then
      local test = by_id[id]
      test.duration, last = event.duration, at
      if FAILED[event.status] and event.retry then test.fails = test.fails + 1 end
    elseif name == "sandbox_started" and event.sandbox then
      starting[event.sandbox], first = at, first or at
    elseif name == "sandbox_ready" and event.sandbox then
      sandboxes, slots = sandboxes + 1, slots + (math.tointeger(event.slots) or 1)
      if starting[event.sandbox] and at then starts[#starts + 1] = math.max(0, at - starting[event.sandbox]) end
    end
  end
  local ran = {}
  for _, test in ipairs(tests) do
    if test.duration then
      test.cost = test.duration
      ran[#ran + 1] = test
    end
  end
  if #ran == 0 then errors.raise("usage", ("%s: no test has ended in this run"):format(path)) end
  return {
    tests = ran, parallel = math.max(1, slots), sandboxes = math.max(1, sandboxes), start = median(starts),
    wall = first and last and math.max(0, last - first) or 0, -- clocks jump
  }
end

return M
