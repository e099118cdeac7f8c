--- A run's own part of the history: a report that collects what the events say, and puts it into the file at the end.
---
--- Attempts that passed, failed, crashed or were skipped are samples, each of its outcome; one that ran into its time
--- limit is a lower bound. What was cancelled, lost, or not run is none. A run that is killed records nothing.

local expire = require("runner.history.expire")
local format = require("runner.history.format")
local estimate = require("runner.history.estimate")
local speed = require("runner.history.speed")
local store = require("runner.history.store")

local M = {}

local MOST_PLACES = 64 -- of one run; more are not told apart by host
local LEAST_COST_S = 0.005 -- of what is not yet known to cost anything

---@class runner.history.Recorder a report
---@field package path string
---@field package options table
local Recorder = {}
Recorder.__index = Recorder
Recorder.name = "history"

---@param path string absolute
---@param options { samples: integer, whole: boolean, warn: fun(message: string) }
---  whole: nothing on the command line leaves tests out
---@return runner.history.Recorder
function M.new(path, options)
  return setmetatable({
    path = path, options = options, tests = {}, order = {}, costs = {}, places = {}, place_of = {}, sandboxes = {},
    partial = {}, slots = {},
  }, Recorder)
end

-- Collecting --------------------------------------------------------------------------------------------------------

