--- Whole runs of the real binary over pytest projects as people have them.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local junit = require("runner.worker.formats.junit")
local process = require("runner.io.process")
local project = require("spec.support.project")
local pytest = require("spec.support.pytest.project")
local runner = require("spec.support.command_line")

local function contains(text, part)
  assert(text:find(part, 1, true), ("expected %q in %q"):format(part, text))
end

local function problem(dir, fields)
  return assert(finished.find(dir, "problem", fields), "no such problem")
end

local KINDS = {
  ["test_kinds.py"] = [[
import unittest
import pytest

class TestClass:
    def test_method(self): pass

class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.ready = True
    def test_unit(self): self.assertTrue(self.ready)
    def test_unit_fails(self): self.assertEqual(1, 2)
    @unittest.skip("not in this season")
    def test_unit_skipped(self): pass
    @unittest.expectedFailure
    def test_unit_expected(self): self.fail()
    def test_subtests(self):
        for i in range(3):
            with self.subTest(i=i): self.assertNotEqual(i, 1)

@pytest.mark.xfail(reason="known")
def test_xfail(): assert False
@pytest.mark.xfail
def test_xpass(): pass
@pytest.mark.xfail(strict=True, reason="must fail")
def test_xpass_strict(): pass
@pytest.mark.xfail(run=False, reason="kills")
def test_xfail_not_run(): raise SystemExit
def test_skips(): pytest.skip("not today")
@pytest.mark.skipif("True", reason="never")
def test_skipif(): pass
@pytest.mark.parametrize("n", [1, 1, 1])
def test_same(n): pass
]],
  ["code.py"] = 'def double(n):\n    """\n    >>> double(2)\n    4\n    """\n    return n * 2\n',
  ["wrong.py"] = 'def triple(n):\n    """\n    >>> triple(2)\n    7\n    """\n    return n * 3\n',
  ["test_empty.py"] = "import pytest\npytest.skip('not on this platform', allow_module_level=True)\n",
  ["conftest.py"] = [[
def pytest_collection_modifyitems(config, items):
    dropped = [item for item in items if "dropped" in item.name]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
]],
  ["test_dropped.py"] = "def test_dropped(): assert False\n",
}

local IDS = [[
import pytest
VALUES = ["a b", "[x]", "]", "::", "quote'\"`", "ünïcödé ☃", "line\nbreak", "tab\t", "nul\0", "\x1b[31m",
          "\ud800", "-x", "#2", "$HOME", "%s%n", "<&>", "\\", "", "x" * 10240, "é" * 10240,
          "a" * 10240 + "1", "a" * 10240 + "2"]
@pytest.mark.parametrize("value", VALUES, ids=lambda v: v)
def test_id(value): print(len(value))
@pytest.mark.parametrize("value", ["same", "same"], ids=["same", "same"])
def test_twice(value): pass
class Test_Ünï:
    def test_ö(self): pass
]]

local FIXTURES = [[
import os
import pytest

def note(what):
    with open("notes", "a") as file: file.write("%s %s\n" % (os.environ["PYTEST_XDIST_WORKER"], what))

@pytest.fixture(scope="session")
def session():
    note("session up")
    yield
    note("session down")

@pytest.fixture(scope="module")
def module(session):
    note("module up")
    yield
    note("module down")

@pytest.mark.parametrize("n", range(30))
def test_1(module, n):
    import time
    time.sleep(0.02)
]]

