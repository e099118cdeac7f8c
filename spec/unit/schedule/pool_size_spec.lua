local pool_size = require("runner.schedule.pool_size")

describe("the size of a pool", function()
  it("is no more than shortens the run", function()
    assert.are.equal(2, pool_size.slots(100, 50, 0, 100))
    assert.are.equal(1, pool_size.slots(10, 10, 1, 200))
  end)

  it("is all there is when there is much to do", function()
    assert.is_true(pool_size.slots(100000, 10, 1, 100) >= 95)
    assert.is_true(pool_size.slots(1000, 1, 0, 10) >= 9)
  end)

  it("is smaller where sandboxes start slowly", function()
    local quick, slow = pool_size.slots(1000, 1, 1, 1000), pool_size.slots(1000, 1, 100, 1000)
    assert.is_true(slow < quick)
    assert.is_true(100 + 1000 / slow <= 1.05 * (100 + 1000 / 1000) + 1e-9)
  end)

  it("stands tests that take no time", function()
    assert.are.equal(5, pool_size.slots(0, 0, 0, 5))
    assert.are.equal(1, pool_size.slots(0, 0, 1, 5))
  end)
end)
