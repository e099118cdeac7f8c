local rw_gate = require("runner.worker.rw_gate")

describe("a gate", function()
  --- Enters under a name; `said` gets it when it may run.
  local function enter(one, said, leave, name, alone)
    one:enter(alone, function(left)
      said[#said + 1] = name
      leave[name] = left
    end)
  end

  it("lets many in at once, and one alone, in the order in which they came", function()
    local one, said, leave = rw_gate.new(), {}, {}
    enter(one, said, leave, "a", false)
    enter(one, said, leave, "b", false)
    enter(one, said, leave, "alone", true)
    enter(one, said, leave, "c", false)
    assert.are.same({ "a", "b" }, said)
    leave.a()
    leave.a() -- once is enough
    assert.are.same({ "a", "b" }, said)
    leave.b()
    assert.are.same({ "a", "b", "alone" }, said)
    leave.alone()
    assert.are.same({ "a", "b", "alone", "c" }, said)
  end)

  it("is left at once by who has nothing to do", function()
    local one, said, leave = rw_gate.new(), {}, {}
    for i = 1, 3 do
      one:enter(true, function(left)
        said[#said + 1] = i
        left()
      end)
    end
    enter(one, said, leave, "last", true)
    assert.are.same({ 1, 2, 3, "last" }, said)
  end)

  it("is shared in a sandbox under its name", function()
    local agent, other = {}, {}
    assert.are.equal(rw_gate.of(agent, "x"), rw_gate.of(agent, "x"))
    assert.are_not.equal(rw_gate.of(agent, "x"), rw_gate.of(agent, "y"))
    assert.are_not.equal(rw_gate.of(agent, "x"), rw_gate.of(other, "x"))
  end)
end)
