local async = require("spec.support.async")
local phases = require("runner.run.phase")
local task = require("runner.base.task")

local NAMES = { "discovering", "running", "draining", "cancelling", "killed" }

describe("the phase of a run", function()
  it("goes forward only", function()
    for from, name in ipairs(NAMES) do
      for to, other in ipairs(NAMES) do
        local phase = phases.new()
        phase:enter(name)
        assert.are.equal(to > from, phase:enter(other), name .. " → " .. other)
        assert.are.equal(NAMES[math.max(from, to)], phase.name)
      end
    end
    assert.has_error(function() phases.new():enter("stopped") end)
  end)

  it("has reached what it has passed over", function()
    local phase = phases.new()
    phase:enter("cancelling", "why")
    assert.is_true(phase:reached("running"))
    assert.is_true(phase:reached("cancelling"))
    assert.is_false(phase:reached("killed"))
  end)

  it("keeps the first reason, and none of a run that merely goes on", function()
    local phase = phases.new()
    phase:enter("running", "tests are known")
    assert.is_nil(phase.reason)
    phase:enter("draining")
    assert.is_nil(phase.reason)
    phase:enter("draining", "stopped at the first failure")
    phase:interrupt("sigterm")
    assert.are.equal("stopped at the first failure", phase.reason)
    assert.are.equal("sigterm", phase.signal)
  end)

  it("is cancelled by the first signal and killed by the second", function()
    local phase = phases.new()
    assert.is_true(phase:interrupt("sigint"))
    assert.are.same({ "cancelling", "interrupted by SIGINT" }, { phase.name, phase.reason })
    assert.is_false(phase:interrupt("sigterm"))
    assert.are.same({ "killed", "sigint" }, { phase.name, phase.signal })
  end)

  it("is cancelled, not killed, by the first signal after another reason cancelled it", function()
    local phase = phases.new()
    phase:enter("cancelling", "the time limit has passed")
    assert.is_false(phase.interrupted:is_set())
    assert.is_true(phase:interrupt("sigint"))
    assert.are.equal("cancelling", phase.name)
    assert.is_true(phase.interrupted:is_set())
  end)

  it("calls the handlers of each phase that begins, in order, once", function()
    local phase, said = phases.new(), {}
    for _, name in ipairs({ "killed", "cancelling", "draining", "running" }) do
      phase:on(name, function() said[#said + 1] = name .. " in " .. phase.name end)
    end
    local off = phase:on("draining", function() said[#said + 1] = "never" end)
    off()
    phase:enter("cancelling")
    phase:enter("draining")
    assert.are.same({ "running in cancelling", "draining in cancelling", "cancelling in cancelling" }, said)
    phase:on("running", function() said[#said + 1] = "late" end)
    assert.are.equal("late", said[4])
  end)

  it("can be waited for, also by who comes late", async(function()
    local phase, said = phases.new(), {}
    task.scope(function(scope)
      for _, name in ipairs({ "killed", "running" }) do
        scope:spawn(function()
          phase:wait_for(name)
          said[#said + 1] = name
        end)
      end
      phase:enter("running")
      task.sleep(0)
      assert.are.same({ "running" }, said)
      phase:enter("killed")
    end)
    phase:wait_for("draining")
    assert.are.same({ "running", "killed" }, said)
  end))
end)
