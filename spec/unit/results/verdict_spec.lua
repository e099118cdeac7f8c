local verdict = require("runner.results.verdict")

local function of(counts, rest)
  local facts = { counts = { passed = 0, failed = 0, flaky = 0, skipped = 0, timed_out = 0, crashed = 0, not_run = 0 } }
  facts.tests, facts.problems = 0, {}
  for state, n in pairs(counts) do
    facts.counts[state] = n
    facts.tests = facts.tests + n
  end
  for key, value in pairs(rest or {}) do facts[key] = value end
  return { verdict.of(facts) }
end

describe("verdict", function()
  it("is 0 when all passed or were skipped", function()
    assert.are.same({ "passed", 0 }, of({ passed = 3, skipped = 1 }))
  end)

  it("is 1 for any test that failed, timed out, crashed or did not run, flaky ones beside it or not", function()
    for _, state in ipairs({ "failed", "timed_out", "crashed", "not_run" }) do
      assert.are.same({ "failed", 1 }, of({ passed = 1, flaky = 1, [state] = 1 }))
    end
  end)

  it("is 2 when all passed, but some on a retry", function()
    assert.are.same({ "flaky", 2 }, of({ passed = 1, flaky = 1 }))
  end)

  it("is 3 when nothing failed and the infrastructure kept tests from running", function()
    local broken = { problems = { { kind = "infrastructure" } } }
    assert.are.same({ "infrastructure", 3 }, of({ passed = 1, not_run = 1 }, broken))
    assert.are.same({ "infrastructure", 3 }, of({}, broken))
    assert.are.same({ "failed", 1 }, of({ failed = 1, not_run = 1 }, broken))
    assert.are.same({ "passed", 0 }, of({ passed = 2 }, broken)) -- it was made up for
  end)

  it("is 1 for what could not be collected or torn down, whatever passed", function()
    for _, kind in ipairs({ "collection", "teardown", "config" }) do
      assert.are.same({ "failed", 1 }, of({ passed = 1 }, { problems = { { kind = kind } } }))
    end
  end)

  it("is 4 without tests, unless told otherwise", function()
    assert.are.same({ "no_tests", 4 }, of({}))
    assert.are.same({ "no_tests", 0 }, of({}, { no_tests = "warn" }))
    assert.are.same({ "no_tests", 0 }, of({}, { no_tests = "pass" }))
    assert.are.same({ "passed", 0 }, of({}, { collect_only = true }))
  end)

  it("names the signal that interrupted", function()
    assert.are.same({ "interrupted", 130 }, of({ failed = 1 }, { interrupted = "sigint" }))
    assert.are.same({ "interrupted", 143 }, of({ passed = 1 }, { interrupted = "sigterm" }))
  end)
end)
