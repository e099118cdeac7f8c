local suggest = require("runner.base.suggest")

describe("suggest", function()
  local keys = { "max_parallel", "max_fail", "retries", "test_timeout", "env", "on" }

  local cases = {
    { "max_paralel", "max_parallel" }, { "maxParallel", "max_parallel" },
    { "max-parallel", "max_parallel" },
    { "MAX_FAIL", "max_fail" }, { "retires", "retries" }, { "timeout", "test_timeout" },
    { "test_timeout_secs", "test_timeout" }, { "evn", "env" },
    { "zzz", nil }, { "no", nil }, { "", nil }, { 3, nil }, { ("x"):rep(10 ^ 6), nil },
  }
  for _, case in ipairs(cases) do
    it(("takes %.20s for %s"):format(tostring(case[1]), tostring(case[2])), function()
      assert.are.equal(case[2], suggest.nearest(case[1], keys))
    end)
  end

  it("counts edits", function()
    assert.are.equal(0, suggest.distance("", ""))
    assert.are.equal(3, suggest.distance("", "abc"))
    assert.are.equal(1, suggest.distance("ab", "ba"))
    assert.are.equal(3, suggest.distance("kitten", "sitting"))
  end)

  it("makes half a sentence of it", function()
    assert.are.equal('; did you mean "env"?', suggest.hint("evn", keys))
    assert.are.equal("", suggest.hint("zzz", keys))
  end)
end)
