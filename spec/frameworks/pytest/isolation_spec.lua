--- What holds in each isolation, and what each one is for.

local agents = require("spec.support.agent_process")
local session = require("spec.support.pytest.session")

local collected, sample, contains = session.collected, session.sample, session.contains

local OUTCOMES = { ["test_outcomes.py"] = sample("outcomes.py"),
  ["pytest.ini"] = "[pytest]\nmarkers = slow: takes long\n" }
local OUTPUT = { ["test_output.py"] = sample("output.py") }
local CRASHES = { ["test_crashes.py"] = sample("crashes.py") }

describe("pytest", function()
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
end)
