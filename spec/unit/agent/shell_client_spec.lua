--- Plain commands: what stands in for the agent, over a shell of this machine.

local async = require("spec.support.async")
local agents = require("spec.support.agent_process")
local shell_client = require("runner.agent.shell_client")
local project = require("spec.support.project")
local shell = require("runner.io.shell")
local task = require("runner.base.task")

local run, start, sh = agents.run, agents.start, agents.sh

--- A place whose calls are made from the line by `wrap`.
local function place(wrap, more)
  local made = more or {}
  function made.start(line, handlers)
    local process = shell.start(wrap and wrap(line) or line, {
      on_output = handlers.on_output, on_exit = handlers.on_exit, cwd = made.cwd_of_calls,
    })
    process:shutdown()
    return process
  end
  return made
end

--- A test with an agent of its own, closed at the end.
local function with(fn, wrap, more)
  return async(function()
    local lost = {}
    local agent = shell_client.connect(place(wrap, more), {
      run_id = "spec", on_lost = function(e) lost[#lost + 1] = e end,
    })
    local ok, err = pcall(fn, agent, lost)
    task.await(function(resume) agent:close(resume) end)
    if not ok then error(err, 0) end
  end)
end

describe("plain", function()
  after_each(project.remove_all)

  it("says what the sandbox is like", with(function(agent)
    assert.is_true(agent.plain)
    assert.matches("^[%w_]+$", agent.info.arch)
    assert.are.equal(require("luv").os_gethostname(), agent.info.hostname)
    assert(agent.info.cpus >= 1)
  end))

  it("tells the command's output from all else", with(function(agent)
    local result, exit = sh(agent, "printf out; printf err >&2; exit 7")
    assert.are.equal("out", result.stdout)
    assert.are.equal(7, exit.code)
    assert.are.equal("errbye", result.stderr)
  end, function(line)
    return "echo Welcome to the machine; " .. line .. "; s=$?; echo Bye; printf bye >&2; exit $s"
  end))

  it("believes the mark, not the status of the call", with(function(agent)
    local _, exit = sh(agent, "exit 5")
    assert.are.equal("exited", exit.kind)
    assert.are.equal(5, exit.code)
  end, function(line) return line .. "; exit 0" end))

  it("works when all output comes at the end", with(function(agent)
    local result, exit = sh(agent, "echo one; echo two >&2; exit 3")
    assert.are.equal("one\n", result.stdout)
    assert.are.equal("two\n", result.stderr)
    assert.are.equal(3, exit.code)
    assert.are.equal("started", result.order[1])
  end, function(line) return "o=$(" .. line .. "); s=$?; printf '%s\\n' \"$o\"; exit $s" end))

  it("works where the line is split into words instead of given to a shell", with(function(agent)
    local result = sh(agent, "printf %s \"$X\"", { env = { X = "it's \"quoted\"" } })
    assert.are.equal("it's \"quoted\"", result.stdout)
  end, function(line) return "python3 -c 'import os,shlex,sys; a=shlex.split(sys.argv[1]); os.execvp(a[0], a)' "
    .. shell.quote(line) end))

  it("is lost, and never failed, when the call fails", function()
    for _, case in ipairs({
      { "echo cannot connect >&2; exit 255", "exited with status 255: cannot connect" },
      { "echo hm; true", "ended without running what it was given; it printed: hm" },
      { "kill -9 $$", "was ended by SIGKILL" },
    }) do
      local broken = false
      with(function(agent, lost)
        local other = start(agent, { argv = { "sleep", "100" } })
        other.started:wait()
        broken = true
        local _, exit = sh(agent, "echo hello")
        assert.are.equal("lost", exit.kind)
        assert.matches(case[2], exit.message, 1, true)
        assert.are.equal(1, #lost)
        assert.are.equal("lost", select(2, other.wait()).kind)
        assert.are.equal("lost", select(2, sh(agent, "echo late")).kind)
      end, function(line) return broken and case[1] or line end)()
    end
  end)

  it("is lost when the call breaks in the middle", with(function(agent, lost)
    local result, exit = sh(agent, "echo begun; kill -9 $PPID; sleep 1")
    assert.are.equal("lost", exit.kind)
    assert.are.equal("begun\n", result.stdout)
    assert.are.equal(1, #lost)
  end))

  it("loses only the command where calls have nothing in common", with(function(agent, lost)
    local _, exit = sh(agent, "kill -9 $PPID; sleep 1")
    assert.are.equal("lost", exit.kind)
    assert.are.same({}, lost)
    assert.are.equal(0, select(2, sh(agent, "true")).code)
  end, nil, { stateless = true }))

  it("raises when the sandbox does not answer at the start", async(function()
    local ok, err = pcall(shell_client.connect, place(function() return "echo no such pod >&2; exit 1" end), {})
    assert.is_false(ok)
    assert.matches("status 1: no such pod", tostring(err))
  end))

  it("ends a call that something left behind holds open", with(function(agent)
    local result, exit = sh(agent, "echo quick; sleep 30 & exit 4")
    assert.are.equal("quick\n", result.stdout)
    assert.are.equal(4, exit.code)
  end, function(line) return line .. " | cat" end))

  it("has the limit of the provider", with(function(agent)
    local _, exit = run(agent, { argv = { "sleep", "100" } })
    assert.is_true(exit.timed_out)
    assert.are.equal("signaled", exit.kind)
  end, nil, { timeout = 0.3, stateless = true }))

  it("says what it cannot do", with(function(agent)
    for _, field in ipairs({ "stdin", "control", "forkserver" }) do
      local _, exit = run(agent, { argv = { "true" }, [field] = true })
      assert.are.equal("failed", exit.kind)
      assert.matches("^plain commands have no ", exit.message)
    end
    local _, exit = run(agent, { argv = { "echo", ("x"):rep(200000) } })
    assert.matches("too long", exit.message)
  end))

  it("removes its folders at the end, and ends what runs", async(function()
    local agent = shell_client.connect(place(), {})
    local folder = task.await(function(resume) agent:mkdtemp("spec-", resume) end)
    assert(require("luv").fs_stat(folder))
    local sleeping = start(agent, { argv = { "sh", "-c", "echo $$; exec sleep 1000" } })
    local pid = sleeping.says("(%d+)")
    task.await(function(resume) agent:close(resume) end)
    assert.are.equal("lost", select(2, sleeping.wait()).kind)
    assert.is_nil(require("luv").fs_stat(folder))
    agents.eventually(function() return not agents.alive(pid) end)
    task.await(function(resume) agent:close(resume) end) -- once more does no harm
  end))

  describe("pytest in one command per batch", function()
    local batch = require("frameworks.pytest.batch_reader")

    it("names tests as pytest's report does", function()
      for id, key in pairs({
        ["tests/test_a.py::test_x"] = "tests.test_a\0test_x",
        ["test_a.py::TestC::test_m"] = "test_a.TestC\0test_m",
        ["a/test_b.py::test_p[a::b/c.py-1]"] = "a.test_b\0test_p[a::b/c.py-1]",
        ["a.py::t[\1]"] = "a\0t[#x01]",
      }) do
        assert.are.equal(key, require("runner.worker.formats.junit.nodeid").key(id))
      end
    end)

    it("follows its lines, however they are cut", function()
      local ids = { ["t.py::a"] = 1, ["t.py::b c"] = 1, ["t.py::b"] = 1 }
      local text = "collecting ... collected 3 items\n\nt.py::a PASSED   [ 33%]\nt.py::b c FAILED  [ 66%]\nt.py::b "
      for size = 1, #text do
        local started = {}
        local tracker = batch.tracker(ids, function(id) started[#started + 1] = id end)
        for at = 1, #text, size do tracker.feed(text:sub(at, at + size - 1)) end
        assert.are.equal("t.py::b", tracker.current)
        assert.are.same({ ["t.py::a"] = "PASSED", ["t.py::b c"] = "FAILED" }, tracker.words)
        assert.are.equal("t.py::a", started[1])
      end
    end)
  end)
end)
