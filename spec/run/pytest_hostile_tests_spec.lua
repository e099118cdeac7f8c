--- Whole runs of the real binary over pytest projects whose tests do their worst: every test ends in exactly one
--- state, the others are not touched, nothing is left over, and the run ends.

local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local pytest = require("spec.support.pytest.project")

local function contains(text, part)
  assert(text:find(part, 1, true), ("expected %q in %q"):format(part, text))
end

local function isolated(kind) return ("isolation = %q"):format(kind) end

local CRASHES = [[
import ctypes, os, signal, sys, threading
def test_a(): pass
def test_segfault(): print("last words", flush=True); ctypes.string_at(0)
def test_b(): pass
def test_exit_0(): os._exit(0)
def test_kill(): os.kill(os.getpid(), signal.SIGKILL)
def test_kills_its_group():
    os.killpg(0, signal.SIGKILL)
def test_abort(): os.abort()
def test_sys_exit(): sys.exit(0)
def test_raises_system_exit(): raise SystemExit
def test_exits_in_thread():
    thread = threading.Thread(target=os._exit, args=(3,))
    thread.start()
    thread.join()
def test_c(): pass
def test_execs(): os.execv("/bin/true", ["true"])
def test_recursion():
    def f(): f()
    f()
def test_d(): pass
def test_crashes_once():
    if os.environ["RUNNER_ATTEMPT"] == "1": os._exit(1)
]]

local MEMORY = [[
def test_a(): pass
def test_eats_at_once(): bytearray(1 << 40)
def test_eats_in_pieces():
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))
def test_eats_in_small_pieces():
    hoard = []
    while True:
        hoard.append([hoard])
def test_b(): pass
]]

local HANGS = [[
import ctypes, os, signal, threading, time
import pytest
def forever(): time.sleep(3600)
def test_a(): pass
def test_sleeps():
    threading.Thread(target=forever, daemon=True).start()
    forever()
def test_ignores_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    forever()
def test_blocks_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
    forever()
def test_hangs_in_c():
    signal.signal(signal.SIGTERM, lambda *_: None)
    ctypes.PyDLL(None).sleep(3600) # and keeps the interpreter's lock
def test_catches_all():
    while True:
        try: forever()
        except BaseException: pass
def test_stops_itself(): os.kill(os.getpid(), signal.SIGSTOP)
@pytest.fixture
def hanging():
    yield
    forever()
def test_hangs_in_teardown(hanging): pass
def test_b(): pass
]]

local TRICKS = [[
import os, subprocess, sys, time
def test_closes_1(): os.close(1)
def test_closes_all(): os.closerange(0, 65536) # the line to us, too
def test_closes_streams(): sys.stdout.close(); sys.stderr.close()
def test_bytes():
    os.write(1, b"\xff\xfe invalid \0 nul \x1b[31mred\x1b[0m \x1b]0;title\x07 \xe2\x82\n")
    print("\udcff lone", file=sys.stderr)
def test_prints_a_million_lines():
    line = "x" * 8 + "\n"
    for _ in range(100): sys.stdout.write(line * 10000)
def test_changes_directory(tmp_path): os.chdir(tmp_path)
def test_removes_directory(tmp_path):
    os.chdir(tmp_path)
    os.rmdir(tmp_path)
def test_daemon_holds_stdout():
    child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    print("daemon", child.pid)
def test_forks_and_returns():
    if os.fork() == 0: return # the child must not go on as if it were the worker
    os.wait()
def test_forks_and_fails():
    if os.fork() == 0: raise ValueError("in the child")
    os.wait()
def test_replaces_functions(monkeypatch):
    import json, time
    for module, name in (os, "getpid"), (os, "dup2"), (os, "write"), (json, "dumps"), (time, "perf_counter"):
        monkeypatch.setattr(module, name, lambda *_, **__: 0)
def test_clears_environment(): os.environ.clear()
def test_environment(): assert "gw" + os.environ["RUNNER_WORKER"] == os.environ["PYTEST_XDIST_WORKER"]
def test_exception_without_text():
    class Mute(Exception):
        def __str__(self): raise ValueError
        __repr__ = __str__
    raise Mute
def test_message(): assert 1 == 2, "lone \udcff nul \0 esc \x1b[31m <&> \r\n \ufffe"
def test_long_message(): assert "a" * 10 ** 7 == "b" * 10 ** 7
]]
local DELETES = [[
import os
def test_deletes_its_file():
    os.remove(__file__)
    assert 1 == 2, "deleted"
]]