local function place_of(self, provider, host)
  local name = provider .. "\0" .. host
  if not self.place_of[name] then
    if host ~= "" and #self.places >= MOST_PLACES then return place_of(self, provider, "") end
    self.places[#self.places + 1] = { provider, host, 1 }
    self.place_of[name] = #self.places
  end
  return self.place_of[name]
end

local function add_cost(self, seconds, ...)
  if not format.is_duration(seconds) then return end
  local key = format.key(...)
  local list = self.costs[key] or {}
  self.costs[key] = list
  list[#list + 1] = seconds
end

local on = {}

function on.run_started(self, event)
  self.id, self.time = event.run, event.time
end

function on.sandbox_started(self, event)
  self.sandboxes[event.sandbox] = { provider = event.provider, time = event.time }
end

function on.sandbox_ready(self, event)
  local sandbox = self.sandboxes[event.sandbox]
  if not sandbox or type(sandbox.provider) ~= "string" then return end
  sandbox.place = place_of(self, sandbox.provider, type(event.host) == "string" and event.host or "")
  add_cost(self, event.time - sandbox.time, "sandbox", sandbox.provider)
end

function on.discovered(self)
  self.is_discovered = true
end

function on.test(self, event)
  if self.tests[event.id] then return end
  local test = { id = event.id, group = event.group, framework = event.framework, file = event.file }
  self.tests[event.id], self.order[#self.order + 1] = test, test
end

--- What it took until the test could start.
function on.attempt_started(self, event)
  local test = self.tests[event.id]
  if not test or not event.overhead then return end
  test.open = { overhead = event.overhead, first = event.first, time = event.time, slot = event.slot }
end

--- What a hand-out costs: until the first of its tests could start, in a worker that has its file already.
local function overhead_of(self, test, event)
  local open = test.open
  test.open = nil
  -- A framework that tells of a test only when it is over has not told when it began.
  if not open or open.slot ~= event.slot or event.time - open.time < event.duration / 2 - 0.005 then return end
  local slot = self.slots[open.slot]
  if not slot or open.first == "worker" then
    slot = {}
    self.slots[open.slot] = slot
  end
  -- The first test of a file waits for its import, too; that is no part of what each hand-out costs.
  if open.first == "batch" and not (test.file and not slot[test.file]) then
    add_cost(self, open.overhead, "batch", test.framework or "", test.group)
  end
  if test.file then slot[test.file] = true end
end

local SAMPLES = {}
for _, outcome in ipairs(format.OUTCOMES) do SAMPLES[outcome] = true end

function on.attempt_finished(self, event)
  local test, sandbox = self.tests[event.id], self.sandboxes[event.sandbox]
  if not test or not SAMPLES[event.status] or not format.is_duration(event.duration) then return end
  overhead_of(self, test, event)
  test[#test + 1] = { event.status, event.duration, sandbox and sandbox.place or place_of(self, "", "") }
end

function on.test_finished(self, event)
  local test = self.tests[event.id]
  if test and event.status ~= "not_run" then test.status = event.status end
end

--- Tests that could not be collected are not gone.
function on.problem(self, event)
  if event.kind ~= "collection" then return end
  if event.group then self.partial[event.group] = true else self.options.whole = false end
end

function on.run_finished(self)
  self.is_finished = true
end

---@param event table
function Recorder:event(event)
  local fold = on[event.event]
  if fold then fold(self, event) end
end

-- Recording ---------------------------------------------------------------------------------------------------------

local function push(list, token, seconds, limit)
  list = list or {}
  list[#list + 1], list[#list + 2] = token, format.round(seconds)
  local excess = #list - 2 * limit
  if excess > 0 then
    table.move(list, excess + 1, #list, 1)
    for i = #list, #list - excess + 1, -1 do list[i] = nil end
  end
  return list
end

--- The path of a test, short where its id begins with it.
local function file_of(id, path)
  if not path then return 0 end
  return #path > 0 and id:sub(1, #path) == path and #path or path
end

--- A line that cannot be read any more is replaced; a copy of the file is kept.
local function read(index, kind, line)
  if not line then return nil end
  local entry, _, sound = kind(line)
  if not sound then index.damaged = index.damaged + 1 end
  return entry
end

local function token_of(run, place)
  return place == 1 and run or run .. "." .. place
end

--- Adds what one run saw of a test.
local function add(entry, seen, run, limit)
  for _, sample in ipairs(seen) do
    local outcome, seconds, place = sample[1], sample[2], sample[3]
    local most = outcome == "skipped" and 1 or limit
    entry.samples[outcome] = push(entry.samples[outcome], token_of(run, place), seconds, most)
    if outcome ~= "skipped" then
      local which = outcome == "passed" and 1 or 2
      entry.n[which] = entry.n[which] + 1
    end
  end
  if seen.status == "flaky" then
    table.insert(entry.flaky, run)
    if #entry.flaky > limit then table.remove(entry.flaky, 1) end
  end
end

local function add_tests(self, index, run)
  speed.measure(index, self.places, self.order, function(seen)
    local line = index.tests[format.key(seen.group, seen.id)]
    return line and format.read_test(line)
  end)
  local speeds = store.speeds(index)
  for i, place in ipairs(self.places) do
    if place[3] ~= 1 then speeds[token_of(run, i)] = place[3] end
  end
  for _, seen in ipairs(self.order) do
    local key = format.key(seen.group, seen.id)
    local entry = read(index, format.read_test, index.tests[key])
    if not entry and #seen > 0 then entry = { n = { 0, 0 }, flaky = {}, samples = {} } end
    if entry then
      add(entry, seen, run, index.limit)
      entry.last = { run, seen.status or entry.last and entry.last[2] or seen[#seen][1] }
      entry.file = file_of(seen.id, seen.file)
      estimate.enter(entry, speeds)
      index.tests[key] = format.test(key, entry)
    end
  end
end

local function add_costs(self, index, run)
  for key, list in pairs(self.costs) do
    local median = estimate.median(list)
    local entry = read(index, format.read_cost, index.costs[key])
    if entry or median >= LEAST_COST_S then
      entry = entry or {}
      entry.samples = push(entry.samples, run, median, index.limit)
      entry.s = estimate.of_cost(entry.samples)
      index.costs[key] = entry.s >= LEAST_COST_S and format.cost(key, entry) or nil
    end
  end
end

local function add_run(self, index, run)
  local groups, whole = {}, {}
  for _, test in ipairs(self.order) do groups[test.group] = true end
  for group in pairs(groups) do
    if self.options.whole and not self.partial[group] then whole[#whole + 1] = group end
  end
  table.sort(whole)
  index.runs[run] = { id = self.id, places = self.places, whole = whole }
  table.insert(index.run_keys, run)
end

--- Time in a history never goes back, whatever the clocks of those who write it say.
local function key_of(self, index)
  local newest = index.run_keys[#index.run_keys]
  return format.run_key(self.id, math.max(self.time, newest and format.time_of(newest) + 1 or 0))
end

local function is_known(index, id)
  for _, run in pairs(index.runs) do
    if run.id == id then return true end
  end
  return false
end

--- Writes what was collected, if the run came to its end.
function Recorder:close()
  if not (self.is_finished and self.is_discovered and self.id and self.time) or #self.order == 0 then return end
  collectgarbage() -- what the run has left behind makes room for the file
  local ok, problem = store.update(self.path, function(index)
    if is_known(index, self.id) then return end
    index.limit = self.options.samples
    local run = key_of(self, index)
    add_tests(self, index, run)
    add_costs(self, index, run)
    add_run(self, index, run)
    expire.apply(index)
  end)
  if not ok then
    self.options.warn(("the history %s could not be written: %s"):format(self.path, problem))
  elseif problem then
    self.options.warn(("the history %s was damaged; %s"):format(self.path, problem))
  end
end

return M
