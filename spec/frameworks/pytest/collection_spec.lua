--- What pytest finds, and what it says when it cannot.

local session = require("spec.support.pytest.session")

local with, collected, sample, contains = session.with, session.collected, session.sample, session.contains

local OUTCOMES = { ["test_outcomes.py"] = sample("outcomes.py"),
  ["pytest.ini"] = "[pytest]\nmarkers = slow: takes long\n" }
local DUPLICATES = {
  ["conftest.py"] = [[
def pytest_collection_modifyitems(items):
    items *= 3
]],
  ["test_a.py"] = "def test_1(): pass\n",
}

describe("pytest collection", function()
  it("finds ids, names, files, lines and markers", collected(OUTCOMES, nil, function(bench)
    local test = bench.by_name["TestClass::test_method"]
    assert.are.equal("test_outcomes.py::TestClass::test_method", test.id)
    assert.are.equal("test_outcomes.py", test.file)
    assert.are.same({ "slow" }, test.tags)
    local line = 0
    for text in sample("outcomes.py"):gmatch("([^\n]*)\n") do
      line = line + 1
      if text:find("def test_pass", 1, true) then break end
    end
    assert.are.equal(line, bench.by_name.test_pass.line)
  end))

  it("selects by path, marker and keyword", collected({
    ["a/test_a.py"] = "import pytest\n@pytest.mark.slow\ndef test_x(): pass\n"
      .. "def test_y(): pass\n",
    ["b/test_b.py"] = "def test_x(): pass\n",
  }, { paths = { "a" }, markers = "slow", keyword = "test_x" }, function(bench)
    assert.are.equal(1, #bench.tests)
    assert.are.equal("a/test_a.py::test_x", bench.tests[1].id)
  end))

  it("numbers ids that occur twice", collected(DUPLICATES, nil, function(bench)
    local ids = {}
    for i, test in ipairs(bench.tests) do ids[i] = test.id end
    assert.are.same({ "test_a.py::test_1", "test_a.py::test_1#2", "test_a.py::test_1#3" }, ids)
  end))

  it("reports a file that cannot be imported and goes on with the others", collected({
    ["test_bad.py"] = "import no_such_module\n", ["test_good.py"] = "def test_ok(): pass\n",
  }, { extra_args = { "-x" } }, function(bench)
    assert.are.equal(1, #bench.tests)
    local problem = bench.problems[1]
    assert.are.equal("collection", problem.kind)
    assert.are.equal("test_bad.py", problem.id)
    contains(problem.message, "no_such_module")
    contains(problem.text, "import no_such_module")
    assert.are.equal("passed", bench:worker().run("test_ok").result.status)
  end))

  it("finds nothing without an error", with({ ["test_a.py"] = "" }, nil, function(bench)
    local tests, problems = bench:discover()
    assert.are.same({}, tests)
    assert.are.same({}, problems)
  end))

  local function refuses(files, options, ...)
    local parts = { ... }
    return with(files, options, function(bench)
      local ok, err = pcall(bench.discover, bench)
      assert.is_false(ok)
      assert.are.equal("config", err.kind)
      for _, part in ipairs(parts) do contains(err.message, part) end
    end)
  end

  it("says what to do when Python is missing",
    refuses({}, { python = "no-such-python" }, "cannot run no-such-python -m pytest", "python ="))
  it("says what to do when pytest is missing",
    refuses({}, { command = { session.python, "-c", "exit('No module named pytest')" } },
      "pytest is not installed", "pip install pytest"))
  it("passes on what pytest says of a wrong call",
    refuses({}, { extra_args = { "--no-such-option" } }, "does not accept", "--no-such-option"))
  it("passes on what pytest says of a wrong path",
    refuses({}, { paths = { "no_such_folder" } }, "does not accept", "no_such_folder"))
  it("passes on what pytest says of a wrong configuration",
    refuses({ ["pytest.ini"] = "not an ini file" }, nil, "does not accept", "pytest.ini"))

  it("reports an unknown marker", with({
    ["test_a.py"] = "import pytest\n@pytest.mark.nobody_knows\ndef test_x(): pass\n",
  }, { extra_args = { "--strict-markers" } }, function(bench)
    local _, problems = bench:discover()
    contains(problems[1].message, "nobody_knows")
  end))

  it("reports a conftest that cannot be imported", with({
    ["conftest.py"] = "import no_such_module\n", ["test_a.py"] = "def test_x(): pass\n",
  }, nil, function(bench)
    local _, problems = bench:discover()
    assert.are.equal("collection", problems[1].kind)
    contains(problems[1].text, "no_such_module")
  end))

  it("reports that pytest was killed while it collected", with({
    ["test_a.py"] = "import os\nos.kill(os.getpid(), 9)\n",
  }, nil, function(bench)
    local tests, problems = bench:discover()
    assert.are.same({}, tests)
    contains(problems[1].message, "was ended by SIGKILL")
  end))

  it("takes a command as a list or for the shell",
    collected({ ["test_a.py"] = "def test_x(): pass\n" },
    { command = "X=1 " .. session.python .. " -m pytest" }, function(bench)
      assert.are.equal("passed", bench:worker().run("test_x").result.status)
    end))
end)