local FAILS = { test_deletes_its_file = true, test_exception_without_text = true, test_message = true,
  test_long_message = true }

local LATE = [[
import os, pytest, time
@pytest.fixture(scope="module")
def late():
    yield
    DEED
def test_a(late): pass
]]

local MIX = [[
import ctypes, os, random, signal, subprocess, time
import pytest
rng = random.Random(SEED)
KINDS = ["pass"] * 14 + ["fail", "exit", "segfault", "kill", "skip", "print", "daemon", "hang", "stubborn"]
@pytest.fixture(scope="module")
def shared():
    yield
    time.sleep(0.01)
@pytest.mark.parametrize("kind,n", [(rng.choice(KINDS), n) for n in range(150)])
def test_mix(kind, n, shared):
    if kind == "pass": time.sleep(n % 10 / 1000)
    elif kind == "fail": assert False
    elif kind == "exit": os._exit(n % 3)
    elif kind == "segfault": ctypes.string_at(0)
    elif kind == "kill": os.kill(os.getpid(), 9)
    elif kind == "skip": pytest.skip("not today")
    elif kind == "print": print("x" * 100000, n)
    elif kind == "daemon": subprocess.Popen(["sleep", "3600"], start_new_session=True)
    elif kind == "hang": time.sleep(3600)
    elif kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
]]
local MIXED = { pass = "passed", fail = "failed", exit = "crashed", segfault = "crashed", kill = "crashed",
  skip = "skipped", print = "passed", daemon = "passed", hang = "timed_out", stubborn = "timed_out" }

