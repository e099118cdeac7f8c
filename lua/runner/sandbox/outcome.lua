--- Decides what became of one attempt, from what its worker said of it or how its process ended, whether we stopped it,
--- and whether the run is being cancelled. Pure.

local exits = require("runner.io.exit_text")
local shape = require("runner.worker.shape")

local M = {}

---@alias runner.Status "passed"|"failed"|"skipped"|"timed_out"|"crashed"|"lost"|"cancelled"

---@class runner.Outcome what is kept of a result; see docs/plugins.md
---@field status runner.Status
---@field duration number? seconds; nil: as our clock has it
---@field message string?
---@field type string?
---@field trace string?
---@field reason string? why it was skipped
---@field xfail boolean|string|nil
---@field exit_code integer?
---@field signal integer|string|nil
---@field cpu number? seconds
---@field memory number? bytes
---@field phases table<string, number>? seconds
---@field leaks { command: string, test: string? }[]?
---@field sections { [1]: string, [2]: string }[]? title and text
---@field reruns integer? failures before, by the framework itself

---@class runner.Stopped what we did to an attempt
---@field why "timeout"|"cancelled"|nil nil: nothing
---@field limit number? seconds that the test may take
---@field is_cancelled boolean? the run is being cancelled: nothing is tried elsewhere

local STOPPED = { timeout = "timed_out", cancelled = "cancelled" }

local function either(...)
  local checks = {}
  for i, name in ipairs({ ... }) do checks[i] = shape.maybe(name) end
  return shape.maybe(function(value)
    local wrong
    for _, check in ipairs(checks) do
      wrong = check(value)
      if not wrong then return nil end
    end
    return wrong
  end)
end

local leak = shape.record({ command = "string", pid = "number?", test = "string?" })

--- Of all frameworks. A field that is not here is a plug-in's own, and nobody's business.
local FIELDS = {
  status = shape.one_of("passed", "failed", "skipped", "timed_out", "crashed", "lost"),
  duration = "number?", message = "string?", type = "string?", trace = "string?", reason = "string?",
  xfail = either("boolean", "string"), exit_code = "number?", signal = either("number", "string"), cpu = "number?",
  memory = "number?", phases = shape.maybe(shape.map("number")), leaks = shape.maybe(shape.list(leak)),
  sections = shape.maybe(shape.list(shape.record({ "string", "string" }))), reruns = "count?",
}
local check = shape.record(FIELDS)

--- What of a result is kept, if it makes sense.
local function read(result)
  if type(result) ~= "table" then return nil, "no table" end
  local outcome = {}
  for name in pairs(FIELDS) do outcome[name] = result[name] end
  local wrong = check(outcome)
  if wrong then return nil, wrong end
  return outcome
end

--- What we did to it overrules what was said of it; but a sandbox that died while it was asked to stop a test says
--- nothing of the test, and once the run is cancelled nothing is lost that could be tried elsewhere.
local function overrule(outcome, stopped)
  if outcome.status == "lost" then
    return stopped.is_cancelled and { status = "cancelled" } or outcome
  end
  outcome.status = STOPPED[stopped.why] or outcome.status
  if outcome.status == "timed_out" then
    outcome.duration = nil -- of which the worker knows only what it saw
    if stopped.why and stopped.limit then outcome.message = ("timed out after %g s"):format(stopped.limit) end
  end
  return outcome
end

--- The outcome of a test of which its worker told the result.
---@param result table what `report.finished` was given; not trusted
---@param stopped runner.Stopped
---@return runner.Outcome
---@return string? wrong the result made no sense, and why: the test has crashed
function M.of_result(result, stopped)
  local outcome, wrong = read(result)
  if not outcome then
    outcome = { status = "crashed", message = "the worker's report makes no sense: " .. wrong }
  end
  return overrule(outcome, stopped), wrong
end

--- The outcome of a test whose process ended before it said how the test went.
---@param exit runner.CommandExit
---@param stopped runner.Stopped
---@return runner.Outcome
function M.of_exit(exit, stopped)
  if exit.kind == "lost" then
    return overrule({ status = "lost", message = exit.message or "the sandbox was lost" }, stopped)
  elseif stopped.why then
    return overrule({ status = "crashed" }, stopped)
  end
  local message = ("the process %s while this test ran%s"):format(exits.verb(exit),
    exit.signal and exit.message and ": " .. exit.message or "")
  return { status = "crashed", message = message, exit_code = exit.code, signal = exit.signal }
end

return M
