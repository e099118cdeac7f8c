local regex = require("runner.base.regex")

describe("regex", function()
  local function matches(pattern, subject)
    return assert(regex.compile(pattern))(subject)
  end

  it("matches anywhere, and knows what people type", function()
    assert.is_true(matches("test_(a|b)$", "tests/test_b"))
    assert.is_false(matches("^b", "ab"))
    assert.is_true(matches([[\[x\d+\]$]], "t[x12]"))
    assert.is_true(matches([[^[\d_]+$]], "12_3"))
    assert.is_false(matches([[\D]], "123"))
    assert.is_true(matches([[a{2}\.py]], "aa.py"))
    assert.is_true(matches("[]x]d", "]d"))
  end)

  it("takes any subject", function()
    assert.is_true(matches("b$", "a\0b"))
    assert.is_true(matches("^$", ""))
  end)

  it("says what is wrong with a pattern", function()
    local compiled, message = regex.compile("(")
    assert.is_nil(compiled)
    assert.matches("^%(: ", message)
  end)
end)