describe("pytest's worst tests", function()
  after_each(pytest.clean)

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    it("crash alone, with isolation = " .. isolation, async(function()
      local dir = pytest.new({ ["test_x.py"] = CRASHES }, isolated(isolation),
        [[retries = 1, retry = function(test) return test.name == "test_crashes_once" end, max_parallel = 3]])
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      assert.are.same({
        test_a = "passed", test_b = "passed", test_c = "passed", test_d = "passed",
        test_segfault = "crashed", test_exit_0 = "crashed", test_kill = "crashed", test_kills_its_group = "crashed",
        test_abort = "crashed", test_exits_in_thread = "crashed", test_execs = "crashed",
        test_sys_exit = "failed", test_raises_system_exit = "failed", test_recursion = "failed",
        test_crashes_once = "flaky",
      }, states)
      assert.are.equal(11, pytest.attempt(dir, "test_segfault").signal)
      contains(pytest.log(dir, "test_segfault"), "last words\n")
      contains(pytest.log(dir, "test_segfault"), "test_x.py") -- the stack
      assert.are.equal(0, pytest.attempt(dir, "test_exit_0").exit_code)
      contains(pytest.attempt(dir, "test_sys_exit").message, "SystemExit")
      contains(result.text, "SIGSEGV")
    end))
  end

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    it("eat their memory limit alone, with isolation = " .. isolation, async(function()
      local dir = pytest.new({ ["test_x.py"] = MEMORY }, isolated(isolation),
        'provider = require "providers.local" { memory = "400M" }')
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      for _, name in ipairs({ "test_a", "test_b" }) do assert.are.equal("passed", states[name]) end
      for name, status in pairs(states) do
        if name:find("eats") then assert(status == "failed" or status == "crashed", name .. " " .. status) end
      end
      contains(pytest.attempt(dir, "test_eats_at_once").message, "MemoryError")
    end))
  end

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    it("hang, are stopped, and show where, with isolation = " .. isolation, async(function()
      local dir = pytest.new({ ["test_x.py"] = HANGS }, isolated(isolation),
        -- A process that starts anew needs time for that, more so beside eight others.
        ("test_timeout = %g, grace = 0.1, max_parallel = 9"):format(isolation == "process" and 4 or 1))
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      assert.are.same({
        test_a = "passed", test_b = "passed", test_sleeps = "timed_out", test_ignores_term = "timed_out",
        test_blocks_signals = "timed_out", test_hangs_in_c = "timed_out", test_catches_all = "timed_out",
        test_stops_itself = "timed_out", test_hangs_in_teardown = "timed_out",
      }, states)
      local log = pytest.log(dir, "test_sleeps")
      contains(log, "in test_sleeps")
      assert.are.equal(2, select(2, log:gsub("in forever", "")), log) -- in both threads
      contains(pytest.log(dir, "test_hangs_in_c"), "in test_hangs_in_c")
    end))
  end

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    it("play tricks on nobody else, with isolation = " .. isolation, async(function()
      local files = { ["test_x.py"] = TRICKS, ["test_y.py"] = "def test_y(): print('fine')\n", ["test_z.py"] = DELETES }
      local dir = pytest.new(files, isolated(isolation), "max_parallel = " .. (isolation == "process" and 3 or 1))
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      for name, status in pairs(states) do
        local expected = FAILS[name] and "failed" or name == "test_closes_all" and "crashed" or "passed"
        assert.are.equal(expected, status, name .. ": " .. (pytest.attempt(dir, name).message or ""))
      end
      contains(pytest.log(dir, "test_bytes"), "\255\254 invalid \0 nul \27[31mred\27[0m")
      assert.are.equal(9000000, #pytest.log(dir, "test_prints_a_million_lines"))
      assert.are.equal("fine\n", pytest.log(dir, "test_y"))
      contains(pytest.attempt(dir, "test_deletes_its_file").message, "deleted")
      local daemon = pytest.log(dir, "test_daemon_holds_stdout"):match("daemon (%d+)")
      assert.is_false(agents.alive(tonumber(daemon)))
      contains(result.text, "sleep 3600")
      contains(pytest.attempt(dir, "test_message").message, "lone \u{FFFD} nul \0")
    end))
  end

  for deed, message in pairs({
    ["os._exit(0)"] = "while it tore fixtures down", ["os.kill(os.getpid(), 9)"] = "while it tore fixtures down",
    ["time.sleep(3600)"] = "fixtures were not torn down within 1 s", ["raise OSError('busy')"] = "busy",
  }) do
    it("tear down badly between tests: " .. deed, async(function()
      local dir = pytest.new({ ["test_a.py"] = LATE:gsub("DEED", deed), ["test_b.py"] = "def test_b(): pass\n" }, nil,
        ([[test_timeout = 1, max_parallel = 1,
          groups = { { name = "all", schedule = "individual", pytest { python = %q } } }]]):format(pytest.python))
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      assert.are.same({ test_a = "passed", test_b = "passed" }, states)
      local problem = finished.find(dir, "problem", { kind = "teardown" })
      assert.are.equal("test_a.py::test_a", problem.id)
      contains(problem.message, message)
      assert.is_nil(finished.find(dir, "problem", { kind = "infrastructure" }))
    end))
  end

  it("fail the run when a hook fails at its end", async(function()
    local dir = pytest.new({ ["test_a.py"] = "def test_a(): pass\n",
      ["conftest.py"] = "def pytest_sessionfinish(): raise OSError('too late')\n" })
    local result = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    contains(result.text, "too late")
  end))

  for _, isolation in ipairs({ "worker", "test" }) do
    it("all together end in one state each, with isolation = " .. isolation, async(function()
      local seed = os.time()
      local dir = pytest.new({ ["test_x.py"] = MIX:gsub("SEED", seed) }, isolated(isolation),
        "max_parallel = 6, test_timeout = 1, grace = 0.1")
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, "seed " .. seed .. "\n" .. result.text)
      local count = 0
      for name, status in pairs(states) do
        count = count + 1
        assert.are.equal(MIXED[name:match("%[(%a+)")], status, "seed " .. seed .. ": " .. name)
      end
      assert.are.equal(150, count)
      -- A worker that is killed for one test takes the daemons of the earlier ones along, without a word.
      if isolation == "test" then contains(result.text, "sleep 3600") end
    end))
  end
end)
