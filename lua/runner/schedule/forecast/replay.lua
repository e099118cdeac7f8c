--- A recorded run as input of the simulation: its tests with the times they took, its sandboxes with the times they
--- needed to start.

local errors = require("runner.base.errors")
local event_log = require("runner.results.event_log")
local format = require("runner.history.format")
local folder = require("runner.results.folder")
local outcome = require("runner.base.outcome")

local M = {}

---@class runner.Recording
---@field tests runner.SimulatedTest[] cost = duration; `fails` as recorded
---@field parallel integer slots
---@field sandboxes integer at once
---@field provider string? of the first sandbox
---@field start number seconds until a sandbox was ready, the median
---@field retries integer of the test that was retried most
---@field max_parallel table<string, integer> of groups that have a limit
---@field wall number seconds from the first sandbox's start to the last test's end

local MOST_SLOTS = 1000000 -- of a sandbox; what claims to have more is damaged

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2] or 0
end

--- Attempts that came to their end: how long one took that was cancelled, or lost, says nothing.
local ENDED = { passed = true, skipped = true }
for status in pairs(outcome.FAILURE) do ENDED[status] = true end

local on = {}

--- A number of slots; nil for what cannot be one.
local function slots_of(value)
  local slots = type(value) == "number" and math.tointeger(value)
  return slots and slots > 0 and math.min(slots, MOST_SLOTS) or nil
end

local function mutexes_of(value)
  if value == true then return true end
  local names = {}
  for _, name in ipairs(type(value) == "table" and value or {}) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  return #names > 0 and names or nil
end

function on.run_started(seen, event)
  seen.limit = slots_of(event.parallel)
  for group, limit in pairs(type(event.max_parallel) == "table" and event.max_parallel or {}) do
    seen.max_parallel[group] = slots_of(limit)
  end
end

function on.test(seen, event)
  if not event.id or seen.by_id[event.id] then return end
  local file = type(event.file) == "string" and event.file or nil
  local test = {
    id = event.id, group = event.group, file = file, fails = 0, weight = slots_of(event.weight),
    exclusive = mutexes_of(event.exclusive), priority = type(event.priority) == "number" and event.priority or nil,
  }
  seen.by_id[event.id], seen.tests[#seen.tests + 1] = test, test
end

function on.attempt_finished(seen, event)
  local test = seen.by_id[event.id or ""]
  if not test or not ENDED[event.status] or not format.is_duration(event.duration) then return end
  test.duration, seen.last = event.duration, event.time
  if outcome.FAILURE[event.status] and event.retry then test.fails = test.fails + 1 end
end

function on.sandbox_started(seen, event)
  if not event.sandbox then return end
  seen.starting[event.sandbox], seen.first = event.time, seen.first or event.time
  if type(event.provider) == "string" then seen.provider = seen.provider or event.provider end
end

--- One that was lost and replaced is open once.
function on.sandbox_ready(seen, event)
  local name = event.sandbox
  if not name then return end
  seen.open[name] = slots_of(event.slots) or 1
  local slots, count = 0, 0
  for _, n in pairs(seen.open) do slots, count = slots + n, count + 1 end
  seen.slots, seen.sandboxes = math.max(seen.slots, slots), math.max(seen.sandboxes, count)
  local took = event.time and seen.starting[name] and event.time - seen.starting[name]
  if format.is_duration(took) then seen.starts[#seen.starts + 1] = took end -- clocks jump
end

function on.sandbox_closed(seen, event)
  if event.sandbox then seen.open[event.sandbox] = nil end
end

on.sandbox_lost = on.sandbox_closed

--- Reads an event log. Raises an error of kind "usage".
---@param path string the log, or the results folder with it
---@return runner.Recording
function M.read(path)
  local events, message = event_log.read(folder.log(path))
  if not events then errors.raise("usage", "cannot read " .. message) end
  local seen = {
    tests = {}, by_id = {}, starting = {}, starts = {}, open = {}, slots = 1, sandboxes = 1, max_parallel = {},
  }
  for event in events do
    local fold = on[event.event]
    if fold then fold(seen, event) end
  end
  local ran, retries = {}, 0
  for _, test in ipairs(seen.tests) do
    if test.duration then
      test.cost, retries = test.duration, math.max(retries, test.fails)
      ran[#ran + 1] = test
    end
  end
  if #ran == 0 then errors.raise("usage", ("%s: no test has ended in this run"):format(path)) end
  local wall = seen.first and seen.last and seen.last - seen.first
  return {
    tests = ran, parallel = math.min(seen.slots, seen.limit or seen.slots), sandboxes = seen.sandboxes,
    provider = seen.provider, start = median(seen.starts), retries = retries, max_parallel = seen.max_parallel,
    wall = format.is_duration(wall) and wall or 0,
  }
end

return M
