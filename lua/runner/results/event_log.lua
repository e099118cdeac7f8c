-- Reads the event log of a run (events.lua writes it): as an iterator, completed as if the run had
-- ended in order, or folded into the state of every test.

local cjson = require("cjson.safe")
local errors = require("runner.base.errors")
local outcome = require("runner.base.outcome")
local schema = require("runner.results.event_schema")

local M = {}

local json = cjson.new()
json.decode_invalid_numbers(false)

local function decode(line)
  return schema.admit((json.decode(line)))
end

--- The events of a log in order. A last line that was cut off, and lines that are no events, are
--- passed over; events of unknown names are handed on. What cannot be read to its end raises an error of kind
--- "usage": half a log would be taken for the whole.
---@param path string
---@return (fun(): table?, integer?)? next each event and the offset of its line, for `at`
---@return string? message
function M.read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local offset = 0
  return function()
    if not file then return nil end
    local line, why = file:read("L")
    while line do
      local event, here = decode(line), offset
      offset = offset + #line
      if event then return event, here end
      line, why = file:read("L")
    end
    file:close()
    file = nil
    if why then errors.raise("usage", ("cannot read %s: %s"):format(path, why)) end
  end
end

--- The one event whose line starts at `offset`; lets a fold leave out what is large.
---@param path string
---@param offset integer
---@return table?
function M.at(path, offset)
  local file = io.open(path, "rb")
  if not file then return nil end
  file:seek("set", offset)
  local line = file:read("L")
  file:close()
  return line and decode(line)
end

local counted = { "passed", "failed", "flaky", "skipped", "timed_out", "crashed", "not_run" }

local function new_counts()
  local counts = { quarantined = 0, quarantined_flaky = 0 }
  for _, status in ipairs(counted) do counts[status] = 0 end
  return counts
end

local function count(counts, status, quarantine)
  counts[status] = (counts[status] or 0) + 1
  if not quarantine then return end
  counts.quarantined = counts.quarantined + 1
  if status == "flaky" then counts.quarantined_flaky = counts.quarantined_flaky + 1 end
end

--- The end that a run whose runner died did not write: a `test_finished` for every test without
--- one, then `run_finished`.
local function missing_end(seen)
  local events = {}
  for _, id in ipairs(seen.order) do
    local open = seen.open[id]
    if open then
      -- A failure that nothing followed stands; anything else did not come to an end.
      local last = open.last
      local settled = last and outcome.FAILURE[last.status] and last.status
      local status = settled or "not_run"
      local quarantine = settled and open.quarantine or nil
      count(seen.counts, status, quarantine)
      events[#events + 1] = {
        event = "test_finished", time = seen.time, id = id, status = status,
        attempts = open.attempts, duration = last and last.duration or 0,
        reason = not settled and "the runner ended before this test did" or nil, quarantine = quarantine,
      }
    end
  end
  local counts = seen.counts
  counts.tests, counts.problems = #seen.order, seen.problems
  events[#events + 1] = {
    event = "run_finished", time = seen.time, status = "failed", exit_code = 1,
    duration = seen.time - (seen.started or seen.time), counts = counts, incomplete = true,
  }
  return events
end

local function note(seen, event)
  local kind, id = event.event, event.id
  local open = id and seen.open[id]
  seen.time = math.max(seen.time, tonumber(event.time) or 0)
  if kind == "run_started" then
    seen.started = event.time
  elseif kind == "test" and id and not open then
    seen.order[#seen.order + 1] = id
    seen.open[id] = { attempts = 0, quarantine = event.quarantine }
  elseif kind == "attempt_finished" and open then
    open.attempts = open.attempts + 1
    open.last = { status = event.status, duration = event.duration }
  elseif kind == "test_finished" and open then
    seen.open[id] = false
    count(seen.counts, event.status, event.quarantine)
  elseif kind == "problem" then
    seen.problems = seen.problems + 1
  elseif kind == "run_finished" then
    seen.ended = true
  end
end

--- Like `read`, but a log that ends early (the runner was killed) is completed: tests without an
--- end become "not_run" (or the failure of their last attempt), and a `run_finished` with
--- `incomplete = true` follows.
---@param path string
---@return (fun(): table?, integer?)? next completing events have no offset
---@return string? message
function M.complete(path)
  local next_event, message = M.read(path)
  if not next_event then return nil, message end
  local seen = { order = {}, open = {}, counts = new_counts(), problems = 0, time = 0 }
  local rest, position = nil, 0
  return function()
    if not rest then
      local event, offset = next_event()
      if event then
        note(seen, event)
        return event, offset
      end
      rest = not seen.ended and seen.time > 0 and missing_end(seen) or {}
    end
    position = position + 1
    return rest[position]
  end
end

---@class runner.TestState
---@field id string
---@field test table the `test` event
---@field status string final state, as in `test_finished`
---@field duration number seconds
---@field reason string?
---@field quarantine string|true|nil why its failure does not count
---@field attempts { attempt: integer, status: string, duration: number, message: string?,
---  sandbox: string?, log: string?, offset: integer }[] `offset` leads to the whole event

---@class runner.RunState
---@field run table the `run_started` event, or an empty table
---@field finished table the `run_finished` event, perhaps a completed one
---@field tests runner.TestState[] in the order they were announced
---@field by_id table<string, runner.TestState>
---@field problems table[] the `problem` events
---@field counts table<string, integer> as in `run_finished`, counted here

local function apply(state, event, offset)
  local kind = event.event
  local test = event.id and state.by_id[event.id]
  if kind == "run_started" then
    state.run = event
  elseif kind == "run_finished" then
    state.finished = event
  elseif kind == "problem" then
    state.problems[#state.problems + 1] = event
  elseif kind == "test" and event.id and not test then
    test = { id = event.id, test = event, status = "not_run", duration = 0, attempts = {} }
    state.by_id[event.id] = test
    state.tests[#state.tests + 1] = test
  elseif kind == "attempt_finished" and test then
    test.attempts[#test.attempts + 1] = {
      attempt = event.attempt or #test.attempts + 1, status = event.status, duration = event.duration or 0,
      message = event.message, sandbox = event.sandbox, log = event.log, offset = offset,
    }
  elseif kind == "test_finished" and test then
    test.status, test.duration, test.reason = event.status, event.duration or 0, event.reason
    test.quarantine = event.quarantine
  end
end

--- The state of a run, whether it ended in order or not. Holds no output: see `at`.
---@param path string
---@return runner.RunState? state
---@return string? message
function M.fold(path)
  local events, message = M.complete(path)
  if not events then return nil, message end
  local state = { run = {}, finished = {}, tests = {}, by_id = {}, problems = {}, counts = new_counts() }
  for event, offset in events do
    apply(state, event, offset)
  end
  for _, test in ipairs(state.tests) do count(state.counts, test.status, test.quarantine) end
  state.counts.tests, state.counts.problems = #state.tests, #state.problems
  return state
end

return M
