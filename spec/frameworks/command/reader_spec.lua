--- The command framework where results come from files: whole runs of the real binary over a tool that writes them.

local alive = require("spec.support.agent_process").alive
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local tool = require("spec.support.result_tool")

local find, read = finished.find, project.read

--- A project whose tests are names for the tool; `options`: more of the framework's, as Lua.
local function new(names, options, settings)
  local list = {}
  for i, name in ipairs(names) do list[i] = ("%q"):format(name) end
  return project.new({ ["tool.sh"] = tool, ["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 1
    settings.framework = require "frameworks.command" {
      tests = { %s }, %s
    }
    return settings
  ]]):format(settings or "{}", table.concat(list, ", "),
    options or [[run_command = "sh tool.sh {result_file} {tests}"]]) })
end

--- Runs it; returns final states and exit code.
local function run(dir)
  local result = runner(dir, "run")
  return finished.states(dir), result.code, result.stdout .. result.stderr
end

local function calls(dir)
  local list = {}
  for line in (read(dir .. "/ran") or ""):gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

local BY_NAME = [[test_id_format = "{name}", run_command = "sh tool.sh {result_file} {tests}"]]

describe("command, results in a file:", function()
  after_each(function()
    runner.kill_all()
    project.remove_all()
  end)

  it("runs many tests in one command and tells how each went", async(function()
    local dir = new({ "a pass", "b fail 'x'", "c skip", "ü pass \"q\" & <" }, BY_NAME)
    local states, code = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b fail 'x'"] = "failed", ["c skip"] = "skipped",
      ["ü pass \"q\" & <"] = "passed" }, states)
    assert.are.equal(1, code)
    assert.are.equal(2, #calls(dir)) -- the queue hands out half first
    local failed = find(dir, "attempt_finished", { id = "b fail 'x'" })
    assert.are.same({ "no: b fail 'x'", "T", "trace of b fail 'x'" }, { failed.message, failed.type, failed.trace })
    local passed = find(dir, "attempt_finished", { id = "ü pass \"q\" & <" })
    assert.are.equal(0.25, passed.duration)
    assert.matches("out of ü pass", finished.output(dir, "ü pass \"q\" & <"))
    assert.are.equal("why", find(dir, "test_finished", { id = "c skip" }).reason)
    assert.is_nil(find(dir, "problem"))
  end))

  it("learns from the first command whether results carry the tests' names", async(function()
    local dir = new({ "a pass", "b pass", "c pass", "d pass", "e pass", "f pass" })
    local states, code = run(dir)
    assert.are.equal(0, code)
    assert.are.equal("passed", states["f pass"])
    local list = calls(dir)
    assert.are.equal("a pass", list[1])
    assert.is_true(#list < 6)
  end))

  it("gives each test that is a file a command of its own where results carry other names", async(function()
    local options = [[run_command = "sh tool.sh {result_file} '{tests} pass' '{tests} two fail'"]]
    local dir = new({ "x.js", "y.js", "z.js" }, options)
    project.write(dir, { ["x.js"] = "", ["y.js"] = "", ["z.js"] = "" })
    local states, code, text = run(dir)
    assert.are.same({ ["x.js"] = "failed", ["y.js"] = "failed", ["z.js"] = "failed" }, states)
    assert.are.equal(1, code)
    assert.are.equal(3, #calls(dir))
    assert.matches('other names than the tests %("k x.js pass", "k x.js two fail"%)', read(dir
      .. "/test-results/events.ndjson"):gsub("\\", ""), nil, text)
    assert.are.equal("k x.js two fail: no: x.js two fail", find(dir, "attempt_finished", { id = "x.js" }).message)
    assert.is_nil(find(dir, "problem"))
  end))

  it("never takes a result with another name for that of a test", async(function()
    local tool_says = [[run_command = "printf '1..1\\nok 1 - other\\n' > results.tap; : {tests}"]]
    for _, options in ipairs({ [[result_file = "results.tap", ]] .. tool_says,
      [[result_file = "-", run_command = "echo 1..1; echo 'ok 1 - other'; : {tests}"]] }) do
      for _, names in ipairs({ { "a" }, { "a", "b" } }) do
        local dir = new(names, options)
        local states, code, text = run(dir)
        for _, name in ipairs(names) do assert.are.equal("failed", states[name], text) end
        assert.are.equal(1, code)
        assert.matches("do not tell of this test, but of \"other\" %(see test_id_format",
          find(dir, "attempt_finished").message)
        assert.matches('names no test of this group.*"other"', find(dir, "problem").message)
      end
    end
    -- One that is no file does not profit from one that is.
    local dir = new({ "x.js", "y" }, [[run_command = "sh tool.sh {result_file} {tests}.pass"]])
    project.write(dir, { ["x.js"] = "" })
    assert.are.same({ ["x.js"] = "passed", y = "failed" }, (run(dir)))
  end))

  it("takes all that a command reports for its test's where that is declared", async(function()
    local dir = new({ "a", "b" }, [[test_id_format = "{tests}",
      run_command = "sh tool.sh {result_file} pass.1 $([ {tests} = a ] || echo 2.fail)"]])
    local states, code, text = run(dir)
    assert.are.same({ a = "passed", b = "failed" }, states, text)
    assert.are.equal(1, code)
    assert.are.equal(2, #calls(dir))
    assert.is_nil(find(dir, "problem"))
  end))

  it("calls a command that always runs all tests for many of them at once", async(function()
    local dir = new({ "a pass", "b fail", "c skip", "d pass", "e pass", "f pass" }, [[test_id_format = "{name}",
      run_command = "sh tool.sh {result_file} 'a pass' 'b fail' 'c skip' 'd pass' 'e pass' 'f pass'"]])
    local states, _, text = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b fail"] = "failed", ["c skip"] = "skipped", ["d pass"] = "passed",
      ["e pass"] = "passed", ["f pass"] = "passed" }, states, text)
    assert.is_true(#calls(dir) < 6)
  end))

  it("does not believe an exit status of 0 when results name failures, nor results when the status is bad",
    async(function()
      local dir = new({ "a pass", "b status" }, BY_NAME, "{ max_parallel = 1, filters = nil }")
      local states, code = run(dir)
      assert.are.equal(1, code)
      local told = find(dir, "problem", { kind = "collection" })
        or find(dir, "attempt_finished", { id = "b status", status = "failed" })
      assert.is_table(told)
      assert.matches("exit status 3", told.message)
      assert.are.equal("passed", states["a pass"])
    end))

  it("lets a failure win where a test has several results", async(function()
    local dir = new({ "a twice", "b pass" }, BY_NAME)
    assert.are.same({ ["a twice"] = "failed", ["b pass"] = "passed" }, (run(dir)))
    assert.are.equal("in teardown", find(dir, "attempt_finished", { id = "a twice" }).message)
  end))

  it("reports by name what belongs to no test, and guesses nothing", async(function()
    local dir = new({ "a stranger", "b pass" }, BY_NAME)
    local states, code = run(dir)
    assert.are.same({ ["a stranger"] = "passed", ["b pass"] = "passed" }, states)
    assert.are.equal(1, code)
    local problem = find(dir, "problem")
    assert.matches('^1 result names no test of this group %(see test_id_format%): "nobody"$', problem.message)
    assert.matches("its trace", problem.text)
  end))

  it("fails tests whose results carry a name that the declared format does not make", async(function()
    local dir = new({ "k a pass", "k b pass" },
      [[test_id_format = "{classname}.{name}", run_command = "sh tool.sh {result_file} {tests}"]])
    local states, code = run(dir)
    assert.are.same({ ["k a pass"] = "passed", ["k b pass"] = "passed" }, states) -- the bare name is exact
    assert.are.equal(0, code)
    dir = new({ "k.a pass", "k.b pass" }, [[test_id_format = "{suite}.{name}",
      run_command = { "sh",
        "-c", 'out=$1; shift; for n; do set -- "$@" "${n#k.}"; shift; done; sh tool.sh "$out" "$@"',
        "sh", "{result_file}", "{tests}" }]])
    states, code = run(dir)
    assert.are.same({ ["k.a pass"] = "failed", ["k.b pass"] = "failed" }, states)
    assert.are.equal(1, code)
    assert.matches("do not tell of this test", find(dir, "attempt_finished").message)
    assert.matches('"k a pass"', find(dir, "problem").message)
  end))

  it("tells of errors outside of tests", async(function()
    local dir = new({ "a hooks", "b pass" }, BY_NAME)
    local _, code = run(dir)
    assert.are.equal(1, code)
    local told = find(dir, "problem") or find(dir, "attempt_finished", { id = "a hooks" })
    assert.matches("after all", told.message .. (told.text or ""))
  end))

  it("calls flaky what its own runner had to run again", async(function()
    local dir = new({ "a rerun", "b pass" }, BY_NAME)
    local states, code = run(dir)
    assert.are.same({ ["a rerun"] = "flaky", ["b pass"] = "passed" }, states)
    assert.are.equal(2, code)
  end))

  it("retries, telling the command which attempt it is", async(function()
    local dir = new({ "a flaky", "b pass" }, BY_NAME, "{ retries = 1 }")
    assert.are.same({ ["a flaky"] = "flaky", ["b pass"] = "passed" }, (run(dir)))
  end))

  it("blames a test that kills the command, and it alone", async(function()
    local dir = new({ "a pass", "b die", "c pass", "d pass", "e pass", "f pass" }, BY_NAME)
    local states = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b die"] = "crashed", ["c pass"] = "passed", ["d pass"] = "passed",
      ["e pass"] = "passed", ["f pass"] = "passed" }, states)
    assert.are.equal(9, find(dir, "attempt_finished", { id = "b die" }).signal)
  end))

  it("counts what is whole of a truncated file, and runs the rest again", async(function()
    local dir = new({ "a pass", "b cut", "c pass", "d pass", "e pass", "f pass" }, BY_NAME)
    local states, code = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b cut"] = "failed", ["c pass"] = "passed", ["d pass"] = "passed",
      ["e pass"] = "passed", ["f pass"] = "passed" }, states)
    assert.are.equal(1, code)
    assert.matches('results.*%(line %d+%), inside the case "b cut"', find(dir, "attempt_finished",
      { id = "b cut" }).message)
  end))

  it("fails a test of which the results say nothing", async(function()
    local dir = new({ "a pass", "b absent", "c pass" }, BY_NAME)
    local states = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b absent"] = "failed", ["c pass"] = "passed" }, states)
    assert.matches("do not tell of this test", find(dir, "attempt_finished", { id = "b absent" }).message)
  end))

  it("says when no file, or an empty one, was written, and what the command said", async(function()
    for command, message in pairs({
      ["echo cannot; exit 4 # {tests} {result_file}"] = "exit status 4; the result file was not written",
      ["true # {tests} {result_file}"] = "^the result file was not written",
      [": > {result_file} # {tests}"] = "results.*: .*", ["echo cannot > {result_file} # {tests}"] = "results.*: ",
    }) do
      local dir = new({ "a", "b" }, ("run_command = %q"):format(command))
      local states, code = run(dir)
      assert.are.same({ a = "failed", b = "failed" }, states, command)
      assert.are.equal(1, code)
      local attempt = find(dir, "attempt_finished")
      assert.matches(message, attempt.message)
      if command:find("^echo cannot;") then assert.matches("cannot", attempt.trace) end
    end
  end))

  it("never reads a file that an earlier command or run has left", async(function()
    local options = [[result_file = "out/junit.xml", test_id_format = "{name}",
      run_command = "mkdir -p out; case $(cat mode) in write) sh tool.sh out/junit.xml {tests} ;; esac"]]
    local dir = new({ "a pass", "b pass" }, options)
    project.write(dir, { mode = "write" })
    assert.are.same({ ["a pass"] = "passed", ["b pass"] = "passed" }, (run(dir)))
    assert.is_string(read(dir .. "/out/junit.xml"))
    project.write(dir, { mode = "silent" })
    assert.are.same({ ["a pass"] = "failed", ["b pass"] = "failed" }, (run(dir)))
    assert.matches("^out/junit.xml was not written", find(dir, "attempt_finished").message)
    -- What cannot be removed is not read either.
    project.write(dir, { mode = "write", ["out/junit.xml/x"] = "" })
    assert.are.same({ ["a pass"] = "failed", ["b pass"] = "failed" }, (run(dir)))
    assert.matches("cannot be removed", find(dir, "attempt_finished").message)
  end))

  it("reads a file much larger than its memory", async(function()
    if os.getenv("ASAN_OPTIONS") then return pending("a sanitizer needs all the address space") end
    local dir = new({ "a" }, [[test_id_format = "{name}", run_command = "sh write.sh {tests} > {result_file}"]])
    project.write(dir, { ["write.sh"] = [[
      echo '<testsuite>'
      for name; do echo "<testcase name=\"$name\"/>"; done
      yes '<properties><property name="a" value="0123456789 0123456789 0123456789 0123456789"/></properties>' |
        head -n 800000
      yes '<system-out>0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789</system-out>' |
        head -n 800000
      for name; do echo "<testcase name=\"$name\"><failure>$name</failure></testcase>"; done
      echo '</testsuite>'
    ]] })
    local limited = { "/bin/sh", "-c", 'ulimit -v 140000; exec "$0" run', require("luv").exepath() }
    local result = require("runner.io.process").run(limited, { cwd = dir })
    assert.are.same({ a = "failed" }, finished.states(dir), result.stdout .. result.stderr)
  end))

  it("reads JUnit XML from stdout", async(function()
    local dir = new({ "a pass", "b fail", "c skip", "d pass" }, [[result_file = "-", result_format = "junit",
      test_id_format = "{name}", run_command = "sh tool.sh /dev/fd/3 {tests} 3>&1 >&2"]])
    local states = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b fail"] = "failed", ["c skip"] = "skipped", ["d pass"] = "passed" },
      states)
    assert.are.equal("trace of b fail", find(dir, "attempt_finished", { id = "b fail" }).trace)
  end))

  it("reads the files of globs, but none that was there before", async(function()
    local options = [[result_file = { "build/**/TEST-*.xml", "more-?.xml" }, test_id_format = "{name}",
      run_command = "mkdir -p build/x/y; sh tool.sh build/TEST-1.xml a\\ pass; sh tool.sh more-1.xml c\\ skip;"
        .. "sh tool.sh build/x/y/TEST-2.xml b\\ fail; sh tool.sh build/x/TEST.xml d\\ pass; : {tests}"]]
    local dir = new({ "a pass", "b fail", "c skip", "d pass" }, options)
    -- Of an earlier run: one that stays as it is, one that is written anew.
    project.write(dir, { ["build/x/TEST-0.xml"] = '<testsuite><testcase name="d pass"/></testsuite>',
      ["build/TEST-1.xml"] = '<testsuite><testcase name="d pass"/></testsuite>' })
    local states = run(dir)
    assert.are.same({ ["a pass"] = "passed", ["b fail"] = "failed", ["c skip"] = "skipped", ["d pass"] = "failed" },
      states)
    assert.is_string(read(dir .. "/build/x/TEST-0.xml")) -- nothing of the user's is removed
    for glob, path in pairs({ ["out/[a-c].xml"] = "out/b.xml", ["./out//[!b-z]?.xml"] = "out/a-.xml",
      ["**/*+(1).xml"] = "out/x+(1).xml" }) do
      dir = new({ "a pass" }, ([[result_file = %q, test_id_format = "{name}",
        run_command = "mkdir out; sh tool.sh '%s' {tests}"]]):format(glob, path))
      assert.are.same({ ["a pass"] = "passed" }, (run(dir)), glob)
    end
    options = [[result_file = "build/**/TEST-*.xml", test_id_format = "{name}", run_command = "true {tests}"]]
    dir = new({ "a", "b" }, options)
    project.write(dir, { ["build/x/TEST-0.xml"] = '<testsuite><testcase name="a"/></testsuite>' })
    assert.are.same({ a = "failed", b = "failed" }, (run(dir)))
    assert.matches("nothing was written by this command %(1 left from before%)", find(dir, "attempt_finished").message)
  end))

  it("lets commands that write the same file take turns", async(function()
    local names = {}
    for i = 1, 40 do names[i] = "pass " .. i end
    local dir = new(names, [[result_file = "junit.xml", test_id_format = "{name}",
      run_command = "mkdir lock || exit 9; sh tool.sh junit.xml {tests}; rmdir lock"]], "{ max_parallel = 4 }")
    local states, code = run(dir)
    assert.are.equal(0, code)
    for _, name in ipairs(names) do assert.are.equal("passed", states[name]) end
  end))

  it("runs commands with {result_file} alone at once", async(function()
    local names = {}
    for i = 1, 20 do names[i] = "pass " .. i end
    local dir = new(names, [[test_id_format = "{name}", env = { OUT = "{result_file}" },
      run_command = "echo $OUT >> outs; sh tool.sh $OUT {tests}"]], "{ max_parallel = 2 }")
    local _, code = run(dir)
    assert.are.equal(0, code)
    local outs = {}
    for out in read(dir .. "/outs"):gmatch("[^\n]+") do outs[out] = true end
    local count = 0
    for out in pairs(outs) do
      count = count + 1
      assert.is_nil(require("luv").fs_stat(out))
    end
    assert.are.equal(2, count)
  end))

  it("ends a test that hangs, and goes on with the others", async(function()
    local dir = new({ "a pass", "b hang", "c pass" }, BY_NAME, "{ test_timeout = 0.5, grace = 0.2 }")
    assert.are.same({ ["a pass"] = "passed", ["b hang"] = "timed_out", ["c pass"] = "passed" }, (run(dir)))
    assert.is_false(alive(tonumber(read(dir .. "/pid"))))
  end))

  it("stops a batch at Ctrl-C, of which nobody can say what runs", async(function()
    local uv = require("luv")
    local dir = new({ "a pass", "b hang", "c pass", "d pass" }, BY_NAME, "{ grace = 0.2 }")
    local pid, done = runner.start(dir, "run")
    eventually(function() return (read(dir .. "/pid") or ""):find("\n") end)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    for _, state in pairs(finished.states(dir)) do assert.are.equal("not_run", state) end
    assert.is_false(alive(tonumber(read(dir .. "/pid"))))
  end))

  it("reads results of tests that nobody asked for, and ignores them", async(function()
    local dir = new({ "a pass", "b pass", "c pass" },
      [[test_id_format = "{name}", run_command = "sh tool.sh {result_file} 'a pass' 'b pass' 'c pass'; : {tests}"]])
    local result = runner(dir, "run", "b pass")
    assert.are.equal(0, result.code, result.stdout)
    assert.are.same({ ["b pass"] = "passed" }, finished.states(dir))
  end))

  it("is safe with names of every kind", async(function()
    local names = { "-rf pass", "--help pass", "$(touch x) pass", "`touch x` pass", "a;touch x;pass",
      "tab\tpass", "pass\nline",
      "{result_file} pass", "pass*", "'pass'", "\\pass", "%s pass", "pass\27[0m" }
    local dir = new(names, [[test_id_format = "{name}", run_command = "sh tool.sh {result_file} {tests}"]])
    local states, code, text = run(dir)
    assert.are.equal(0, code, text)
    for _, name in ipairs(names) do assert.are.equal("passed", states[name], name) end
    assert.is_nil(read(dir .. "/x"))
    dir = new(names, [[test_id_format = "{name}", run_command = { "sh", "tool.sh", "{result_file}", "{tests}" }]])
    states, code, text = run(dir)
    assert.are.equal(0, code, text)
    for _, name in ipairs(names) do assert.are.equal("passed", states[name], name) end
  end))
end)
