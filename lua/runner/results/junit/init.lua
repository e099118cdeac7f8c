-- JUnit XML in the dialect that Surefire, Jenkins, GitLab, CircleCI and the GitHub actions all read.
--
-- One `testcase` per test, however many attempts: a test that passed in the end carries a
-- `flakyFailure` for each failure before; one that never passed carries `failure` (its first) and
-- `rerunFailure` (later ones), with their traces in `stackTrace`, where Jenkins looks for them. One in
-- quarantine is `skipped`. What did not run, and what went wrong outside of tests, is an `error`:
-- never green, never both.
-- The report is written at `close` (junit_file.lua); until then the details of failures are put
-- aside on disk.

local output_log = require("runner.results.output_log")
local cjson = require("cjson.safe")
local exit_text = require("runner.io.exit_text")
local files = require("runner.base.files")
local path = require("runner.base.path")
local outcome = require("runner.base.outcome")
local junit_file = require("runner.results.junit.file")
local spill = require("runner.results.spill")

local json = cjson.new()

local M = {}

local message_limit = 1000 -- bytes of a message attribute; the whole is in the trace
local in_memory = 1 << 20 -- bytes of details before they go to disk

local types = { timed_out = "timeout", crashed = "crash" }

---@class runner.JunitRecord one future `testcase`
---@field suite string
---@field classname string
---@field name string
---@field file string?
---@field line integer?
---@field status string final state of a test, "cancelled" (stopped while it ran), or "problem"
---@field kind string? of a problem; "xfail" of a skip
---@field reason string? why skipped, why not run, what the problem is
---@field quarantine string|true|nil why its failure does not count
---@field duration number seconds
---@field started number? time of the first attempt
---@field failures any[]? handles of details: { type, message, trace, time, out, err } as JSON
---@field text any handle of a problem's text

---@class runner.Junit: runner.Report
---@field title string
---@field order runner.JunitRecord[]
---@field details runner.Spill
---@field started number time
---@field duration number seconds
local Junit = { name = "junit" }
Junit.__index = Junit
Junit.__name = "runner.results.junit"

---@param options { path: string, name: string? } `name`: of the whole report, default "runner"
---@return runner.Junit
function M.new(options)
  return setmetatable({
    path = options.path,
    title = options.name or "runner",
    order = {}, -- records of tests and problems as they came
    tests = {}, -- id → record
    details = spill.new(in_memory),
    started = 0, duration = 0,
  }, Junit)
end

local function strip_extension(file)
  return (file:gsub("^%./", ""):gsub("%.[%w_]+$", ""))
end

