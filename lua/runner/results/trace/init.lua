--- The run as a timeline for Perfetto (ui.perfetto.dev) and chrome://tracing: a process per sandbox, a thread per slot,
--- a slice per attempt. Made from events alone: live, or later from the log of a run.
---
--- The file is whole at any moment (trace/json_array.lua); that of a run whose runner was killed ends early, no more.
--- Slices are written when they end; what still runs when the events end is closed there.

local tracks = require("runner.results.trace.tracks")
local signals = require("runner.io.signals")
local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")
local writer = require("runner.results.trace.writer")

local M = {}

local SHORTEST_IDLE = 10 -- ticks
local MOST_TEXT = 300 -- bytes of names and messages

--- Names of chrome://tracing's palette. Perfetto takes a slice's colour from its name: there the status word counts.
local COLOURS = {
  passed = "good", failed = "terrible", timed_out = "terrible", crashed = "terrible", skipped = "grey",
  lost = "bad", cancelled = "bad", unfinished = "bad", superseded = "grey",
}

local PHASES = { "setup", "call", "teardown" }

---@class runner.Trace: runner.Report
---@field package writer runner.TraceWriter? once there was an event
---@field package now integer tick of the latest event
---@field package boxes table<string, runner.TraceBox> by sandbox
---@field package order runner.TraceBox[]
---@field package tests table<string, runner.TraceTest> by id
local Trace = { name = "trace" }
Trace.__index = Trace
Trace.__name = "runner.trace"

---@class runner.TraceBox a sandbox, and those that replaced it under its name
---@field name string
---@field process integer
---@field place runner.TracePlace thread of its phases
---@field slots table<integer, runner.Lanes>
---@field running integer attempts
---@field ready integer? tick
---@field phase { name: string, since: integer, args: table? }? "starting", "idle" or "closing"

---@class runner.TraceTest
---@field group string?
---@field state "waiting"|"running"|nil nil: decided, or about to be
---@field before { place: runner.TracePlace, from: integer, to: integer }? the attempt before
---@field quarantine string|boolean|nil

---@param options { path: string }
---@return runner.Trace
function M.new(options)
  return setmetatable({
    path = options.path, boxes = {}, order = {}, tests = {}, now = 0, running = 0, waiting = 0,
  }, Trace)
end

--- One line of any value.
local function short(value)
  if value == nil then return nil end
  return text.escape(text.shorten(text.repair(tostring(value)), MOST_TEXT))
end

-- Counters ----------------------------------------------------------------------------------------------------------

--- They are written when the tick is over in which they changed.
local function write_counters(self)
  if not self.changed then return end
  self.writer:counters(self.process, "tests", self.changed, { running = self.running, waiting = self.waiting })
  self.changed = nil
end

--- Books that a test now waits, runs, or does neither.
local function set_state(self, id, state)
  local test = self.tests[id]
  if not test or test.state == state then return end
  if test.state then self[test.state] = self[test.state] - 1 end
  if state then self[state] = self[state] + 1 end
  test.state, self.changed = state, self.now
end

-- Sandboxes ---------------------------------------------------------------------------------------------------------

