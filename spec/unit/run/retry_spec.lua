local retry = require("runner.run.retry")

--- The state after a list of outcomes, and how many of them were used.
local function play(outcomes, retries, may_retry)
  local record = retry.record({ id = "t" })
  for i, status in ipairs(outcomes) do
    local state = retry.decide(record, status, retries, may_retry)
    if state then return state, i end
  end
  return nil, #outcomes
end

describe("retry", function()
  it("decides a first pass, skip or failure at once without retries", function()
    for _, status in ipairs({ "passed", "skipped", "failed", "timed_out", "crashed" }) do
      assert.are.equal(status, play({ status }, 0))
    end
  end)

  it("calls a pass after a failure flaky, of whatever kind the failure was", function()
    assert.are.equal("flaky", play({ "failed", "passed" }, 1))
    assert.are.equal("flaky", play({ "timed_out", "crashed", "passed" }, 2))
  end)

  it("stops at the budget; the last failure names the state", function()
    assert.are.same({ "failed", 3 }, { play({ "failed", "failed", "failed", "passed" }, 2) })
    assert.are.same({ "timed_out", 2 }, { play({ "failed", "timed_out" }, 1) })
  end)

  it("asks the hook only when a retry is due", function()
    local asked = 0
    local function no()
      asked = asked + 1
      return false
    end
    assert.are.equal("passed", play({ "passed" }, 3, no))
    assert.are.equal("failed", play({ "failed" }, 0, no))
    assert.are.equal(0, asked)
    assert.are.same({ "failed", 1 }, { play({ "failed", "passed" }, 3, no) })
    assert.are.equal(1, asked)
  end)

  it("never spends retries on lost sandboxes, and gives up after their own budget", function()
    assert.are.equal("passed", play({ "lost", "lost", "lost", "passed" }, 0))
    assert.are.equal("not_run", play({ "lost", "lost", "lost", "lost" }, 5))
    assert.are.equal("failed", play({ "failed", "lost", "lost", "lost", "lost" }, 5))
    assert.are.equal("flaky", play({ "failed", "lost", "passed" }, 1))
  end)

  it("keeps a failure that waited for its retry when the run stops", function()
    local record = retry.record({ id = "t" })
    assert.is_nil(retry.decide(record, "crashed", 1))
    assert.are.equal("crashed", retry.abandon(record))
    assert.are.equal("not_run", retry.abandon(retry.record({ id = "u" })))
    assert.are.equal("not_run", play({ "cancelled" }, 3))
  end)
end)