--- How consumers identify a test: `tests.test_cart.TestCart` and `test_total[1]`.
---@param test table the `test` event
---@return string classname
---@return string name
function M.identity(test)
  local name = test.name or test.id
  if not test.file then return test.classname or test.group or test.framework or "tests", name end
  local parts = strip_extension(test.file):gsub("/+", ".")
  -- Classes stand before the name; a parameter may hold "::" too.
  local plain = name:match("^[^%[]*")
  local before = plain:match("^(.*)::[^:]*$") or plain:match("^(.*)::$")
  if before then
    name = name:sub(#before + 3)
    if before:sub(1, #test.file + 2) == test.file .. "::" then
      before = before:sub(#test.file + 3)
    elseif before == test.file then
      before = ""
    end
    if before ~= "" then parts = parts .. "." .. before:gsub("::", ".") end
  end
  return test.classname or parts, name
end

local handlers = {}

--- Handles one event.
---@param event table
function Junit:event(event)
  local handler = handlers[event.event]
  if handler then handler(self, event) end
end

function handlers.run_started(self, event)
  self.started = event.time or 0
end

function handlers.test(self, event)
  if self.tests[event.id] then return end
  local classname, name = M.identity(event)
  local record = {
    suite = event.file or event.group or "tests",
    classname = classname, name = name, file = event.file,
    line = math.tointeger(tonumber(event.line)),
    status = "not_run", duration = 0,
  }
  self.tests[event.id] = record
  self.order[#self.order + 1] = record
end

function handlers.attempt_started(self, event)
  local record = self.tests[event.id]
  if record and not record.started then record.started = event.time end
end

local function string_of(value)
  return type(value) == "string" and value or value ~= nil and tostring(value) or ""
end

local function cut(message)
  message = string_of(message)
  if #message <= message_limit then return message end
  return message:sub(1, (utf8.offset(message, 0, message_limit) or message_limit) - 1) .. " ..."
end

-- Standard output, then what else the framework captured (log records).
local function output_of(event)
  local parts = { output_log.text(event.stdout, event.log) }
  for _, section in ipairs(event.sections or {}) do
    parts[#parts + 1] = ("--- %s ---\n%s"):format(string_of(section[1]), string_of(section[2]))
  end
  return table.concat(parts, "\n")
end

function handlers.attempt_finished(self, event)
  local record = self.tests[event.id]
  if not record then return end
  record.started = record.started or event.started
  if event.status == "skipped" then
    record.kind = event.xfail and "xfail" or nil
    record.reason = cut(event.reason)
  end
  record.cancelled = event.status == "cancelled" or nil
  if not outcome.FAILURE[event.status] then return end
  record.failures = record.failures or {}
  table.insert(record.failures, self.details:put(json.encode({
    type = types[event.status] or event.type and string_of(event.type) or "failure",
    message = cut(event.message or exit_text.describe({ signal = event.signal })),
    trace = string_of(event.trace or event.message),
    time = event.duration,
    out = output_of(event),
    err = output_log.text(event.stderr, event.log),
  })) or false)
end

function handlers.test_finished(self, event)
  local record = self.tests[event.id]
  if not record then return end
  record.status = event.status == "not_run" and record.cancelled and "cancelled" or event.status
  record.quarantine = outcome.FAILURE[event.status] and event.quarantine or nil
  record.duration = event.duration or 0
  if event.reason then record.reason = cut(event.reason) end
end

function handlers.problem(self, event)
  if not outcome.RED[event.kind] and event.kind ~= "infrastructure" then return end
  local where = string_of(event.id or event.group or event.sandbox or event.kind)
  local record = {
    suite = where, classname = event.id and strip_extension(where):gsub("/+", ".") or where,
    name = event.kind, file = event.kind == "collection" and event.id or nil,
    status = "problem", kind = event.kind, duration = 0,
    reason = cut(event.message), text = self.details:put(string_of(event.text or event.message)),
  }
  if self.tests[where] then
    record.suite, record.classname = self.tests[where].suite, self.tests[where].classname
    record.name = ("%s of %s"):format(event.kind, self.tests[where].name)
    record.file = self.tests[where].file
  end
  self.order[#self.order + 1] = record
end

function handlers.run_finished(self, event)
  self.duration = event.duration or 0
  -- Else a run that found no tests because its configuration is wrong would look like one that has none.
  if event.error then
    handlers.problem(self, { kind = "config", id = "runner", message = string_of(event.error) })
  end
end

--- Writes the report beside its path and renames it, so that nobody reads half of one. Raises when
--- the disk refuses; an older report then stays.
function Junit:close()
  local unfinished = self.path .. ".tmp"
  files.make_folder(path.dirname(self.path))
  local file, message = io.open(unfinished, "wb")
  if not file then error(message, 0) end
  file:setvbuf("full", 65536)
  local failure
  local ok, err = pcall(junit_file.write, self, function(...)
    local written, why = file:write(...)
    if not written then failure = failure or why end
  end)
  local closed, why = file:close()
  self.details:close()
  failure = not ok and err or failure or not closed and why
  if not failure then
    ok, failure = os.rename(unfinished, self.path)
    if ok then return end
  end
  os.remove(unfinished)
  error(("cannot write %s: %s"):format(self.path, tostring(failure)), 0)
end

return M
