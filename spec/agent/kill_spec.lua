--- Deadlines, kills and leaks: everything a command has started ends, however it hides.

local agents = require("spec.support.agent_process")
local task = require("runner.base.task")

local with, start, sh = agents.with, agents.start, agents.sh

local STUBBORN = "trap '' TERM; echo ready; while :; do sleep 100 & wait $!; done"

local function script(text, spec)
  spec = spec or {}
  spec.argv = { "sh", "-c", text }
  return spec
end

describe("agent", function()
  describe("deadline", function()
    it("sends TERM, which a command may handle", with(function(agent)
      local text = "trap 'echo tidy; exit 3' TERM; sleep 100 & echo ready; wait"
      local run, exit = start(agent, script(text, { deadline = 0.1, grace = 10 })).wait()
      assert.are.equal("ready\ntidy\n", run.stdout)
      assert.are.equal("exited", exit.kind)
      assert.are.equal(3, exit.code)
      assert.is_true(exit.timed_out)
      assert.is_false(exit.killed)
      assert.are.same({}, exit.leaks) -- the sleeping child had its TERM too
      assert(exit.wall >= 0.1 and exit.wall < 5)
    end))

    it("sends KILL after the grace to a command that ignores TERM", with(function(agent)
      local _, exit = start(agent, script(STUBBORN, { deadline = 0.1, grace = 0.2 })).wait()
      assert.are.equal("signaled", exit.kind)
      assert.are.equal(9, exit.signal)
      assert.is_true(exit.timed_out)
      assert(exit.wall >= 0.3 and exit.wall < 5)
    end))

    it("reaches a command that says nothing", with(function(agent)
      local _, exit = agents.run(agent, { argv = { "sleep", "100" }, deadline = 0.1, grace = 1 })
      assert.are.equal("signaled", exit.kind)
      assert.is_true(exit.timed_out)
      assert(exit.wall < 5)
    end))

    it("does not count the time in a lane", with(function(agent)
      start(agent, script("sleep 0.3", { lane = 1 }))
      local _, exit = start(agent, script("true", { lane = 1, deadline = 0.2 })).wait()
      assert.is_false(exit.timed_out)
      assert.are.equal(0, exit.code)
    end))
  end)

  describe("signal", function()
    it("reaches the first process only", with(function(agent)
      local text = "trap 'kill -0 $child && echo alive; kill $child; exit' USR1;"
        .. "sleep 100 & child=$!; echo ready; wait"
      local run = start(agent, script(text))
      run.says("ready")
      run.command:signal(10)
      assert.are.equal("ready\nalive\n", run.wait().stdout)
    end))
  end)

  describe("kill", function()
    it("is at once without a grace", with(function(agent)
      local run = start(agent, script(STUBBORN))
      run.says("ready")
      run.command:kill()
      local _, exit = run.wait()
      assert.are.equal(9, exit.signal)
      assert.is_true(exit.killed)
      assert.is_false(exit.timed_out)
      assert(exit.wall < 5)
    end))

    it("can be made shorter by a second one", with(function(agent)
      local run = start(agent, script(STUBBORN))
      run.says("ready")
      run.command:kill(100)
      run.command:kill(0.05)
      local _, exit = run.wait()
      assert.are.equal(9, exit.signal)
      assert(exit.wall < 5)
    end))

    it("wakes a stopped process to its TERM", with(function(agent)
      local text = "trap 'echo bye; exit' TERM; echo $$; kill -STOP $$; sleep 9"
      local run = start(agent, script(text))
      local pid = run.says("(%d+)\n")
      agents.eventually(function()
        return agents.read(("/proc/%d/stat"):format(pid)):match("%) (%a)") == "T"
      end)
      run.command:kill(100)
      assert.matches("bye", run.wait().stdout)
    end))

    it("finds grandchildren in sessions of their own, orphans or not", with(function(agent)
      local text = [[
        setsid sh -c 'trap "" TERM; echo child $$; sleep 100; sleep 100; sleep 100' &
        (setsid sh -c 'trap "" TERM; echo orphan $$; sleep 100; sleep 100' </dev/null 2>&1 &)
        (env -i setsid sh -c 'echo nameless $$; exec sleep 100' &)
        wait; wait; sleep 100]]
      local run = start(agent, script(text))
      local pids = {
        run.says("child (%d+)\n"), run.says("orphan (%d+)\n"), run.says("nameless (%d+)\n"),
      }
      run.command:kill(0.1)
      local _, exit = run.wait()
      assert.is_true(exit.killed)
      assert.are.same({}, exit.leaks)
      -- Nothing tells whose the one without an environment is, but it does not outlive the last command.
      agents.eventually(function()
        return not (agents.alive(pids[1]) or agents.alive(pids[2]) or agents.alive(pids[3]))
      end)
    end))

    it("gives all processes of a command the grace, not just the first", with(function(agent)
      local text = "setsid sh -c 'trap \"sleep 0.2; echo tidy; exit\" TERM;"
        .. "sleep 100 & echo ready; wait' & wait"
      local run = start(agent, script(text))
      run.says("ready")
      run.command:kill(10)
      assert.matches("tidy", run.wait().stdout)
    end))

    it("leaves other commands alone", with(function(agent)
      local other = start(agent, script("setsid sh -c 'echo ready; sleep 0.3; echo done' & wait"))
      other.says("ready")
      local run = start(agent, script(STUBBORN))
      run.says("ready")
      run.command:kill()
      run.wait()
      assert.are.equal("ready\ndone\n", other.wait().stdout)
    end))

    it("outruns a command that forks as fast as it can", with(function(agent)
      local run = start(agent, script("f() { sleep 100 & setsid sleep 100 & }; echo ready;"
        .. "while :; do f; sleep 0.001; done"))
      run.says("ready")
      task.sleep(0.1)
      run.command:kill(0.05)
      local _, exit = run.wait()
      assert(exit.kind == "signaled")
      local probe = "grep -lz RUNNER_COMMAND=bomb.1 /proc/[0-9]*/environ 2>/dev/null"
      assert.are.equal("", sh(agent, probe).stdout)
    end, { run_id = "bomb" }))
  end)

  describe("leaks", function()
    it("are reported by name, then killed", with(function(agent)
      local text = "setsid sleep 1234 >/dev/null 2>&1 & setsid sh -c 'exec sleep 4321' & echo $!"
      local run, exit = start(agent, script(text, { env = { RUNNER_TEST_ID = "test one" } })).wait()
      assert.are.equal("exited", exit.kind)
      assert.are.equal(0, exit.code)
      table.sort(exit.leaks, function(a, b) return a.command < b.command end)
      assert.are.equal(2, #exit.leaks)
      assert.are.equal("sleep 1234", exit.leaks[1].command)
      assert.are.equal("sleep 4321", exit.leaks[2].command)
      assert.are.equal("test one", exit.leaks[2].test)
      assert.are.equal(tonumber(run.stdout), exit.leaks[2].pid)
      assert.is_false(agents.alive(exit.leaks[1].pid))
      assert.is_false(agents.alive(exit.leaks[2].pid))
      assert(exit.wall < 0.2)
    end))

    it("are not what ends by itself in a moment", with(function(agent)
      local _, exit = sh(agent, "setsid sleep 0.05 >/dev/null 2>&1 &")
      assert.are.same({}, exit.leaks)
    end))

    it("hold the end back only for a moment, even when they keep writing", with(function(agent)
      local seconds = os.time()
      local run, exit = sh(agent, "echo first; yes & true")
      assert.are.equal(1, #exit.leaks)
      assert.are.equal("yes", exit.leaks[1].command)
      assert.are.equal("first\n", run.stdout:sub(1, 6))
      assert.are.equal("exited", run.order[#run.order])
      assert(os.time() - seconds < 5)
    end))

    it("are blamed on the command they come from, while others run", with(function(agent)
      local other = start(agent, script("setsid sleep 0.6 >/dev/null & echo ready; sleep 0.6"))
      other.says("ready")
      local _, first = sh(agent, "(setsid sleep 77 >/dev/null 2>&1 &)")
      assert.are.equal(1, #first.leaks)
      assert.are.equal("sleep 77", first.leaks[1].command)
      local _, exit = other.wait()
      assert.are.same({}, exit.leaks)
    end))

    it("do not outlive the last command, even if nobody knows whose they are", with(function(agent)
      local text = "(env -i setsid sh -c 'echo $$; exec sleep 100' >&2 &); sleep 0.1"
      local run = start(agent, script(text))
      local pid = run.says("(%d+)\n", "stderr")
      run.wait()
      agents.eventually(function() return not agents.alive(pid) end)
    end))
  end)
end)