local GROUPS = [[
groups = {
  { name = "fast", framework = pytest { python = %q, markers = "not slow", paths = { "tests" } } },
  { name = "all", framework = pytest { python = %q }, retries = 1, schedule = "individual" },
},
on = {
  discovered = function(tests) io.open("hooks", "a"):write("discovered ", #tests, "\n"):close() end,
  result = function(test, attempt)
    io.open("hooks", "a"):write(test.group, " ", test.name, " ", attempt.status, "\n"):close()
  end,
},
order = function(tests)
  local kept = {}
  for _, test in ipairs(tests) do
    if test.name ~= "test_unwanted" then table.insert(kept, 1, test) end
  end
  return kept
end]]

describe("runner run with pytest", function()
  after_each(pytest.clean)

  it("ends every kind of test as pytest would", async(function()
    local dir = pytest.new(KINDS, 'extra_args = { "--doctest-modules" }')
    local result, states = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    assert.are.same({
      ["TestClass::test_method"] = "passed", ["TestCase::test_unit"] = "passed",
      ["TestCase::test_unit_fails"] = "failed",
      ["TestCase::test_unit_skipped"] = "skipped", ["TestCase::test_unit_expected"] = "skipped",
      ["TestCase::test_subtests"] = "failed",
      test_xfail = "skipped", test_xpass = "passed", test_xpass_strict = "failed", test_xfail_not_run = "skipped",
      test_skips = "skipped", test_skipif = "skipped", ["test_same[1_0]"] = states["test_same[1_0]"],
      ["test_same[1_1]"] = states["test_same[1_1]"], ["test_same[1_2]"] = states["test_same[1_2]"],
      ["test_same[10]"] = states["test_same[10]"], ["test_same[11]"] = states["test_same[11]"],
      ["test_same[12]"] = states["test_same[12]"], ["test_same[1-0]"] = states["test_same[1-0]"],
      ["code.double"] = "passed", ["wrong.triple"] = "failed",
    }, states)
    assert.are.equal("not today", pytest.attempt(dir, "test_skips").reason)
    contains(pytest.attempt(dir, "wrong.triple").trace, "Expected:")
    contains(project.read(dir .. "/test-results/junit.xml"), "not in this season")
  end))

  it("runs ids of any shape, reports them, and runs one again by its id", async(function()
    local dir = pytest.new({ ["test_ids.py"] = IDS }, nil, "max_parallel = 3")
    local result = pytest.run(dir)
    assert.are.equal(0, result.code, result.text)
    assert.are.same({ passed = 25 }, finished.counts(dir))
    local cases = 0
    local summary = junit.read(dir .. "/test-results/junit.xml", function(case)
      cases = cases + 1
      assert.are.equal("passed", case.status)
    end)
    assert.are.same({ 25, {} }, { cases, summary.problems })
    local again = pytest.run(dir, "test_ids.py::test_id[quote'\"`]")
    assert.are.equal(0, again.code, again.text)
    assert.are.same({ passed = 1 }, finished.counts(dir))
    assert.are.equal(0, pytest.run(dir, "test_ids.py::Test_Ünï::test_ö").code)
    for line in result.text:gmatch("[^\n]+") do assert(#line < 2000, "a line of " .. #line .. " bytes") end
  end))

  it("goes on without a module that cannot be imported, and fails", async(function()
    local dir = pytest.new({
      ["test_bad.py"] = "import no_such_module\ndef test_x(): pass\n", ["test_good.py"] = "def test_good(): pass\n",
      ["test_syntax.py"] = "def test_(:\n", ["test_exits.py"] = "import sys\nsys.exit(3)\n",
    })
    local result, states = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    assert.are.same({ test_good = "passed" }, states)
    contains(problem(dir, { id = "test_bad.py" }).message, "no_such_module")
    contains(problem(dir, { id = "test_syntax.py" }).message, "SyntaxError")
    problem(dir, { id = "test_exits.py" })
    contains(result.text, "no_such_module")
    local xml = project.read(dir .. "/test-results/junit.xml")
    contains(xml, "<error")
    contains(xml, "no_such_module")
  end))

  it("exits 4 when pytest finds or selects nothing", async(function()
    local dir = pytest.new({ ["test_a.py"] = "def test_a(): pass\n" }, 'keyword = "nothing"')
    assert.are.equal(4, pytest.run(dir).code)
    assert.are.equal(4, pytest.run(pytest.new({}), "run").code)
  end))

  it("says what is wrong with markers, paths and options", async(function()
    local files = { ["test_a.py"] = "import pytest\n@pytest.mark.sloow\ndef test_a(): pass\n" }
    local strict = pytest.run(pytest.new(files, 'extra_args = { "--strict-markers" }'))
    assert.are.equal(1, strict.code, strict.text)
    contains(strict.text, "sloow")
    local path = pytest.run(pytest.new({}, 'paths = { "no_such_folder" }'))
    assert.are.equal(78, path.code, path.text)
    contains(path.text, "no_such_folder")
    local marker = pytest.run(pytest.new(files, 'markers = "not ("'))
    assert.are.equal(78, marker.code, marker.text)
    contains(marker.text, "not (")
  end))

  it("says how to mend a Python that is missing or has no pytest", async(function()
    local dir = pytest.new({ ["test_a.py"] = "def test_a(): pass\n" }, 'python = "venv/bin/python"')
    local missing = runner(dir, "run")
    assert.are.equal(78, missing.code)
    contains(missing.stderr, "venv/bin/python")
    contains(missing.stderr, "set python")
    local made = process.run({ "/usr/bin/env", pytest.python, "-m", "venv", "--without-pip", dir .. "/venv" })
    assert.are.equal(0, made.code, made.stderr)
    local without = runner(dir, "run")
    assert.are.equal(78, without.code)
    contains(without.stderr, "venv/bin/python -m pip install pytest")
    assert.are.equal("failed", finished.find(dir, "run_finished").status)
  end))

  for how, source in pairs({
    ["is killed"] = "import os\nos.kill(os.getpid(), 9)\n",
    ["exits with status 0"] = "import os\nos._exit(0)\n",
    ["crashes"] = "import ctypes\nprint('importing', flush=True)\nctypes.string_at(0)\n",
  }) do
    it("fails when pytest " .. how .. " while it collects", async(function()
      local dir = pytest.new({ ["test_a.py"] = "def test_a(): pass\n", ["test_b.py"] = source })
      local result = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      assert.are.equal("collection", problem(dir).kind)
      contains(result.text, "while it collected")
    end))
  end

  it("fails when a module tells pytest to stop, with the reason", async(function()
    local dir = pytest.new({ ["test_a.py"] = "import pytest\npytest.exit('enough is enough')\n" })
    local result = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    contains(result.text, "enough is enough")
  end))

  it("retries, tells flaky tests and exits 2", async(function()
    local dir = pytest.new({ ["test_a.py"] = [[
import os, pytest
@pytest.mark.parametrize("n", [1, 2, 3])
def test_flaky(n):
    print("attempt", os.environ["RUNNER_ATTEMPT"], os.environ["RUNNER_TEST_ID"])
    assert os.environ["RUNNER_ATTEMPT"] == str(n)
]] }, nil, "retries = 2")
    local result, states = pytest.run(dir)
    assert.are.equal(2, result.code, result.text)
    assert.are.same({ ["test_flaky[1]"] = "passed", ["test_flaky[2]"] = "flaky", ["test_flaky[3]"] = "flaky" }, states)
    assert.are.equal("attempt 3 test_a.py::test_flaky[3]\n", pytest.log(dir, "test_flaky[3]"))
  end))

  it("stops at the first failure, with fixtures torn down and the rest reported", async(function()
    local dir = pytest.new({ ["test_a.py"] = FIXTURES:gsub("time.sleep%(0.02%)", "assert n != 3") }, nil,
      "max_parallel = 1")
    local result, states = pytest.run(dir, "--fail-fast")
    assert.are.equal(1, result.code, result.text)
    assert.are.equal("failed", states["test_1[3]"])
    assert.are.equal("not_run", states["test_1[29]"])
    contains(project.read(dir .. "/notes"), "gw0 module down\ngw0 session down\n")
  end))

  it("sets session and module fixtures up once in each worker, and tears them down", async(function()
    local dir = pytest.new({ ["test_a.py"] = FIXTURES })
    local result = pytest.run(dir)
    assert.are.equal(0, result.code, result.text)
    local notes = project.read(dir .. "/notes")
    for _, worker in ipairs({ "gw0", "gw1" }) do
      local own = notes:gsub("gw%d [^\n]*\n", function(line) return line:find(worker) and line or "" end)
      assert.are.equal(("W session up\nW module up\nW module down\nW session down\n"):gsub("W", worker), own)
    end
  end))

  it("fails when a fixture of a session or a module cannot be torn down, and names it", async(function()
    local dir = pytest.new({ ["test_a.py"] = [[
import pytest
@pytest.fixture(scope="session")
def database():
    yield
    raise OSError("the database is busy")
def test_a(database): pass
]] }, nil, "retries = 1")
    local result = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    contains(result.text, "the database is busy")
    contains(project.read(dir .. "/test-results/junit.xml"), "the database is busy")
    -- Told at the test itself, or as a problem of its own when nobody knew that it was the last.
    local told = finished.find(dir, "problem", { kind = "teardown" }) or pytest.attempt(dir, "test_a")
    contains(told.message, "the database is busy")
  end))

  it("fails every test that needs a session fixture that fails, and no other", async(function()
    local dir = pytest.new({ ["test_a.py"] = [[
import pytest
@pytest.fixture(scope="session")
def database(): raise OSError("no database today")
def test_a(database): pass
def test_b(database): pass
def test_c(): pass
]] })
    local result, states = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    assert.are.same({ test_a = "failed", test_b = "failed", test_c = "passed" }, states)
    assert.are.equal("setup: OSError: no database today", pytest.attempt(dir, "test_b").message)
  end))

  it("gives a test that two groups find to the first, and groups, schedules and hooks do their part", async(function()
    local dir = pytest.new({
      ["pytest.ini"] = "[pytest]\nmarkers = slow\n",
      ["tests/test_a.py"] = "import os, pytest\ndef test_quick(): pass\n@pytest.mark.slow\n"
        .. "def test_slow(): assert os.environ['RUNNER_ATTEMPT'] == '2'\ndef test_unwanted(): assert False\n",
      ["more/test_b.py"] = "def test_more(): pass\n",
    }, nil, GROUPS:format(pytest.python, pytest.python))
    local result, states = pytest.run(dir)
    assert.are.equal(2, result.code, result.text)
    assert.are.same({ test_quick = "passed", test_slow = "flaky", test_more = "passed" }, states)
    contains(result.text, "2 tests of group all belong to group fast already and run there")
    local hooks = project.read(dir .. "/hooks")
    contains(hooks, "discovered 3\n")
    for _, line in ipairs({ "fast test_quick passed", "all test_slow failed", "all test_slow passed",
      "all test_more passed" }) do contains(hooks, line .. "\n") end
  end))

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    it("combines what pytest-cov measured in two workers, with isolation = " .. isolation, async(function()
      local has = process.run({ "/usr/bin/env", pytest.python, "-c", "import pytest_cov" }).code == 0
      if not has then pending("pytest-cov is not installed") end
      local dir = pytest.new({
        ["mod.py"] = "def f(n):\n" .. ("    if n == %d:\n        return %d\n"):rep(4):format(0, 0, 1, 1, 2, 2, 3, 3),
        ["test_m.py"] = "import mod, os, pytest, time\n@pytest.mark.parametrize('n', range(4))\n"
          .. "def test_m(n):\n    print(os.environ['RUNNER_WORKER'])\n    time.sleep(0.1)\n    mod.f(n)\n",
      }, nil, ([[groups = { all = { schedule = "individual", pytest {
        python = %q, isolation = %q, extra_args = { "--cov=mod", "--cov-fail-under=100" },
      } } }]]):format(pytest.python, isolation))
      local result = pytest.run(dir)
      assert.are.equal(0, result.code, result.text)
      local workers = {}
      for n = 0, 3 do workers[pytest.log(dir, ("test_m[%d]"):format(n))] = true end
      assert.are.same({ ["0\n"] = true, ["1\n"] = true }, workers)
      local report = process.run({ "/usr/bin/env", pytest.python, "-m", "coverage", "report", "-m" }, { cwd = dir })
      assert.matches("mod.py%s+9%s+0%s+100%%", report.stdout .. report.stderr)
      local short = pytest.run(dir, "test_m[1]")
      assert.are.equal(1, short.code, short.text)
      contains(short.text, "coverage")
      assert.are.equal(0, runner(dir, "collect").code)
    end))
  end

  it("leaves nothing behind a test that takes long while another worker is idle", async(function()
    -- The first test ends when the others have; nobody knew how long it would take.
    local dir = pytest.new({ ["test_x.py"] = [[
import os, time
def test_waits():
    while not all(os.path.exists("done%d" % n) for n in (1, 2, 3)): time.sleep(0.01)
def note(n): open("done%d" % n, "w").close()
def test_1(): note(1)
def test_2(): note(2)
def test_3(): note(3)
]] }, nil, 'test_timeout = "20s"')
    local result, states = pytest.run(dir)
    assert.are.equal(0, result.code, result.text)
    assert.are.same({ test_waits = "passed", test_1 = "passed", test_2 = "passed", test_3 = "passed" }, states)
  end))
end)
