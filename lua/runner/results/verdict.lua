--- The verdict of a run: one word and one exit code, decided from the counts and problems. Pure.

local RED = require("runner.base.outcome").RED

local M = {}

M.EXIT = {
  passed = 0, failed = 1, flaky = 2, infrastructure = 3, no_tests = 4, internal = 70, config = 78,
  sighup = 129, sigint = 130, sigterm = 143,
}

---@class runner.Facts
---@field counts table<string, integer> tests by final state; `quarantined` of the failed and flaky ones do not count,
---  `quarantined_flaky` of which are flaky
---@field tests integer selected
---@field problems { kind: string }[]
---@field interrupted string? signal
---@field stopped string? why the run handed out no more
---@field no_tests "pass"|"warn"|"fail"|nil
---@field collect_only boolean?

---@param facts runner.Facts
---@return "passed"|"failed"|"flaky"|"infrastructure"|"no_tests"|"interrupted" status
---@return integer exit_code
function M.of(facts)
  local counts, red, broken = facts.counts, false, false
  for _, problem in ipairs(facts.problems) do
    red = red or RED[problem.kind]
    broken = broken or problem.kind == "infrastructure"
  end
  if facts.interrupted then return "interrupted", M.EXIT[facts.interrupted] end
  local flaky_aside = counts.quarantined_flaky or 0
  local failed_aside = (counts.quarantined or 0) - flaky_aside
  if red or counts.failed + counts.timed_out + counts.crashed > failed_aside then return "failed", M.EXIT.failed end
  if broken and (counts.not_run > 0 or facts.tests == 0) then return "infrastructure", M.EXIT.infrastructure end
  if counts.not_run > 0 or facts.stopped then return "failed", M.EXIT.failed end
  if facts.tests == 0 and not facts.collect_only then
    return "no_tests", (facts.no_tests or "fail") == "fail" and M.EXIT.no_tests or M.EXIT.passed
  end
  if counts.flaky > flaky_aside then return "flaky", M.EXIT.flaky end
  return "passed", M.EXIT.passed
end

return M
