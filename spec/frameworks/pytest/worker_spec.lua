--- A worker: its queue, its end, and when it collects for itself.

local agents = require("spec.support.agent_process")
local session = require("spec.support.pytest.session")
local task = require("runner.base.task")

local collected, sample, contains = session.collected, session.sample, session.contains

local CRASHES = { ["test_crashes.py"] = sample("crashes.py") }
local FIXTURES = {
  ["test_a.py"] = sample("fixtures.py"), ["test_b.py"] = "def test_other(): pass\n",
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

describe("a pytest worker", function()
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
    contains(bench:logged(), "was ended by SIGKILL")
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
end)
