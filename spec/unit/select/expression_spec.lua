--- Filter expressions: what they match, and what is said of those that are wrong.

local async = require("spec.support.async")
local errors = require("runner.base.errors")
local expression = require("runner.select.expression")

local tests = {
  { id = "a/test_login.py::test_ok", group = "unit", framework = "pytest", file = "a/test_login.py",
    tags = { "slow" } },
  { id = "a/test_login.py::test_bad[x(1)]", group = "unit", framework = "pytest", file = "a/test_login.py" },
  { id = "b/deep/test_ui.py::test_ok", group = "ui", framework = "pytest", file = "b/deep/test_ui.py",
    tags = { "db", "slow" } },
  { id = "crate::tests::adds", name = "tests::adds", group = "rust", framework = "cargo" },
}

local past = { statuses = { [tests[1].id] = "failed", [tests[2].id] = "not_run", [tests[3].id] = "flaky" } }
function past:status(test) return self.statuses[test.id] end
function past:is_flaky(test) return self:status(test) == "flaky" end
function past.duration(_, test) return ({ [tests[1].id] = 12, [tests[2].id] = 3 })[test.id] end

local context = {
  past = past,
  changed = function(ref) return ref == "main" and { ["a/test_login.py"] = true } or {} end,
  predicates = { starts = function(test, text) return test.id:sub(1, #text) == text end },
}

--- Numbers of the tests that match.
local function matching(text)
  local matches = expression.compile(expression.parse(text, context.predicates), context)
  local found = {}
  for i, test in ipairs(tests) do
    if matches(test) then found[#found + 1] = i end
  end
  return table.concat(found, " ")
end

describe("a filter expression", function()
  local cases = {
    ["all()"] = "1 2 3 4", ["none()"] = "", ["test(login)"] = "1 2", ["test(~login)"] = "1 2",
    ["test(=tests::adds)"] = "4", ["test(=crate::tests::adds)"] = "4", ["test(/^a.*ok$/)"] = "1",
    ["test(/\\.py::/)"] = "1 2 3",
    ["test(/(ui|login).py::test_(ok|no)/)"] = "1 3", ["test(/a\\/test/)"] = "1 2",
    ["test(#a/*)"] = "1 2", ["file(a/*)"] = "1 2", ["file(*)"] = "", ["file(**/*.py)"] = "1 2 3", ["file(b/**)"] = "3",
    ["file(=b/deep/test_ui.py)"] = "3", ["file([ab]/{test_login,nothing}.p?)"] = "1 2", ["file(~deep)"] = "3",
    ["group(u*)"] = "1 2 3", ["group(ui)"] = "3", ["framework(cargo)"] = "4", ["tag(slow)"] = "1 3", ["tag(s)"] = "",
    ["tag(~lo)"] = "1 3", ["test([x(1)])"] = "2", ["test(\\(1\\))"] = "2",
    ["test(=a/test_login.py::test_bad[x(1)])"] = "2",
    ["not test(ok)"] = "2 4", ["!test(ok)"] = "2 4", ["tag(slow) and group(ui)"] = "3", ["tag(slow) & group(ui)"] = "3",
    ["tag(slow) - group(ui)"] = "1", ["group(ui) or group(rust)"] = "3 4", ["group(ui) | group(rust)"] = "3 4",
    ["group(ui) + group(rust)"] = "3 4", ["group(ui) or tag(slow) and test(login)"] = "1 3",
    ["(group(ui) or tag(slow)) and test(login)"] = "1", ["not (group(ui) or group(rust))"] = "1 2",
    ["not not all()"] = "1 2 3 4", ["  test ( login )  "] = "1 2",
    ["failed(latest)"] = "1 2", ["failed()"] = "1 2", ["flaky()"] = "3", ["slow(>10s)"] = "1", ["slow(10s)"] = "1",
    ["slow(<=3)"] = "2", ["changed(main)"] = "1 2 4", ["changed()"] = "4", ["starts(crate)"] = "4",
    ["failed() - slow(>10s)"] = "2",
  }
  for text, expected in pairs(cases) do
    it("matches: " .. text, async(function() assert.are.equal(expected, matching(text)) end))
  end

  it("knows whether it needs earlier runs", function()
    assert.is_true(expression.parse("test(a) or not slow(1s)").uses_past)
    assert.is_nil(expression.parse("test(failed)").uses_past)
  end)

  local wrong = {
    ["tets(a)"] = "test", [""] = "where a predicate is expected", ["test(a"] = "not closed",
    ["test(a) test(b)"] = "expected and",
    ["test(a) and"] = "where a predicate is expected", ["(test(a)"] = "not closed", ["test"] = "expected %( after test",
    ["test()"] = "text to look for", ["all(x)"] = "no argument", ["test(/a)"] = "does not end",
    ["test(/(/)"] = "test%(%)",
    ["slow(often)"] = "duration", ["failed(ever)"] = "latest", ["changed(--all)"] = "name of a commit",
    ["test(a))"] = "expected and", ["andtest(a)"] = "unknown predicate", ["and"] = "unknown predicate",
    [("("):rep(5000) .. "all()"] = "nested too deep", [("not "):rep(5000) .. "all()"] = "nested too deep",
  }
  for text, message in pairs(wrong) do
    it("is refused, with the place: " .. text:sub(1, 40), function()
      local ok, err = pcall(expression.parse, text)
      assert.is_false(ok)
      assert.is_true(errors.is(err, "usage"), tostring(err))
      assert.matches(message, err.message)
      assert.matches("%^", err.message)
    end)
  end

  it("may name only groups and frameworks that there are, where these are known", function()
    local known = { group = { "unit", "ui" }, framework = { "pytest", "cargo" } }
    for _, text in ipairs({ "group(u*)", "not framework(cargo)", "group(/^un/)", "group(~i)", "tag(x)" }) do
      assert.is_truthy(expression.parse(text, nil, known))
    end
    for text, message in pairs({
      ["framework(pytset)"] = 'no such framework; did you mean "pytest"', ["group(=untit)"] = 'did you mean "unit"',
      ["all() or group(nosuch)"] = "no such group; the groups are unit ui\n.*\n           %^",
      ["not group(/^x/)"] = "no such group", ["group(/(/)"] = "group%(%): ",
    }) do
      local ok, err = pcall(expression.parse, text, nil, known)
      assert.is_false(ok, text)
      assert.is_true(errors.is(err, "usage"), tostring(err))
      assert.matches(message, err.message)
    end
  end)

  it("never breaks on random text", function()
    local seed = os.time()
    math.randomseed(seed)
    local words = {
      "test", "(", ")", "and", "not", "/", "\\", "[", "{", "*", " ", "tag", "!", "-", "slow", ">", "1s", "é", "\0", "#",
    }
    for _ = 1, 3000 do
      local parts = {}
      for i = 1, math.random(12) do parts[i] = words[math.random(#words)] end
      local text = table.concat(parts)
      local ok, err = pcall(expression.parse, text)
      assert.is_true(ok or errors.is(err, "usage"), ("seed %d: %q: %s"):format(seed, text, tostring(err)))
    end
  end)
end)
