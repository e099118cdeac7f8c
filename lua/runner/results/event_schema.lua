--- Says what each event of the log holds: field, type, unit, since which version. What is emitted is checked against
--- it, what is read passes through it; docs/events.md is the same for people. Pure.

local path = require("runner.base.path")

local M = {}

--- Of the log; `run_started` tells it. It grows when a field changes its meaning, not when one is added.
M.VERSION = 1

local LATEST = 253402300800 -- the year 10000: no calendar shows more
local LONGEST_S = 1e9

local function is_finite(value)
  return type(value) == "number" and value == value and math.abs(value) ~= math.huge
end

local function is_whole(value)
  return type(value) == "number" and math.tointeger(value) ~= nil
end

local function is_count(value)
  return is_whole(value) and value >= 0
end

local function is_seconds(value)
  return is_finite(value) and value >= 0 and value <= LONGEST_S
end

local function is_text(value)
  return type(value) == "string"
end

local function list_of(is_item)
  return function(value)
    if type(value) ~= "table" then return false end
    local count = 0
    for _ in pairs(value) do count = count + 1 end
    for i = 1, count do
      if not is_item(value[i]) then return false end
    end
    return true
  end
end

local function map_of(is_item)
  return function(value)
    if type(value) ~= "table" then return false end
    for key, item in pairs(value) do
      if type(key) ~= "string" or not is_item(item) then return false end
    end
    return true
  end
end

local function record_of(fields)
  return function(value)
    if type(value) ~= "table" then return false end
    for name, is_field in pairs(fields) do
      if not is_field(value[name]) then return false end
    end
    return true
  end
end

local function optional(is_value)
  return function(value) return value == nil or is_value(value) end
end

local is_texts = list_of(is_text)
local is_kept = record_of({ head = is_text, tail = optional(is_text), dropped = optional(is_count) })

