--- The pytest framework, driven as the core drives it, over a real agent and a real pytest.

local agents = require("spec.support.agent_process")
local marks = require("frameworks.pytest.marks")
local session = require("spec.support.pytest.session")
local task = require("runner.task")

local with, collected, sample = session.with, session.collected, session.sample

local OUTCOMES = { ["test_outcomes.py"] = sample("outcomes.py"),
  ["pytest.ini"] = "[pytest]\nmarkers = slow: takes long\n" }
local OUTPUT = { ["test_output.py"] = sample("output.py") }
local CRASHES = { ["test_crashes.py"] = sample("crashes.py") }
local FIXTURES = {
  ["test_a.py"] = sample("fixtures.py"), ["test_b.py"] = "def test_other(): pass\n",
}
local BROKEN_TEARDOWN = {
  ["test_a.py"] = [[
import pytest
import time

@pytest.fixture(scope="module")
def raises():
    yield
    raise OSError("busy")

@pytest.fixture(scope="module")
def hangs():
    yield
    time.sleep(3600)

def test_raises(raises): pass
def test_hangs(hangs): pass
]],
}
local THREADS = {
  ["test_a.py"] = [[
import threading
import time

def test_forgets():
    threading.Thread(target=time.sleep, args=(3600,), name="forgotten").start()
]],
}
local BUSY_CONFTEST = {
  ["conftest.py"] = [[
import threading
import time

threading.Thread(target=time.sleep, args=(3600,), daemon=True, name="poller").start()
]],
  ["test_a.py"] = "def test_1(tmp_path): print(tmp_path.parent.name)\n",
}
local NAMED_AT_IMPORT = {
  ["conftest.py"] = [[
import os
DATABASE = "db_" + os.environ.get("PYTEST_XDIST_WORKER", "master")
]],
  ["test_a.py"] = "from conftest import DATABASE\ndef test_1(): print(DATABASE)\n",
}
local NODES = {
  ["conftest.py"] = [[
def pytest_configure_node(node):
    node.workerinput["port"] = 80 + len(node.gateway.id)
]],
  ["test_a.py"] = "def test_1(request): print(request.config.workerinput['port'])\n",
}
local DUPLICATES = {
  ["conftest.py"] = [[
def pytest_collection_modifyitems(items):
    items *= 3
]],
  ["test_a.py"] = "def test_1(): pass\n",
}
local MEASURED = {
  ["mod.py"] = [[
def f(x):
    if x == 1:
        return "one"
    if x == 2:
        return "two"
    return "many"
]],
  ["test_m.py"] = [[
import mod
def test_1(): assert mod.f(1) == "one"
def test_2(): assert mod.f(2) == "two"
]],
}
local COVERAGE = "--cov=mod --cov-report=term-missing --cov-fail-under=100"

local function contains(text, part)
  assert(text:find(part, 1, true), ("expected %q in %q"):format(part, text))
end

