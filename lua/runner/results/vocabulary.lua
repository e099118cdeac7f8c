-- The words for states, shared by everything that prints: those that users of cargo-nextest know.

local text = require("runner.base.text")

local M = {}

-- { word alone, word after "TRY n", colour }
local words = {
  passed = { "PASS", "PASS", "green" },
  flaky = { "FLAKY", "PASS", "yellow" },
  failed = { "FAIL", "FAIL", "red" },
  timed_out = { "TIMEOUT", "TMT", "red" },
  crashed = { "CRASH", "CRASH", "red" },
  skipped = { "SKIP", "SKIP", "cyan" },
  not_run = { "NOT RUN", "NOT RUN", "red" },
  lost = { "LOST", "LOST", "yellow" },
  cancelled = { "CANCELLED", "CANCEL", "yellow" },
}

-- Final states in the order in which a summary names them. Failures in quarantine are a state of their own, and so
-- are tests that were stopped while they ran, which the events call not run.
M.counted = {
  { "passed", "passed", "green" }, { "failed", "failed", "red" },
  { "timed_out", "timed out", "red" }, { "crashed", "crashed", "red" },
  { "cancelled", "cancelled", "red" }, { "not_run", "not run", "red" },
  { "quarantined", "quarantined", "yellow" }, { "skipped", "skipped", "cyan" },
}

--- Why a failure does not count.
---@param reason string|true
---@return string
function M.quarantined(reason)
  return reason == true and "quarantined" or "quarantined: " .. text.first_line(tostring(reason))
end

--- The status word of an attempt or test, and its colour.
---@param status string
---@param try integer? the attempt's number where others precede or follow
---@return string word at most 12 columns
---@return string colour
function M.word(status, try)
  local entry = words[status] or { status:upper(), status:upper(), "yellow" }
  if try then return ("TRY %d %s"):format(try, entry[2]), entry[3] end
  return entry[1], entry[3]
end

--- The word for a problem, its colour, and what it is about.
---@param problem table the event
---@return string word
---@return string colour
---@return string about
function M.problem(problem)
  local where = problem.id or problem.group or problem.sandbox
  local about = where and text.escape(tostring(where))
  if problem.kind == "leak" then return "LEAK", "yellow", about or "a process" end
  return "ERROR", "red", text.escape(tostring(problem.kind or "?")) .. (about and " " .. about or "")
end

--- `[   0.005s]`
---@param seconds number?
---@return string
function M.duration(seconds)
  return ("[%8.3fs]"):format(seconds or 0)
end

--- `00:01:05`
---@param seconds number
---@return string
function M.clock(seconds)
  local whole = math.max(0, seconds) // 1 | 0
  return ("%02d:%02d:%02d"):format(whole // 3600, whole // 60 % 60, whole % 60)
end

--- `1 test`, `2 tests`
---@param count integer
---@param noun string
---@return string
function M.plural(count, noun)
  return ("%d %s%s"):format(count, noun, count == 1 and "" or "s")
end

return M