--- name → does a value have that type?
---@type table<string, fun(value: any): boolean>
M.TYPES = {
  string = is_text,
  boolean = function(value) return type(value) == "boolean" end,
  number = is_finite,
  integer = is_whole,
  count = is_count,
  seconds = is_seconds,
  time = function(value) return is_finite(value) and value >= 0 and value < LATEST end,
  strings = is_texts,
  counts = map_of(is_count),
  times = map_of(is_seconds),
  path = function(value) return is_text(value) and value ~= "" and not path.leads_out(value) end,
  output = function(value)
    return is_text(value) or is_kept(value)
  end,
  leaks = list_of(record_of({ pid = is_whole, command = optional(is_text), test = optional(is_text) })),
  sections = list_of(function(value) return is_texts(value) and #value == 2 end),
  mutexes = function(value) return value == true or is_texts(value) end,
  reason = function(value) return value == true or is_text(value) end,
  signal = function(value) return is_text(value) or is_whole(value) end,
}

---@class runner.LogEvent one change of state; what else it holds depends on `event`, see M.EVENTS
---@field event string its name
---@field time number? seconds since 1970; the bus adds it

---@class runner.EventField
---@field name string
---@field type string of M.TYPES
---@field always boolean every event that is emitted has it
---@field key boolean and one that is read without it says nothing: it is passed over
---@field since string version of runner

--- A field as "NAME TYPE MARK SINCE". Mark: `!` every event emitted has it, `!!` and one read without it says nothing.
local function fields(list)
  local rows = {}
  for _, text in ipairs(list) do
    local name, kind, mark, since = text:match("^(%S+) (%a+)(!*) ?(%S*)$")
    rows[#rows + 1] = {
      name = name, type = kind, always = mark ~= "", key = mark == "!!", since = since ~= "" and since or "0.1.0",
    }
  end
  return rows
end

--- What every event has.
M.COMMON = fields { "event string!!", "time time!" }

--- event → its fields, in the order in which docs/events.md names them.
---@type table<string, runner.EventField[]>
M.EVENTS = {
  run_started = fields {
    "version count!", "run string!", "runner string", "argv strings", "config string", "dir string", "parallel count",
    "seed integer", "trace path", "max_parallel counts",
  },
  discovered = fields { "tests count!", "groups counts", "deselected count", "duration seconds" },
  test = fields {
    "id string!!", "group string!", "framework string", "name string", "file string", "line count", "tags strings",
    "quarantine reason", "weight count", "exclusive mutexes", "priority number",
  },
  attempt_started = fields {
    "id string!!", "attempt count!", "sandbox string", "slot count", "overhead seconds", "first string",
  },
  attempt_slow = fields { "id string!!", "attempt count!", "elapsed seconds" },
  attempt_finished = fields {
    "id string!!", "attempt count!", "status string!!", "duration seconds", "started time", "sandbox string",
    "slot count", "retry boolean", "message string", "type string", "trace string", "reason string", "xfail boolean",
    "exit_code integer", "signal signal", "cpu seconds", "memory count", "phases times", "leaks leaks",
    "sections sections", "stdout output", "stderr output", "log path",
  },
  copy_started = fields {
    "id string!!", "attempt count!", "sandbox string", "slot count", "overhead seconds", "first string",
  },
  copy_finished = fields {
    "id string!!", "attempt count!", "sandbox string", "slot count", "duration seconds", "copy boolean",
  },
  test_finished = fields {
    "id string!!", "status string!!", "attempts count", "duration seconds", "reason string", "quarantine reason",
  },
  problem = fields {
    "kind string!!", "message string", "id string", "group string", "sandbox string", "text string",
  },
  log = fields { "level string!", "message string!" },
  sandbox_started = fields { "sandbox string!!", "provider string" },
  sandbox_ready = fields {
    "sandbox string!!", "slots count", "arch string", "cpus count", "hostname string", "host string",
  },
  sandbox_lost = fields { "sandbox string!!", "message string" },
  sandbox_closing = fields { "sandbox string!!" },
  sandbox_closed = fields { "sandbox string!!" },
  sync = fields {
    "sandbox string!!", "folder string", "files count", "sent_files count", "sent_bytes count", "duration seconds",
  },
  artifact = fields { "id string!!", "attempt count", "path path", "size count" },
  run_finished = fields {
    "status string!", "exit_code count!", "duration seconds", "counts counts", "interrupted string", "stopped string",
    "estimated_cost number", "error string", "incomplete boolean",
  },
}

local NONE = {}

--- Brings an event that was read into the shape that folds reckon with: a field of another type is left out. Fields
--- and events of versions to come stay.
---@param event any what a line of a log decodes to
---@return runner.LogEvent? event nil: it lacks what it needs, and says nothing
function M.admit(event)
  if type(event) ~= "table" or type(event.event) ~= "string" then return nil end
  for _, rows in ipairs({ M.COMMON, M.EVENTS[event.event] or NONE }) do
    for _, row in ipairs(rows) do
      local value = event[row.name]
      if value == nil or not M.TYPES[row.type](value) then
        if row.key then return nil end
        event[row.name] = nil
      end
    end
  end
  return event
end

--- What is wrong with an event that is emitted.
---@param event runner.LogEvent
---@return string? problem nil: it is as documented
function M.problem(event)
  local rows = M.EVENTS[event.event]
  if not rows then return ("event %q is not in the schema"):format(tostring(event.event)) end
  local known = {}
  for _, list in ipairs({ M.COMMON, rows }) do
    for _, row in ipairs(list) do
      local value = event[row.name]
      known[row.name] = true
      if value == nil and row.always then return ("event %s lacks %s"):format(event.event, row.name) end
      if value ~= nil and not M.TYPES[row.type](value) then
        return ("event %s: %s is no %s: %s"):format(event.event, row.name, row.type, tostring(value))
      end
    end
  end
  for name in pairs(event) do
    if not known[name] then return ("event %s: %s is not in the schema"):format(event.event, tostring(name)) end
  end
  return nil
end

return M
