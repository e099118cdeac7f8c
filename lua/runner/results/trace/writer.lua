--- Writes the entries of a trace in the JSON format that chrome://tracing defined and Perfetto reads. Times are ticks
--- of 100 µs: as exactly as the event log tells the time of day, so that a trace made from it has the same times.

local cjson = require("cjson.safe")
local json_array = require("runner.results.trace.json_array")
local text = require("runner.base.text")

local json = cjson.new()
json.encode_invalid_numbers("null")

local M = {}

local TICK_US = 100
local PER_SECOND = 1e6 // TICK_US

---@class runner.TraceWriter
---@field start integer tick of the first event
---@field failure string? why the file can no longer be written
local Writer = {}
Writer.__index = Writer
Writer.__name = "runner.trace_writer"

--- Time of day in ticks, rounded as the log does it.
---@param time number seconds
---@return integer
function M.tick(time)
  return math.floor(tonumber(("%.4f"):format(time)) * PER_SECOND + 0.5)
end

--- How many ticks a duration takes; nil: it is none.
---@param seconds any
---@return integer?
function M.ticks(seconds)
  if type(seconds) == "number" and seconds >= 0 then -- not a NaN
    return math.floor(math.min(seconds, 1e9) * PER_SECOND + 0.5)
  end
end

--- Raises when the file cannot be made.
---@param path string absolute
---@param start integer
---@return runner.TraceWriter
function M.new(path, start)
  return setmetatable({ array = json_array.create(path), start = start, last_id = 0 }, Writer)
end

local function us(self, tick)
  return (tick - self.start) * TICK_US
end

local function write(self, entry)
  local line = json.encode(entry)
  if line then self.array:add(utf8.len(line) and line or text.repair(line, "\\\\x%02x")) end
  self.failure = self.array.failure
end

-- No two processes or threads have one number: readers take a thread's for its own, whatever its process.
local function next_id(self)
  self.last_id = self.last_id + 1
  return self.last_id
end

local function describe(self, kind, process, thread, name, order)
  write(self, { ph = "M", name = kind .. "_name", pid = process, tid = thread, args = { name = name } })
  write(self, { ph = "M", name = kind .. "_sort_index", pid = process, tid = thread, args = { sort_index = order } })
end

---@param name string
---@return integer process
function Writer:process(name)
  local process = next_id(self)
  describe(self, "process", process, process, name, process)
  return process
end

---@param process integer
---@param name string
---@param order integer among those of the process
---@return runner.TracePlace
function Writer:thread(process, name, order)
  local thread = next_id(self)
  describe(self, "thread", process, thread, name, order)
  return { process = process, thread = thread }
end

---@class runner.TracePlace
---@field process integer
---@field thread integer

--- Slices of one thread lie in each other or apart.
---@param place runner.TracePlace
---@param name string
---@param from integer tick
---@param to integer tick
---@param more { cat: string, cname: string?, args: table? }
function Writer:slice(place, name, from, to, more)
  write(self, {
    ph = "X", pid = place.process, tid = place.thread, name = name, ts = us(self, from), dur = (to - from) * TICK_US,
    cat = more.cat, cname = more.cname, args = more.args,
  })
end

--- Something without a duration.
---@param place runner.TracePlace
---@param name string
---@param at integer tick
---@param args table?
function Writer:instant(place, name, at, args)
  write(self, {
    ph = "i", s = "p", pid = place.process, tid = place.thread, name = name, ts = us(self, at), cat = "problem",
    args = args,
  })
end

---@param process integer
---@param name string
---@param at integer tick
---@param values table<string, integer>
function Writer:counters(process, name, at, values)
  write(self, { ph = "C", pid = process, name = name, ts = us(self, at), args = values })
end

--- An arrow from the end of one slice to another.
---@param name string
---@param before { place: runner.TracePlace, from: integer, to: integer }
---@param place runner.TracePlace
---@param at integer tick at which the other starts
function Writer:arrow(name, before, place, at)
  local id = next_id(self)
  write(self, {
    ph = "s", id = id, cat = name, name = name, pid = before.place.process, tid = before.place.thread,
    ts = math.max(us(self, before.from), us(self, before.to) - 1), -- still inside
  })
  write(self, {
    ph = "f", bp = "e", id = id, cat = name, name = name, pid = place.process, tid = place.thread, ts = us(self, at),
  })
end

--- Completes the file.
function Writer:close()
  self.array:close()
  self.failure = self.array.failure
end

return M
