local duration = require("runner.base.duration")

describe("duration.parse", function()
  local good = {
    { 5, 5 }, { 0, 0 }, { 1.5, 1.5 }, { "90", 90 }, { "0.5", 0.5 }, { "5m", 300 },
    { "1h30m", 5400 },
    { "1h 30m", 5400 }, { " 5m ", 300 }, { "250ms", 0.25 }, { "1.5s", 1.5 }, { "1d", 86400 },
    { "1m500ms", 60.5 }, { "0s", 0 },
  }
  for _, case in ipairs(good) do
    it(("reads %q"):format(case[1]), function()
      assert.are.equal(case[2], duration.parse(case[1]))
    end)
  end

  local bad = {
    "", " ", "m", "5x", "5 apples", "-5s", "-5", "5m1h", "5m5m", "1.2.3", ".", ".s", "1e3", "0x10",
    "5m!",
    "inf", "nan", "5 5", "٥m", -1, -0.001, math.huge, 0 / 0, true, {}, print,
  }
  for _, case in ipairs(bad) do
    local is_value = type(case) == "string" or type(case) == "number"
    it(("refuses %s"):format(is_value and tostring(case) or type(case)), function()
      local seconds, why = duration.parse(case)
      assert.is_nil(seconds)
      assert.is_string(why)
    end)
  end

  it("refuses digits that overflow", function()
    assert.is_nil(duration.parse(("9"):rep(400)))
    assert.is_nil(duration.parse(("9"):rep(400) .. "h"))
  end)
end)

describe("duration.format", function()
  local cases = {
    { 0, "0s" }, { 0.25, "250ms" }, { 0.0005, "0.5ms" }, { 1.5, "1.5s" }, { 59, "59s" },
    { 60, "1m" },
    { 61.2, "1m1s" }, { 5400, "1h30m" }, { 90061, "1d1h1m1s" },
  }
  for _, case in ipairs(cases) do
    it("writes " .. case[2], function()
      assert.are.equal(case[2], duration.format(case[1]))
    end)
  end

  it("writes what parse reads", function()
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 200 do
      local seconds = math.random(0, 10 ^ 6)
      assert.are.equal(seconds, duration.parse(duration.format(seconds)), "seed " .. seed)
    end
  end)
end)
