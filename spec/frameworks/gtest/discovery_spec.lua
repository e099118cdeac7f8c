local discovery = require("frameworks.gtest.discovery")

describe("frameworks.gtest.list", function()
  it("reads the text of --gtest_list_tests, after whatever main() prints", function()
    local cases = discovery.parse([[
Running main() from ./googletest/src/gtest_main.cc
Plain.
  One
  DISABLED_Two
Typed/0.  # TypeParam = std::pair<int, char>
  Is
In/Values.
  Less/0  # GetParam() = "# GetParam() = 2"
  Less/Named
]])
    assert.are.same({
      { suite = "Plain", name = "One" },
      { suite = "Plain", name = "DISABLED_Two" },
      { suite = "Typed/0", name = "Is", kind = "TypeParam", value = "std::pair<int, char>" },
      { suite = "In/Values", name = "Less/0", kind = "GetParam()", value = '"# GetParam() = 2"' },
      { suite = "In/Values", name = "Less/Named" },
    }, cases)
    assert.is_false(discovery.is_disabled(cases[1]))
    assert.is_true(discovery.is_disabled(cases[2]))
  end)

  it("prefers the JSON, in which bytes of UTF-8 are escaped one by one", function()
    local cases = discovery.parse("garbage\n", [[{"testsuites":[{"name":"S\/0","testsuite":[
      {"name":"\u00C3\u00BC","type_param":"int","file":"a.cc","line":7}, {"name":"B","value_param":"\"x\""}]}]}]])
    assert.are.same({
      { suite = "S/0", name = "ü", kind = "TypeParam", value = "int", file = "a.cc", line = 7 },
      { suite = "S/0", name = "B", kind = "GetParam()", value = '"x"' },
    }, cases)
  end)

  it("falls back to the text when the JSON is none", function()
    local broken = { "", "{", "[]", "{}", '{"testsuites":[1]}', '{"testsuites":[{"name":"S","testsuite":[{}]}]}' }
    for _, json in ipairs(broken) do
      assert.are.same({ { suite = "S", name = "A" } }, (discovery.parse("S.\n  A\n", json)))
    end
  end)

  it("refuses what is no list, and names the line", function()
    assert.is_nil(discovery.parse("usage: program [-h]\n"))
    local cases, line = discovery.parse("Suite.\n  Test\nwarning: something odd\n")
    assert.is_nil(cases)
    assert.are.equal("warning: something odd", line)
  end)

  it("takes a program without tests for one", function()
    assert.are.same({}, discovery.parse("", '{"testsuites":[]}'))
  end)
end)
