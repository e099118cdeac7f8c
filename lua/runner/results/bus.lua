-- The bus of a run: every change of state is one event. Each becomes one NDJSON line of the log and
-- is handed to the reports, which are folds over events. `event_log.lua` reads the log back.
--
-- Nothing here may end a run: a disk that is full or read-only, or a report with a mistake in it,
-- is told once and the run goes on.

local uv = require("luv")
local cjson = require("cjson.safe")
local schema = require("runner.results.event_schema")
local text = require("runner.base.text")

local json = cjson.new()
json.encode_sparse_array(true)
json.encode_invalid_numbers("null")
json.encode_number_precision(14) -- the most cjson offers: 0.1 ms in a time of day

local M = {}

---@class runner.Report a fold over events
---@field event fun(self, event: runner.LogEvent)
---@field output? fun(self, output: table) live output: { id, attempt, stream, data }; not in the log
---@field close? fun(self)
---@field name? string for messages

---@class runner.Events
---@field wants_output boolean some report listens to `output`
local Events = {}
Events.__index = Events
Events.__name = "runner.results.bus"

local function to_stderr(message)
  io.stderr:write("warning: ", message, "\n")
end

--- Opens a bus.
---@param options { path: string?, reports: runner.Report[]?, warn: fun(message: string)?, checked: boolean? }
---  `path`: the log, appended to; nil keeps none. `warn` gets each problem once; default: stderr. `checked`: an event
---  that is not as the schema says is a mistake, and raised; for those of a run in builds with assertions
---@return runner.Events
function M.new(options)
  local self = setmetatable({
    path = options.path,
    reports = options.reports or {},
    warn = options.warn or to_stderr,
    checked = options.checked,
    pending = {},
    told = {},
  }, Events)
  self.listeners = {}
  for _, report in ipairs(self.reports) do
    if report.output then self.listeners[#self.listeners + 1] = report end
  end
  self.wants_output = #self.listeners > 0
  if self.path then
    local fd, message = uv.fs_open(self.path, "a", 420) -- 0644
    if fd then
      self.fd = fd
      -- Writes once per turn of the loop, before it waits; must not keep the loop alive by itself.
      self.prepare = uv.new_prepare()
      self.prepare:unref()
      self.on_turn = function() self:flush() end
    else
      self:_log_failed(message)
    end
  end
  return self
end

function Events:_log_failed(message)
  self.warn(("cannot write %s: %s; the run goes on without its event log")
    :format(self.path, message))
  if self.fd then uv.fs_close(self.fd) end
  self.fd = nil
  self.pending = {}
end

-- What JSON cannot hold (functions, mixed keys) can only come from a plug-in's result: left out.
local function plain(value, depth)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return value end
  if kind ~= "table" or depth > 16 then return nil end
  local copy = {}
  for key, item in pairs(value) do
    if type(key) == "string" or math.type(key) == "integer" then
      copy[key] = plain(item, depth + 1)
    end
  end
  return copy
end

--- The event's line, and the event as its line tells it.
local function encode(event)
  local line = json.encode(event)
  if not line then
    event = plain(event, 0)
    line = json.encode(event)
    if not line then
      event = { event = event.event, time = event.time, id = event.id }
      line = json.encode(event)
    end
  end
  if not utf8.len(line) then
    -- Only the contents of strings can be invalid, so the line is mended as a whole. Reports get the
    -- mended event: a report made later from the log is then the same as one made live.
    line = text.repair(line, "\\\\x%02x")
    event = json.decode(line) or event
  end
  return line, event
end

--- Logs an event, with the time of day in seconds added unless it has one, and hands it out.
---@param event runner.LogEvent belongs to the bus from now on
function Events:emit(event)
  if not event.time then
    local seconds, microseconds = uv.gettimeofday()
    event.time = seconds + microseconds / 1e6
  end
  local problem = self.checked and schema.problem(event)
  if problem then error(problem, 2) end
  local line
  line, event = encode(event)
  if self.fd then
    local pending = self.pending
    if #pending == 0 then
      self.prepare:start(self.on_turn)
    end
    pending[#pending + 1] = line
  end
  for _, report in ipairs(self.reports) do
    local ok, err = pcall(report.event, report, event)
    if not ok then self:_report_failed(report, err) end
  end
end

--- Hands live output to the reports that want it. It is not logged: attempts have their own files.
---@param output { id: string, attempt: integer, stream: "stdout"|"stderr", data: string }
function Events:output(output)
  for _, report in ipairs(self.listeners) do
    local ok, err = pcall(report.output, report, output)
    if not ok then self:_report_failed(report, err) end
  end
end

function Events:_report_failed(report, err)
  if self.told[report] then return end
  self.told[report] = true
  self.warn(("the %s report failed: %s"):format(report.name or "?", tostring(err)))
end

--- Writes what waits. Happens by itself once per turn of the loop.
function Events:flush()
  if not self.fd or #self.pending == 0 then return end
  self.prepare:stop()
  self.pending[#self.pending + 1] = ""
  local rest = table.concat(self.pending, "\n")
  self.pending = {}
  repeat
    local written, message = uv.fs_write(self.fd, rest, -1)
    if not written then return self:_log_failed(message) end
    rest = rest:sub(written + 1)
  until rest == ""
end

--- Completes the log, then closes the reports in order. Twice is harmless.
function Events:close()
  if self.closed then return end
  self.closed = true
  self:flush()
  if self.prepare then self.prepare:close() end
  if self.fd then uv.fs_close(self.fd) end
  self.fd = nil
  for _, report in ipairs(self.reports) do
    if report.close then
      local ok, err = pcall(report.close, report)
      if not ok then self:_report_failed(report, err) end
    end
  end
end

return M
