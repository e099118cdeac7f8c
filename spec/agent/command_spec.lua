--- What one command is and does: start, streams, environment, input, exit. Killing, links and fork servers have their
--- own files beside this one.

local agents = require("spec.support.agent_process")
local task = require("runner.base.task")

local with, run, sh = agents.with, agents.run, agents.sh

describe("agent", function()
  it("says what its sandbox is like", with(function(agent)
    local info = agent.info
    assert.are.equal(1, info.version)
    assert.matches("^[%w_]+$", info.arch)
    assert(info.cpus >= 1 and info.memory > 1e6)
    assert.are.equal(require("luv").cwd(), info.cwd)
    assert.are.equal(require("luv").os_gethostname(), info.hostname)
  end))

  describe("exit", function()
    it("has the code, the times and the memory", with(function(agent)
      local result, exit = sh(agent, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 42")
      assert.are.same({ "started", "exited" }, result.order)
      assert.are.equal("exited", exit.kind)
      assert.are.equal(42, exit.code)
      assert.is_nil(exit.signal)
      assert.is_nil(exit.message)
      assert.is_false(exit.timed_out)
      assert.is_false(exit.killed)
      assert(exit.wall > 0 and exit.wall < 10 and exit.user + exit.system > 0)
      assert(exit.memory > 100000 and exit.memory < 1e9)
      assert(math.abs(result.realtime - os.time()) < 5)
      assert.are.same({}, exit.leaks)
    end))

    it("has the signal", with(function(agent)
      local _, exit = sh(agent, "kill -SEGV $$")
      assert.are.equal("signaled", exit.kind)
      assert.are.equal(11, exit.signal)
      assert.is_nil(exit.code)
    end))

    it("names a program that does not exist", with(function(agent)
      local result, exit = run(agent, { argv = { "/no/such/program" } })
      assert.are.same({ "exited" }, result.order)
      assert.are.equal("failed", exit.kind)
      assert.are.equal(2, exit.errno)
      assert.are.equal("execve /no/such/program: No such file or directory", exit.message)
      exit = select(2, run(agent, { argv = { "no-such-program" } }))
      assert.matches("^execve no%-such%-program: No such file .*searched PATH", exit.message)
    end))

    it("names a folder that does not exist", with(function(agent)
      local _, exit = run(agent, { argv = { "true" }, cwd = "/no/such/folder" })
      assert.are.equal("failed", exit.kind)
      assert.are.equal("chdir /no/such/folder: No such file or directory", exit.message)
    end))

    it("tells a missing interpreter from a missing program", with(function(agent)
      local folder = task.await(function(resume) agent:mkdtemp("spec-", resume) end)
      task.await(function(resume)
        agent:put(folder .. "/script", "#!/no/such/interpreter\n", 493, resume)
      end)
      local _, exit = run(agent, { argv = { folder .. "/script" } })
      assert.matches("script: No such file or directory %(the program its first line", exit.message)
      task.await(function(resume) agent:put(folder .. "/script", "echo hello\n", 420, resume) end)
      _, exit = run(agent, { argv = { folder .. "/script" } })
      assert.matches("execve .*script: Permission denied$", exit.message)
    end))
  end)

  describe("output", function()
    it("is whole and in order, on both streams", with(function(agent)
      local result, exit = sh(agent, "seq 1 50000; seq 1 30000 >&2")
      assert.are.equal(0, exit.code)
      local expected = {}
      for i = 1, 50000 do expected[i] = i .. "\n" end
      assert(result.stdout == table.concat(expected))
      assert(result.stderr == table.concat(expected, "", 1, 30000))
      assert.are.equal("exited", result.order[#result.order])
    end))

    it("is binary", with(function(agent)
      local result = sh(agent, [[
        i=0; while [ $i -lt 256 ]; do printf "\\$(printf %03o $i)"; i=$((i+1)); done]])
      local expected = {}
      for i = 0, 255 do expected[i + 1] = string.char(i) end
      assert.are.equal(table.concat(expected), result.stdout)
    end))

    it("of both streams can be one, in the order of writing", with(function(agent)
      local script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done"
      local result = sh(agent, script, { merge = true })
      assert.are.equal("out1\nerr1\nout2\nerr2\nout3\nerr3\n", result.stdout)
      assert.are.equal("", result.stderr)
    end))

    it("of a child that outlives the command by a moment is not lost", with(function(agent)
      local result, exit = sh(agent, "(sleep 0.05; echo late) & echo early")
      assert.are.equal("early\nlate\n", result.stdout)
      assert.are.same({}, exit.leaks)
    end))
  end)

  describe("child", function()
    it("gets changes on top of the agent's environment", with(function(agent)
      local result = run(agent, {
        argv = { "env" },
        env = { RUNNER_SPEC_NEW = "a=b c", RUNNER_SPEC_OLD = "changed", RUNNER_SPEC_GONE = false },
      })
      local lines = "\n" .. result.stdout
      assert.matches("\nRUNNER_SPEC_NEW=a=b c\n", lines, 1, true)
      assert.matches("\nRUNNER_SPEC_OLD=changed\n", lines, 1, true)
      assert.matches("\nRUNNER_SPEC_KEPT=kept\n", lines, 1, true)
      assert.is_nil(lines:find("RUNNER_SPEC_GONE", 1, true))
      assert.matches("\nRUNNER_COMMAND=env.1\n", lines, 1, true)
    end, {
      run_id = "env",
      env = {
        "PATH=" .. os.getenv("PATH"), "RUNNER_COMMAND=outer", "RUNNER_SPEC_OLD=old",
        "RUNNER_SPEC_GONE=x", "RUNNER_SPEC_KEPT=kept",
      },
    }))

    it("can start from an empty environment, and is found by its own PATH", with(function(agent)
      local result = run(agent, {
        argv = { "env" }, clear_env = true, tag = "mine", env = { PATH = "/nowhere:/usr/bin:/bin" },
      })
      assert.are.equal("RUNNER_COMMAND=mine\nPATH=/nowhere:/usr/bin:/bin\n", result.stdout)
    end))

    it("runs in its folder", with(function(agent)
      assert.are.equal("/usr\n", run(agent, { argv = { "pwd" }, cwd = "/usr" }).stdout)
    end))

    it("inherits no descriptor, no blocked and no ignored signal", with(function(agent)
      local result = run(agent, { argv = { "ls", "/proc/self/fd" } })
      assert.are.equal("0\n1\n2\n3\n", result.stdout) -- 3 is what it reads them from
      result = run(agent, { argv = { "grep", "Sig.*:", "/proc/self/status" } })
      assert.matches("SigBlk:%s*0+\n", result.stdout)
      assert.matches("SigIgn:%s*0+\n", result.stdout)
    end))

    it("leads a session of its own", with(function(agent)
      local result = sh(agent, "cut -d' ' -f1,5,6 /proc/$$/stat")
      assert.are.equal(("%d %d %d\n"):format(result.pid, result.pid, result.pid), result.stdout)
    end))

    it("gets no more memory than allowed", with(function(agent)
      local _, exit = run(agent, {
        argv = { "sh", "-c", "ulimit -v" }, memory = 512 * 1024 * 1024,
      })
      assert.are.equal(0, exit.code)
      local result = run(agent, { argv = { "sh", "-c", "ulimit -v" }, memory = 512 * 1024 * 1024 })
      assert.are.equal("524288\n", result.stdout)
    end))

    it("gets thousands of arguments, and hears why not when they are too many", with(function(agent)
      local argv = { "sh", "-c", "echo $# ${4000}", "sh" }
      for i = 1, 4000 do argv[#argv + 1] = ("argument %d %s"):format(i, ("x"):rep(200)) end
      local result = run(agent, { argv = argv })
      assert.matches("^4000 argument 4000 x+\n$", result.stdout)

      local _, exit = run(agent, { argv = { "echo", ("x"):rep(200 * 1024) } })
      assert.are.equal("failed", exit.kind)
      assert.matches("^execve echo: Argument list too long", exit.message)
      _, exit = run(agent, { argv = { "echo", ("x"):rep(1024 * 1024) } })
      assert.are.equal("failed", exit.kind)
      assert.matches("do not fit into a frame", exit.message)
    end))
  end)

  describe("input", function()
    it("is empty unless asked for", with(function(agent)
      local result, exit = run(agent, { argv = { "cat" } })
      assert.are.equal("", result.stdout)
      assert.are.equal(0, exit.code)
    end))

    it("reaches stdin whole, and ends", with(function(agent)
      local text = ("0123456789abcdef"):rep(100000)
      local cat = agents.start(agent, { argv = { "cat" }, stdin = true })
      cat.command:write("first ")
      cat.command:write(text)
      cat.command:close_input()
      local result, exit = cat.wait()
      assert.are.equal(0, exit.code)
      assert(result.stdout == "first " .. text)
    end))

    it("waits for a command that is still queued", with(function(agent)
      agents.start(agent, { argv = { "sleep", "0.05" }, lane = 1 })
      local cat = agents.start(agent, { argv = { "cat" }, stdin = true, lane = 1 })
      cat.command:write("patience")
      cat.command:close_input()
      assert.are.equal("patience", cat.wait().stdout)
    end))

    it("to a command that does not read it does no harm", with(function(agent)
      local argv = { "sh", "-c", "exec <&-; sleep 0.1" }
      local deaf = agents.start(agent, { argv = argv, stdin = true })
      for _ = 1, 50 do deaf.command:write(("x"):rep(65536)) end
      local _, exit = deaf.wait()
      assert.are.equal(0, exit.code)
      deaf.command:write("too late")
    end))

    it("and output of the control socket are separate from the rest", with(function(agent)
      local script = "cat <&3 >&3; echo out; echo err >&2"
      local both = agents.start(agent, { argv = { "sh", "-c", script }, control = true })
      both.command:write("echo\0")
      both.says("echo%z", "control")
      both.command:write(("more"):rep(100000))
      both.command:close_input()
      local result, exit = both.wait()
      assert.are.equal(0, exit.code)
      assert(result.control == "echo\0" .. ("more"):rep(100000))
      assert.are.equal("out\n", result.stdout)
      assert.are.equal("err\n", result.stderr)
    end))
  end)

  describe("lanes", function()
    it("run their commands in order, side by side", with(function(agent)
      local order, ended, done = {}, 0, task.event()
      for i = 1, 20 do
        local lane = i % 2 + 1
        agent:spawn({
          argv = { "true" }, lane = lane,
          on_start = function(command) table.insert(order, { lane, "start", command.id }) end,
          on_exit = function(command)
            table.insert(order, { lane, "exit", command.id })
            ended = ended + 1
            if ended == 20 then done:set(true) end
          end,
        })
      end
      done:wait()
      local expected, got = {}, { {}, {} }
      for i = 1, 20 do
        if i % 2 == 0 then
          table.insert(expected, "start " .. i)
          table.insert(expected, "exit " .. i)
        end
      end
      for _, event in ipairs(order) do
        table.insert(got[event[1]], ("%s %d"):format(event[2], event[3]))
      end
      assert.are.same(expected, got[1])
      assert.are.equal(20, #got[2])
    end))

    it("go on after commands that cannot start", with(function(agent)
      for _ = 1, 300 do
        agents.start(agent, { argv = { "/no/such/program" }, lane = 9 })
      end
      local last = agents.start(agent, { argv = { "echo", "still here" }, lane = 9 })
      assert.are.equal("still here\n", last.wait().stdout)
    end))

    it("drop on request only what has not started", with(function(agent)
      local first = agents.start(agent, { argv = { "sh", "-c", "read line; echo went on" }, stdin = true, lane = 1 })
      local second = agents.start(agent, { argv = { "true" }, lane = 1 })
      first.started:wait()
      first.command:drop()
      second.command:drop()
      local _, exit = second.wait()
      assert.are.equal("dropped", exit.kind)
      first.command:write("\n")
      local result, went_on = first.wait()
      assert.are.equal("went on\n", result.stdout)
      assert.are.equal("exited", went_on.kind)
    end))

    it("drop what is killed before it starts", with(function(agent)
      local first = agents.start(agent, { argv = { "sleep", "100" }, lane = 1 })
      local second = agents.start(agent, { argv = { "echo", "never" }, lane = 1 })
      local third = agents.start(agent, { argv = { "echo", "third" }, lane = 1 })
      first.started:wait()
      second.command:kill()
      local result, exit = second.wait()
      assert.are.same({ "exited" }, result.order)
      assert.are.equal("dropped", exit.kind)
      first.command:kill()
      assert.are.equal("third\n", third.wait().stdout)
    end))
  end)

  describe("files", function()
    local function put(agent, path, bytes, mode)
      return task.await(function(resume) agent:put(path, bytes, mode, resume) end)
    end

    it("are written in one step, with their folders", with(function(agent)
      local folder = task.await(function(resume) agent:mkdtemp("spec-", resume) end)
      local path = folder .. "/a/b c/file"
      local bytes = ("\0binary\255"):rep(100000)
      assert.is_nil(put(agent, path, bytes, 448))
      assert(agents.read(path) == bytes)
      assert.is_nil(put(agent, path, "", 256))
      assert.are.equal("", agents.read(path))
      local listed = sh(agent, "stat -c '%a %n' *", { cwd = folder .. "/a/b c" })
      assert.are.equal("400 file\n", listed.stdout)
    end))

    it("say why they cannot be written", with(function(agent)
      assert.are.equal("/proc/nothing/here: No such file or directory",
        put(agent, "/proc/nothing/here", "x"))
      assert.matches("do not fit", put(agent, "/tmp/x", ("x"):rep(2 ^ 20)))
    end))

    it("in temporary folders go with the agent, whatever was done to them", function()
      local path
      with(function(agent)
        path = task.await(function(resume) agent:mkdtemp("spec-", resume) end)
        assert.matches("^/tmp/spec%-", path)
        assert.are.equal("700\n", sh(agent, "stat -c %a .", { cwd = path }).stdout)
        local script = "mkdir -p a/b/c && touch a/b/c/d .e && ln -s /etc a/link && chmod 0 a/b a"
        assert.are.equal(0, select(2, sh(agent, script, { cwd = path })).code)
      end, { env = { "PATH=" .. os.getenv("PATH") } })()
      assert.is_nil(require("luv").fs_stat(path))
      assert(require("luv").fs_stat("/etc/passwd"))
    end)
  end)
end)
