--- Plans: what a predicted run's time consists of.

local plan = require("runner.schedule.forecast")

describe("the critical path of a plan", function()
  --- Executions "id slot started ended", in the order in which they end.
  local function path_of(fixed_cost, ...)
    local slots = {}
    for i, text in ipairs({ ... }) do
      local id, slot, started, ended = text:match("^(%S+) (%S+) (%S+) (%S+)$")
      slots[i] = { id = id, sandbox = 1, slot = slot, started = tonumber(started), ended = tonumber(ended) }
    end
    local ids = {}
    for i, one in ipairs(plan.critical_path({ slots = slots }, { fixed_cost = fixed_cost })) do ids[i] = one.id end
    return table.concat(ids, " ")
  end

  it("is the slot that ends last, while nothing waits for others", function()
    assert.are.equal("a c", path_of(0.5, "a 1 2 4", "b 2 2 5", "c 1 4.5 9"))
  end)

  it("goes on in another slot where a test waited for what ran there", function()
    assert.are.equal("a b c", path_of(0, "x 2 0 1", "a 1 0 2", "b 2 2 5", "c 1 5 6"))
    assert.are.equal("long mutex", path_of(0.1, "short 2 0 1", "long 1 0 5", "mutex 2 5.1 6"))
  end)

  it("begins where a slot has only just become ready", function()
    assert.are.equal("late", path_of(0, "early 1 0 1", "late 2 3 9"))
  end)

  it("ends, whatever takes no time", function()
    assert.are.equal("a c", path_of(0, "a 1 0 0", "b 2 0 0", "c 1 0 0"))
    assert.are.equal("", path_of(0))
  end)
end)