describe("pytest", function()
  describe("collection", function()
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
      contains(problems[1].message, "signal 9")
    end))

    it("takes a command as a list or for the shell",
      collected({ ["test_a.py"] = "def test_x(): pass\n" },
      { command = "X=1 " .. session.python .. " -m pytest" }, function(bench)
        assert.are.equal("passed", bench:worker().run("test_x").result.status)
      end))
  end)

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    describe("with isolation = " .. isolation, function()
      it("reports every kind of outcome",
        collected(OUTCOMES, { isolation = isolation }, function(bench)
        local w = bench:worker(1)
        local function result(name) return w.run(name).result end
        local passed = result("test_pass")
        assert.are.equal("passed", passed.status)
        assert(passed.phases.setup > 0 and passed.phases.call > 0 and passed.phases.teardown > 0)
        assert(passed.duration > 0 and passed.cpu > 0)

        local failed = result("test_fail")
        assert.are.equal("failed", failed.status)
        assert.are.equal("AssertionError", failed.type)
        assert.are.equal("assert 1 == 2", failed.message)
        contains(failed.trace, "E       assert 1 == 2")
        assert.are.equal("Captured log call", failed.sections[1][1])
        contains(failed.sections[1][2], "a warning")

        local skipped = result("test_skip")
        assert.are.same({ "skipped", "not now" }, { skipped.status, skipped.reason })
        local xfail = result("test_xfail")
        assert.are.same({ "skipped", true, "known" }, { xfail.status, xfail.xfail, xfail.reason })
        local xpass = result("test_xpass")
        assert.are.equal("passed", xpass.status)
        contains(xpass.reason, "known")
        assert.are.equal("failed", result("test_xpass_strict").status)

        for name, message in pairs({
          test_setup_error = "setup: ValueError: no fixture today",
          test_teardown_error = "teardown: ValueError: cannot clean up",
          test_pytest_exit = "Exit: enough",
          test_keyboard_interrupt = "KeyboardInterrupt",
          test_sys_exit = "SystemExit: 3",
        }) do
          local outcome = result(name)
          assert.are.same({ "failed", message }, { outcome.status, outcome.message })
        end
        assert.are.equal("passed", result("test_pass").status)
        w.close()
        assert.are.same({}, w.problems)
      end))

      it("runs ids of any shape", collected(OUTCOMES, { isolation = isolation }, function(bench)
        local w, count = bench:worker(), 0
        for name in pairs(bench.by_name) do
          if name:find("^test_ids") then
            count = count + 1
            assert.are.equal("passed", w.run(name).result.status)
          end
        end
        assert.are.equal(5, count)
      end))

      it("looks like an xdist worker",
        collected(OUTCOMES, { isolation = isolation }, function(bench)
        local text = bench:worker(1).run("test_environment").stdout
        for _, part in ipairs({
          "'RUNNER_RUN_ID': 'RUN'", "'RUNNER_TEST_ID': 'test_outcomes.py::test_environment'",
          "'RUNNER_ATTEMPT': '1'", "'RUNNER_WORKER': '1'",
          "'PYTEST_XDIST_WORKER': 'gw1'", "'PYTEST_XDIST_WORKER_COUNT': '2'",
          "'PYTEST_XDIST_TESTRUNUID': 'RUN'", "'RUNNER_COMMAND': ",
        }) do contains(text, part) end
      end))

      it("gives each test its own output, whatever the test before did to the streams",
        collected(OUTPUT, { isolation = isolation }, function(bench)
          local w = bench:worker()
          for _, vandal in ipairs({
            "test_closes_fd", "test_closes_stream", "test_replaces", "test_closes_everything",
            "test_does_not_block",
          }) do
            w.push(vandal)
            local record = w.run("test_prints")
            assert.are.same({ vandal, "passed", "to stdout\n", "to stderr\n" },
              { vandal, record.result.status, record.stdout, record.stderr:match("[^\n]*\n$") })
          end
          local child = w.run("test_child_prints")
          assert.are.same({ "from a child\n", "and its errors\n" },
            { child.stdout, child.stderr:match("[^\n]*\n$") })
          assert.are.equal("\255\254\0\27[31mred\0\27runner-", w.run("test_bytes").stdout)
          local lines = {}
          for i = 0, 199999 do lines[#lines + 1] = ("line %d of many\n"):format(i) end
          assert(w.run("test_prints_a_lot").stdout == table.concat(lines), "a line is missing")
        end))
    end)
  end

  describe("fixtures", function()
    it("live as long as something in their scope may come", collected(FIXTURES, nil, function(bench)
      local w = bench:worker()
      assert.are.equal("<session up>\n<module up>\n", w.run("test_1").stdout)
      assert.are.equal("", w.run("test_2").stdout) -- it was not known when test_1 ended
      assert.are.equal("", w.run("test_2").stdout) -- the same test again
      w.run("test_other")
      assert.are.equal("<module down>\n", w.between)
      w.close()
      assert.are.equal("<module down>\n<session down>\n", w.between)
    end))

    it("are torn down by the last test of a queue that needs them",
      collected(FIXTURES, nil, function(bench)
      local w = bench:worker()
      w.run("test_1", "test_2", "test_3", "test_other")
      assert.are.equal("<module down>\n", w.tests.test_3.stdout)
      assert.are.same({ "test_1", "test_2", "test_3", "test_other" }, w.order)
    end))

    it("belong to each test with isolation = test",
      collected(FIXTURES, { isolation = "test" }, function(bench)
      local w = bench:worker()
      w.run("test_1", "test_2")
      for _, name in ipairs({ "test_1", "test_2" }) do
        assert.are.equal("<session up>\n<module up>\n<module down>\n<session down>\n",
          w.tests[name].stdout)
      end
    end))

    it("whose late teardown fails are a problem of the last test",
      collected(BROKEN_TEARDOWN, nil, function(bench)
      local w = bench:worker()
      assert.are.equal("passed", w.run("test_raises").result.status)
      w.close()
      local problem = w.problems[1]
      assert.are.same({ "teardown", "test_a.py::test_raises", "OSError: busy" },
        { problem.kind, problem.id, problem.message })
    end))

    it("whose late teardown hangs do not hold up the run",
      collected(BROKEN_TEARDOWN, { settings = { test_timeout = 0.2 } }, function(bench)
      local w = bench:worker()
      w.run("test_hangs")
      w.close()
      assert.are.equal(1, #w.problems)
      contains(w.problems[1].message, "not torn down within 0.2 s")
    end))
  end)

  describe("a worker", function()
    it("gives back what it has not started, from the end", collected(FIXTURES, nil, function(bench)
      local w = bench:worker()
      w.push("test_1", "test_2", "test_3", "test_other")
      w.worker:take(2)
      w.wait(function() return w.returned and w.pending == 0 end)
      local names = {}
      for i, item in ipairs(w.returned) do names[i] = item.name end
      assert.are.same({ "test_3", "test_other" }, names)
      assert.are.same({ "test_1", "test_2" }, w.order)
      w.returned = nil
      w.worker:take(2)
      w.wait(function() return w.returned end)
      assert.are.same({}, w.returned)
    end))

    for name, exit in pairs({
      test_segfault = { "signaled", 11 }, test_kill = { "signaled", 9 },
      test_exit = { "exited", 0 },
    }) do
      it("that dies in " .. name .. " leaves it as the one that ran",
        collected(CRASHES, nil, function(bench)
        local w = bench:worker()
        w.run("test_before", name, "test_after")
        assert.are.same(exit, { w.exit.kind, w.exit.signal or w.exit.code })
        assert.are.equal("passed", w.tests.test_before.result.status)
        assert.are.equal(name, w.running.name)
        assert.are.equal(0, w.tests.test_after.starts)
        if name == "test_segfault" then contains(w.tests[name].stderr, "test_crashes.py") end
      end))
    end

    it("prints the stacks of a test that takes too long", collected(CRASHES, nil, function(bench)
      local w = bench:worker()
      local item = w.push("test_hang")[1]
      w.wait(function() return w.tests.test_hang.stdout == "hanging\n" end)
      w.worker:stop(item, "timeout")
      w.wait(function() return w.exit end)
      contains(w.tests.test_hang.stderr, "in wait_forever")
      assert.are.equal("signaled", w.exit.kind)
    end))

    it("says what a test left running", collected(CRASHES, nil, function(bench)
      local w = bench:worker()
      local pid = w.run("test_leaves_daemon").stdout:match("daemon (%d+)")
      w.close()
      agents.eventually(function() return not agents.alive(pid) end)
      assert.are.same({ "leak", "test_crashes.py::test_leaves_daemon" },
        { w.problems[1].kind, w.problems[1].id })
    end))

    it("ends although a thread does not", collected(THREADS, nil, function(bench)
      local w = bench:worker()
      assert.are.equal("passed", w.run("test_forgets").result.status)
      w.close()
      contains(w.problems[1].message, "forgotten")
    end))

    it("is a process of its own once the collecting process has died",
      collected(FIXTURES, nil, function(bench)
      local first = bench:worker(0)
      first.run("test_1")
      bench.session.zygote:kill(0)
      task.await(function(resume)
        local wait = bench.session.zygote.spec.on_exit
        bench.session.zygote.spec.on_exit = function(...)
          wait(...)
          resume()
        end
      end)
      assert.are.equal("passed", first.run("test_2").result.status)
      local second = bench:worker(1)
      assert.are.equal("passed", second.run("test_1").result.status)
      contains(bench:logged(), "signal 9")
    end))

    it("collects for itself when threads run after collection",
      collected(BUSY_CONFTEST, nil, function(bench)
      local one, two = bench:worker(0), bench:worker(1)
      one.push("test_1")
      assert.are.equal("popen-gw1\n", two.run("test_1").stdout)
      one.wait(function() return one.pending == 0 end)
      assert.are.equal("popen-gw0\n", one.tests.test_1.stdout)
      contains(bench:logged(), "threads run after collection (poller)")
      one.close()
      two.close()
    end))

    it("collects for itself when a module asks for the worker's name",
      collected(NAMED_AT_IMPORT, nil, function(bench)
      assert.are.equal("db_gw1\n", bench:worker(1).run("test_1").stdout)
      contains(bench:logged(), "conftest.py:2")
    end))

    it("gets what pytest_configure_node hands to xdist's workers",
      collected(NODES, nil, function(bench)
      if not session.has("xdist") then return pending("pytest-xdist is not installed") end
      assert.are.equal("83\n", bench:worker(1).run("test_1").stdout)
    end))
  end)

  describe("isolation = test", function()
    it("blames a crash on the one test and goes on",
      collected(CRASHES, { isolation = "test" }, function(bench)
      local w = bench:worker()
      w.run("test_segfault", "test_exit", "test_kill", "test_after")
      local function crash(name)
        local result = w.tests[name].result
        return { result.status, result.signal or result.exit_code }
      end
      assert.are.same({ "crashed", 11 }, crash("test_segfault"))
      assert.are.same({ "crashed", 0 }, crash("test_exit"))
      assert.are.same({ "crashed", 9 }, crash("test_kill"))
      assert.are.equal("after\n", w.tests.test_after.stdout)
    end))

    it("stops one test and goes on", collected(CRASHES, { isolation = "test" }, function(bench)
      local w = bench:worker()
      for _, name in ipairs({ "test_hang", "test_hang_ignoring_term" }) do
        local item = w.push(name)[1]
        w.wait(function() return w.tests[name].stdout == "hanging\n" end)
        w.worker:stop(item, "timeout")
        w.wait(function() return w.tests[name].result end)
        contains(w.tests[name].stderr, "in wait_forever")
      end
      assert.are.equal("passed", w.run("test_after").result.status)
    end))

    it("ends what a test left running at once",
      collected(CRASHES, { isolation = "test" }, function(bench)
      local record = bench:worker().run("test_leaves_daemon")
      assert.are.equal("sleep 3600", record.result.leaks[1].command)
      assert.is_false(agents.alive(record.stdout:match("daemon (%d+)")))
    end))
  end)

  it("kills a process of isolation = process with its test",
    collected(CRASHES, { isolation = "process" },
    function(bench)
      local w = bench:worker()
      w.push("test_kill", "test_hang", "test_after")
      w.wait(function() return w.tests.test_hang.stdout:find("hanging") end)
      local killed = w.tests.test_kill.result
      assert.are.same({ "crashed", 9 }, { killed.status, killed.signal })
      w.worker:stop(w.running, "timeout")
      w.wait(function() return w.pending == 0 end)
      contains(w.tests.test_hang.stderr, "in wait_forever")
      assert.are.equal("passed", w.tests.test_after.result.status)
    end))

  describe("beside pytest-cov", function()
    for _, isolation in ipairs({ "worker", "test", "process" }) do
      local has_coverage = task.main(function() return session.has("pytest_cov") end)
      it("keeps what workers measured, with isolation = " .. isolation, collected(MEASURED, {
        isolation = isolation,
        extra_args = { "-o", "addopts=" .. (has_coverage and COVERAGE or "") },
      }, function(bench)
        if not has_coverage then pending("pytest-cov is not installed") end
        local one, two = bench:worker(0), bench:worker(1)
        one.run("test_1")
        two.run("test_2")
        local printed = one.tests.test_1.stderr .. two.tests.test_2.stderr
        assert.is_nil(printed:find("CoverageWarning", 1, true), printed)
        one.close()
        two.close()
        local problems = bench.session:close()
        assert(bench:logged():find("mod%.py +6 +1 +83%% +6"), bench:logged())
        contains(problems[1].message, "coverage")
      end))
    end
  end)

  it("works beside xdist in addopts", collected({
    ["pytest.ini"] = task.main(function()
      return session.has("xdist") and "[pytest]\naddopts = -n 2 -v --maxfail=1\n" or "[pytest]\n"
    end),
    ["test_a.py"] = "def test_1(): assert 0\ndef test_2(): pass\n",
  }, nil, function(bench)
    local w = bench:worker()
    w.run("test_1", "test_2")
    assert.are.equal("passed", w.tests.test_2.result.status)
    w.close()
    assert.are.same({}, bench.session:close())
  end))

  it("runs session hooks as xdist's workers do", collected({
    ["conftest.py"] = "def pytest_sessionfinish(session):\n"
      .. "    role = 'worker' if hasattr(session.config, 'workerinput') else 'controller'\n"
      .. "    open('finished', 'a').write(role + '\\n')\n",
    ["test_a.py"] = "def test_1(): pass\n",
  }, nil, function(bench)
    local w = bench:worker()
    w.run("test_1")
    w.close()
    bench.session:close()
    assert.are.equal("worker\ncontroller\n", agents.read(bench.dir .. "/finished"))
  end))
end)

describe("pytest marks", function()
  local function mark(kind, token)
    return ("\0\27runner-nonce%s%010d\0"):format(kind, token)
  end

  local function reader()
    local log = {}
    local reading
    reading = marks.new("nonce", {
      started = function(token) log[#log + 1] = "start " .. token end,
      output = function(token, stream, bytes)
        local key = ("%s %s "):format(tostring(token), stream)
        if log[#log] and log[#log]:sub(1, #key) == key then
          log[#log] = log[#log] .. bytes
        else
          log[#log + 1] = key .. bytes
        end
      end,
      ended = function(token)
        log[#log + 1] = "end " .. token
        reading:release(token)
      end,
    })
    return reading, log
  end

  it("are found however the bytes are cut", function()
    local out = "x" .. mark("s", 1) .. "a\0\27runner-no" .. mark("e", 1)
      .. mark("s", 2) .. "\0" .. mark("e", 2) .. "z\0"
    local err = mark("s", 1) .. mark("e", 1) .. mark("s", 2) .. "b" .. mark("e", 2)
    for size = 1, #out do
      local reading, log = reader()
      reading:feed("stderr", err)
      for from = 1, #out, size do reading:feed("stdout", out:sub(from, from + size - 1)) end
      reading:finish()
      local texts = { nil, "", "" }
      for _, line in ipairs(log) do
        local token, text = line:match("^(%d) stdout (.*)$")
        if token then texts[token + 1] = texts[token + 1] .. text end
      end
      assert.are.equal("a\0\27runner-no", texts[2])
      assert.are.equal("\0", texts[3])
      assert.are.equal("nil stdout z\0", log[#log])
    end
  end)

  it("let the stream that is ahead wait", function()
    local reading, log = reader()
    reading:feed("stdout", mark("s", 1) .. "one" .. mark("e", 1) .. mark("s", 2) .. "two")
    assert.are.same({ "start 1", "1 stdout one" }, log)
    reading:feed("stderr", mark("s", 1) .. "err" .. mark("e", 1))
    assert.are.same(
      { "start 1", "1 stdout one", "1 stderr err", "end 1", "start 2", "2 stdout two" }, log)
  end)
end)
