--- Whole runs of the real binary over real processes, with the command framework: each test is a line of shell.

local uv = require("luv")
local cjson = require("cjson.safe")
local alive = require("spec.support.agent_process").alive
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

local read = project.read

--- A project whose tests are lines of shell.
local function new(tests, settings, files)
  files = files or {}
  files["runner.lua"] = ([[
    local command = require "frameworks.command"
    local settings = %s
    settings.framework = command { tests = %s, run_command = "eval {tests}" }
    return settings
  ]]):format(settings or "{}", tests)
  return project.new(files)
end

describe("runner run", function()
  after_each(project.remove_all)

  it("exits 0 when all tests passed, with events, JUnit and a log each", async(function()
    local dir = new('{ "echo out; echo err >&2", "true" }')
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.same({ ["true"] = "passed", ["echo out; echo err >&2"] = "passed" }, finished.states(dir))
    assert.are.equal("out\nerr\n", finished.output(dir, "echo out; echo err >&2"))
    assert.matches('tests="2"', read(dir .. "/test-results/junit.xml"))
  end))

  it("ends every kind of test in its own state and exits 1", async(function()
    local dir = new([[{
      "true", "exit 3", "kill -SEGV $$", "sleep 60", "test $RUNNER_ATTEMPT = 2", "exec /nonexistent"
    }]],
      "{ retries = 1, test_timeout = 0.5, grace = 0.2, max_parallel = 4 }")
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    assert.are.same({
      ["true"] = "passed", ["exit 3"] = "failed", ["kill -SEGV $$"] = "crashed", ["sleep 60"] = "timed_out",
      ["test $RUNNER_ATTEMPT = 2"] = "flaky", ["exec /nonexistent"] = "failed",
    }, finished.states(dir))
    local summary = finished.find(dir, "run_finished")
    assert.are.equal("failed", summary.status)
    assert.are.equal(1, summary.exit_code)
    assert.are.equal(6, summary.counts.tests)
  end))

  it("exits 2 when tests passed only on a retry", async(function()
    assert.are.equal(2, runner(new('{ "test $RUNNER_ATTEMPT = 3" }', "{ retries = 2 }"), "run").code)
  end))

  it("exits 4 without tests, unless told otherwise", async(function()
    local dir = new("{}")
    assert.are.equal(4, runner(dir, "run").code)
    assert.are.equal(0, runner(dir, "run", "--no-tests=pass").code)
    local warned = runner(dir, "run", "--no-tests=warn")
    assert.are.equal(0, warned.code)
    assert.matches("no tests", warned.stdout .. warned.stderr)
    assert.are.equal(4, runner(new('{ "true" }'), "run", "matches-nothing").code)
  end))

  it("runs only tests that hold one of the names", async(function()
    local dir = new('{ "echo alpha", "echo beta", "echo gamma" }')
    assert.are.equal(0, runner(dir, "run", "alpha", "gamma").code)
    assert.are.same({ ["echo alpha"] = "passed", ["echo gamma"] = "passed" }, finished.states(dir))
  end))

  it("stops at the first failure and says which tests did not run", async(function()
    local dir = new('{ "exit 1", "echo 2", "echo 3", "echo 4" }', "{ max_parallel = 1 }")
    assert.are.equal(1, runner(dir, "run", "--fail-fast").code)
    local state = finished.states(dir)
    assert.are.equal("failed", state["exit 1"])
    assert.are.equal("not_run", state["echo 4"])
    assert.matches("echo 4", read(dir .. "/test-results/junit.xml"))
  end))

  it("stops after --max-fail failures", async(function()
    local dir = new('{ "exit 1", "exit 2", "sleep 0.3", "echo 4", "echo 5", "echo 6" }', "{ max_parallel = 1 }")
    assert.are.equal(1, runner(dir, "run", "--max-fail", "2").code)
    assert.are.equal("failed", finished.states(dir)["exit 2"])
    assert.are.equal("passed", finished.states(dir)["sleep 0.3"]) -- what runs may end
    assert.are.equal("not_run", finished.states(dir)["echo 6"])
  end))

  it("stops the whole run at the global timeout", async(function()
    local dir = new('{ "sleep 60", "true" }', "{ max_parallel = 1, grace = 0.2 }")
    assert.are.equal(1, runner(dir, "run", "--global-timeout", "0.5").code)
    assert.are.same({ ["sleep 60"] = "not_run", ["true"] = "not_run" }, finished.states(dir))
    local why = "the run's time limit of 0.5 s has passed"
    assert.are.equal("stopped while running: " .. why, finished.find(dir, "test_finished", { id = "sleep 60" }).reason)
    assert.are.equal(why, finished.find(dir, "test_finished", { id = "true" }).reason)
    local told = runner(dir, "logs").stdout
    assert.matches("CANCELLED [^\n]* sleep 60 %(stopped while running: the run's time limit of 0.5 s has", told)
    assert.matches("\n[^\n]*NOT RUN [^\n]* true %(the run's[^\n]*\n$", told)
    assert.are.equal(1, select(2, told:gsub("sleep 60", "")))
  end))

  it("kills what ignores TERM after the grace", async(function()
    local dir = new([[{ "trap '' TERM; while :; do sleep 0.1; done" }]], "{ test_timeout = 0.2, grace = 0.2 }")
    assert.are.equal(1, runner(dir, "run").code)
    local attempt = finished.find(dir, "attempt_finished")
    assert.are.equal("timed_out", attempt.status)
    assert.is_true(attempt.duration < 5)
  end))

  it("reports what a test left running, and ends it", async(function()
    local dir = new([[{ "setsid sleep 97531 & echo $! > pid" }]])
    assert.are.equal(0, runner(dir, "run").code)
    local attempt = finished.find(dir, "attempt_finished")
    assert.matches("sleep 97531", attempt.leaks[1].command)
    assert.is_false(alive(tonumber(read(dir .. "/pid"))))
  end))

  it("calls the hooks, lets them decide retries and order, and survives their errors", async(function()
    local dir = new('{ "exit 1", "exit 2", "echo last" }', [[{
      retries = 5, max_parallel = 1,
      retry = function(test, attempt) return test.id == "exit 2" and attempt.attempt < 3 end,
      order = function(tests) table.sort(tests, function(a, b) return a.id > b.id end) return tests end,
      on = {
        discovered = function(tests) io.open("hooks", "a"):write("discovered ", #tests, "\n"):close() end,
        result = function(test, a) io.open("hooks", "a"):write(test.id, " ", a.status, "\n"):close() end,
        finished = function(run)
          io.open("hooks", "a"):write("finished ", run.exit_code, "\n"):close()
          error("oops")
        end,
      },
    }]])
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    local hooks = read(dir .. "/hooks")
    assert.matches("^discovered 3\nexit 2 failed\n.*finished 1\n$", hooks) -- ordered: "exit 2" comes first
    assert.are.equal(3, select(2, hooks:gsub("exit 2 failed", "")))
    assert.are.equal(1, select(2, hooks:gsub("exit 1 failed", "")))
    assert.matches("oops", result.stdout .. result.stderr)
  end))

  it("keeps --seed's order", async(function()
    local dir = new('{ "echo 1", "echo 2", "echo 3", "echo 4", "echo 5", "echo 6", "echo 7" }', "{ max_parallel = 1 }")
    local function order(...)
      assert.are.equal(0, runner(dir, "run", ...).code)
      local ids = {}
      for i, event in ipairs(finished.events(dir, "attempt_started")) do ids[i] = event.id:sub(-1) end
      return table.concat(ids)
    end
    assert.are.equal("1234567", order())
    assert.are_not.equal("1234567", order("--seed", "7"))
    assert.are.equal(order("--seed", "7"), order("--seed", "7"))
  end))

  it("passes --env on and copies --copy-dir into a working folder of the sandbox's own", async(function()
    local dir = new('{ "test $COLOUR = green && cp data/x.txt ../seen 2>/dev/null; cat data/x.txt; pwd" }', nil,
      { ["fixtures/x.txt"] = "copied\n" })
    local result = runner(dir, "run", "--env", "COLOUR=green", "--copy-dir", "fixtures:data")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    local log = finished.output(dir)
    assert.matches("^copied\n", log)
    local folder = log:match("copied\n(.-)\n")
    assert.are_not.equal(dir, folder)
    assert.is_nil(uv.fs_stat(folder))
  end))

  it("streams output live with -v, prefixed by its test", async(function()
    local result = runner(new('{ "echo streamed" }'), "run", "-v")
    assert.matches("echo streamed.*streamed", result.stdout)
  end))

  it("fails with the configuration's exit code when discovery cannot work, and says why", async(function()
    local dir = project.new({ ["runner.lua"] = [[
      return { framework = require "frameworks.command" { discover_command = "exit 9", run_command = "true" } }
    ]] })
    local result = runner(dir, "run")
    assert.are.equal(78, result.code)
    assert.matches("discover_command failed", result.stderr)
    assert.are.equal("", result.stdout) -- no summary of a run that was none
    assert.matches('<error type="config" message="discover_command failed', read(dir .. "/test-results/junit.xml"))
    local again = runner(dir, "report")
    assert.are.equal(0, again.code)
    assert.matches("^runner: the run failed: discover_command failed", again.stderr)
  end))

  it("stops in order at the first Ctrl-C: nothing survives, reports are written, exit 130", async(function()
    local dir = new('{ "echo $$ > pid; sleep 86421", "echo never" }', "{ max_parallel = 1, grace = 0.5 }")
    local pid, done = runner.start(dir, "run")
    eventually(function() return (read(dir .. "/pid") or "") ~= "" end)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    assert.are.same({ ["echo $$ > pid; sleep 86421"] = "not_run", ["echo never"] = "not_run" }, finished.states(dir))
    assert.matches("echo never", read(dir .. "/test-results/junit.xml"))
    assert.matches('type="cancelled" message="stopped while running: interrupted by SIGINT"',
      read(dir .. "/test-results/junit.xml"))
    assert.is_false(alive(tonumber(read(dir .. "/pid"))))
  end))

  it("kills at once at the second Ctrl-C", async(function()
    local dir = new([[{ "trap '' TERM INT; echo $$ > pid; while :; do sleep 0.1; done" }]], "{ grace = 60 }")
    local pid, done = runner.start(dir, "run")
    eventually(function() return (read(dir .. "/pid") or "") ~= "" end)
    uv.kill(pid, "sigint")
    task.sleep(0.05)
    uv.kill(pid, "sigterm")
    local exit
    assert(task.deadline(10, function() exit = done:wait() end))
    assert.are.equal(130, exit.code)
    eventually(function() return not alive(tonumber(read(dir .. "/pid"))) end, 2)
    assert.are.equal("interrupted", finished.find(dir, "run_finished").status)
    local killed = finished.find(dir, "test_finished")
    assert.are.same({ "not_run", "stopped while running: interrupted by SIGINT" }, { killed.status, killed.reason })
    assert.are.equal("cancelled", finished.find(dir, "attempt_finished").status)
    assert.are.equal(1, select(2, runner(dir, "logs").stdout:gsub("trap '' TERM", "")))
  end))

  it("leaves nothing behind when it is killed with SIGKILL, and the event log can be read", async(function()
    local dir = new([[{ "setsid sleep 75319 & echo $! > daemon; echo $$ > pid; sleep 75319" }]])
    local pid, done = runner.start(dir, "run")
    eventually(function() return (read(dir .. "/pid") or "") ~= "" and finished.find(dir, "attempt_started") end)
    uv.kill(pid, "sigkill")
    done:wait()
    eventually(function()
      return not alive(tonumber(read(dir .. "/pid"))) and not alive(tonumber(read(dir .. "/daemon")))
    end, 1)
    assert.is_table(finished.find(dir, "attempt_started"))
    local rebuilt = runner(dir, "report")
    assert.are.equal(0, rebuilt.code, rebuilt.stderr)
    assert.matches("<testsuites", read(dir .. "/test-results/junit.xml"))
  end))

  it("keeps two runs at once in one folder apart", async(function()
    local dir = new('{ "sleep 1.5" }')
    local _, first = runner.start(dir, "run")
    eventually(function() return uv.fs_stat(dir .. "/test-results/events.ndjson") end)
    local second = runner(dir, "run")
    assert.are.equal(0, second.code, second.stderr)
    assert.are.equal(0, first:wait().code)
    assert.are.same({ ["sleep 1.5"] = "passed" }, finished.states(dir))
    assert.is_table(uv.fs_stat(dir .. "/test-results-2/junit.xml"))
  end))

  it("writes the whole log of a test that prints much, in bounded memory", async(function()
    local dir = new('{ "head -c 100000000 /dev/zero" }')
    assert.are.equal(0, runner(dir, "run").code)
    local attempt = finished.find(dir, "attempt_finished")
    assert.are.equal(100000000, uv.fs_stat(dir .. "/test-results/" .. attempt.log).size)
    assert.is_true(#cjson.encode(attempt) < 200000)
  end))

  it("says where the whole output of a failed test is", async(function()
    local dir = new('{ "seq 9000; false" }')
    local results = project.new({})
    for flags, folder in pairs({ [{}] = "test-results", [{ "--output-dir", results }] = results }) do
      local said = runner(dir, "run", table.unpack(flags))
      local path = said.stdout:match("whole output: (%S+)%]")
      assert.are.equal(folder .. "/logs/", tostring(path):match("^(.*/logs/)"), said.stdout)
      assert.is_truthy(read(path:sub(1, 1) == "/" and path or dir .. "/" .. path))
    end
  end))

  it("goes on when stdout is closed", async(function()
    local dir = new('{ "exit 1" }')
    local pipeline = { "/bin/sh", "-c", '"$0" run | head -c 1; exit 0', uv.exepath() }
    local result = require("runner.io.process").run(pipeline, { cwd = dir })
    assert.are.equal(0, result.code)
    assert.are.same({ ["exit 1"] = "failed" }, finished.states(dir))
  end))

  it("holds the sandbox of a failed test, says how to get in, and lets go at Ctrl-C", async(function()
    local dir = new('{ "exit 1" }')
    local pid, done = runner.start(dir, "run", "--hold-failed", "5m")
    local held
    eventually(function()
      held = finished.find(dir, "log", { level = "warning" })
      return held
    end)
    assert.matches("is held for 300 s.*cd ", held.message)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    assert.are.same({ ["exit 1"] = "failed" }, finished.states(dir))
  end))

  it("refuses a results folder that is not ours and holds a file of ours' name", async(function()
    local dir = new('{ "true" }', '{ report = { dir = "." } }', { ["junit.xml"] = "precious" })
    local result = runner(dir, "run")
    assert.are.equal(78, result.code)
    assert.are.equal("precious", read(dir .. "/junit.xml"))
  end))

  it("runs hundreds of tests of uneven length to exactly one state each", async(function()
    local seed = os.time()
    math.randomseed(seed)
    local tests = {}
    for i = 1, 300 do
      local kind = math.random(10)
      tests[i] = kind == 1 and ("exit %d # %d"):format(i % 5, i) or kind == 2 and ("kill -9 $$ # %d"):format(i)
        or ("sleep 0.00%d # %d"):format(math.random(9), i)
    end
    local list = {}
    for i, test in ipairs(tests) do list[i] = ("%q"):format(test) end
    local dir = new("{" .. table.concat(list, ",") .. "}", "{ max_parallel = 8, retries = 1 }")
    local result = runner(dir, "run")
    assert.is_true(result.code <= 1, "seed " .. seed)
    local state = finished.states(dir)
    for i, test in ipairs(tests) do
      local expected = test:find("^kill") and "crashed" or test:find("^exit [1-4]") and "failed" or "passed"
      assert.are.equal(expected, state[test], "seed " .. seed .. " test " .. i)
    end
  end))
end)