local function box_of(self, name)
  local box = self.boxes[name]
  if not box then
    local process = self.writer:process(short(name))
    box = {
      name = name, process = process, place = self.writer:thread(process, "sandbox", 0), slots = {}, running = 0,
    }
    self.boxes[name] = box
    self.order[#self.order + 1] = box
  end
  return box
end

--- Ends the phase of a sandbox, and begins another.
local function enter(self, box, name, args)
  local phase = box.phase
  box.phase = name and { name = name, since = self.now, args = args }
  if not phase or phase.name == "idle" and self.now - phase.since < SHORTEST_IDLE then return end
  self.writer:slice(box.place, phase.name, phase.since, self.now, { cat = "sandbox", args = phase.args })
end

local function add_running(self, box, change)
  box.running = math.max(0, box.running + change)
  local phase = box.phase and box.phase.name
  if box.running > 0 and phase == "idle" then enter(self, box, nil) end
  if box.running == 0 and not phase then enter(self, box, "idle") end
end

-- Attempts ----------------------------------------------------------------------------------------------------------

local function lanes_of(self, box, slot)
  slot = math.tointeger(slot) or 0
  local found = box.slots[slot]
  if not found then
    local since = math.max(self.writer.start, box.ready or 0, self.discovered or 0)
    found = tracks.new(since, function(number)
      local name = ("slot %d"):format(slot) .. (number > 1 and (" (%d)"):format(number) or "")
      return self.writer:thread(box.process, name, slot * 1000 + number)
    end)
    box.slots[slot] = found
  end
  return found
end

local function start_attempt(self, event)
  local box = box_of(self, event.sandbox or "?")
  lanes_of(self, box, event.slot):start(event.id, self.now)
  add_running(self, box, 1)
end

--- Setup, call and teardown below their attempt. They follow each other; when each began is not told.
local function write_phases(self, place, from, to, phases)
  for _, name in ipairs(PHASES) do
    local ticks = type(phases) == "table" and writer.ticks(phases[name])
    if ticks and from < to then
      local stop = math.min(to, from + ticks)
      self.writer:slice(place, name, from, stop, { cat = "phase" })
      from = stop
    end
  end
end

--- `attempt` when the test has, or will have, several.
local function name_of(id, status, attempt)
  if status == "passed" and not attempt then return short(id) end
  return vocabulary.word(status, attempt) .. " " .. short(id)
end

local function finish_attempt(self, event, status)
  local id, test, box = event.id, self.tests[event.id] or {}, box_of(self, event.sandbox or "?")
  local lane, from, to = lanes_of(self, box, event.slot):finish(id, self.now, writer.ticks(event.duration))
  local is_one_of_many = (event.attempt or 1) > 1 or event.retry
  self.writer:slice(lane.place, name_of(id, status, is_one_of_many and event.attempt), from, to, {
    cat = status, cname = COLOURS[status], args = {
      test = id, status = status, attempt = event.attempt, group = test.group, quarantine = test.quarantine,
      duration = event.duration, message = short(event.message), reason = short(event.reason), log = event.log,
      exit_code = event.exit_code, signal = signals.name(event.signal), cpu = event.cpu, memory = event.memory,
    },
  })
  if status ~= "superseded" then
    if test.before then self.writer:arrow("retry", test.before, lane.place, from) end
    test.before = event.retry and { place = lane.place, from = from, to = to } or nil
  end
  write_phases(self, lane.place, from, to, event.phases)
  add_running(self, box, -1)
end

-- Events ------------------------------------------------------------------------------------------------------------

local handlers = {}

function handlers.run_started(self, event)
  self.run = event.run
end

function handlers.sandbox_started(self, event)
  enter(self, box_of(self, event.sandbox), "starting", { provider = event.provider })
end

function handlers.sandbox_ready(self, event)
  local box = box_of(self, event.sandbox)
  box.ready, box.running = self.now, 0
  local args = box.phase and box.phase.args or {}
  args.slots, args.arch, args.cpus, args.hostname = event.slots, event.arch, event.cpus, event.hostname
  enter(self, box, "idle")
end

function handlers.sandbox_lost(self, event)
  local box = box_of(self, event.sandbox)
  self.writer:instant(box.place, "lost", self.now, { message = short(event.message) })
  enter(self, box, "closing", { lost = true })
end

function handlers.sandbox_closing(self, event)
  local box = box_of(self, event.sandbox)
  if not box.phase or box.phase.name ~= "closing" then enter(self, box, "closing") end
end

function handlers.sandbox_closed(self, event)
  enter(self, box_of(self, event.sandbox), nil)
end

--- When something began that has just ended, inside of a slice that began before: at the same tick, readers take the
--- one that is written first for the outer one, and that is not yet written.
local function since(self, seconds, outer)
  return math.min(self.now, math.max(outer + 1, self.now - (writer.ticks(seconds) or 0)))
end

function handlers.sync(self, event)
  local box = box_of(self, event.sandbox)
  local from = since(self, event.duration, box.phase and box.phase.since or self.writer.start)
  self.writer:slice(box.place, "sync", from, self.now, {
    cat = "sandbox", args = { files = event.files, sent_files = event.sent_files, sent_bytes = event.sent_bytes },
  })
end

function handlers.discovered(self, event)
  self.discovered = self.now
  self.writer:slice(self.place, "discovery", since(self, event.duration, self.writer.start), self.now, {
    cat = "run", args = { tests = event.tests, deselected = event.deselected },
  })
end

function handlers.test(self, event)
  if self.tests[event.id] then return end
  self.tests[event.id] = { group = event.group, quarantine = event.quarantine }
  set_state(self, event.id, "waiting")
end

function handlers.attempt_started(self, event)
  start_attempt(self, event)
  set_state(self, event.id, "running")
end

function handlers.attempt_finished(self, event)
  finish_attempt(self, event, event.status)
  set_state(self, event.id, event.retry and "waiting" or nil)
end

-- A straggler that another sandbox was given as well: one of the two is the attempt, the other only ends.
handlers.copy_started = start_attempt

function handlers.copy_finished(self, event)
  finish_attempt(self, event, "superseded")
end

function handlers.test_finished(self, event)
  set_state(self, event.id, nil)
end

function handlers.problem(self, event)
  local box, message = event.sandbox and self.boxes[event.sandbox], short(event.message)
  self.writer:instant(box and box.place or self.place, short(event.kind), self.now, {
    message = message, test = event.id, group = event.group,
  })
  if box and box.phase and box.phase.name == "starting" then -- it could not be opened
    box.phase.args.error = message
    enter(self, box, nil)
  end
end

function handlers.run_finished(self, event)
  if self.finished then return end
  self.finished = true
  for _, box in ipairs(self.order) do
    for slot, of_slot in pairs(box.slots) do
      for _, id in ipairs(of_slot:running()) do
        finish_attempt(self, { id = id, slot = slot, sandbox = box.name }, "unfinished")
      end
    end
    enter(self, box, nil)
  end
  write_counters(self)
  self.writer:slice(self.place, "run", self.writer.start, self.now, {
    cat = "run", args = { run = self.run, status = event.status, exit_code = event.exit_code },
  })
end

local function check(self)
  if not self.writer.failure then return end
  self.dead = true
  error(("cannot write %s: %s"):format(self.path, self.writer.failure), 0)
end

--- Handles one event. Raises when the file cannot be written; what is in it stays.
---@param event table
function Trace:event(event)
  local handler = handlers[event.event]
  if not handler or self.dead then return end
  local tick = writer.tick(event.time)
  if not self.writer then
    self.dead = true -- unless it can be made
    self.writer, self.now = writer.new(self.path, tick), tick
    self.dead = false
    self.process = self.writer:process("runner")
    self.place = self.writer:thread(self.process, "run", 0)
  end
  self.now = math.max(self.now, tick) -- a clock that is set back does not turn slices inside out
  if self.changed and self.changed < self.now then write_counters(self) end
  handler(self, event)
  check(self)
end

--- Completes the file.
function Trace:close()
  if not self.writer then return end
  if not self.dead then handlers.run_finished(self, {}) end
  self.writer:close()
  check(self)
end

return M
