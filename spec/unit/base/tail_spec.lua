local tail = require("runner.base.tail")

describe("runner.framework.tail", function()
  it("keeps the end of what it is given, whatever the pieces", function()
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 50 do
      local limit, all = math.random(200), ""
      local kept = tail.new(limit)
      for i = 1, math.random(300) do
        local piece = tostring(i):rep(math.random(0, 20))
        all = all .. piece
        kept:add(piece)
        if math.random(20) == 1 then kept:text() end
      end
      local text = kept:text()
      assert.are.equal(all:sub(#all - #text + 1), text, "seed " .. seed)
      assert.is_true(#text >= math.min(#all, limit) and #text <= 2 * limit, "seed " .. seed)
    end
  end)

  it("takes many small pieces in little time", function()
    local kept = tail.new(128 * 1024)
    local started = os.clock()
    for _ = 1, 500000 do kept:add("piece\n") end
    assert.is_true(#kept:text() >= 128 * 1024)
    assert.is_true(os.clock() - started < 5)
  end)

  it("can be set", function()
    local kept = tail.new(4)
    kept:add("abc")
    kept:set("")
    assert.are.equal("", kept:text())
    kept:add("xyz")
    assert.are.equal("xyz", kept:text())
  end)
end)
