--- The command framework over tools that write TAP, and where no agent runs.

local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local tool = require("spec.support.result_tool")

local find = finished.find

--- A tool that prints TAP for the names that it is given.
local TAP = [[
echo "TAP version 13"; echo "1..$#"
echo "$*" >> ran
i=0
for name; do
  i=$((i+1))
  echo "printed by $name"
  case $name in
    *fail*) printf 'not ok %d - %s\n  ---\n  message: no %s\n  at: x\n  ...\n' $i "$name" "$name"; status=1 ;;
    *skip*) echo "ok $i - $name # SKIP why" ;;
    *todo*) echo "not ok $i - $name # TODO some day" ;;
    *die*) kill -SEGV $$ ;;
    *bail*) echo "Bail out! it burns"; exit 2 ;;
    *wait*) until [ -e go ]; do sleep 0.01; done; echo "ok $i - $name" ;;
    *extra*) echo "ok $i - $name"; echo "ok - $name too" ;;
    *) echo "ok $i - $name" ;;
  esac
done
exit ${status:-0}
]]

local function new(framework, settings, files)
  files = files or {}
  files["tap.sh"], files["tool.sh"] = TAP, tool
  files["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 1
    settings.framework = require "frameworks.command" { %s }
    return settings
  ]]):format(settings or "{}", framework)
  return project.new(files)
end

local function run(dir)
  local result = runner(dir, "run")
  return finished.states(dir), result.code, result.stdout .. result.stderr
end

local ON_STDOUT = [[result_file = "-", test_id_format = "{name}", run_command = "sh tap.sh {tests}"]]

describe("command, TAP:", function()
  after_each(function()
    runner.kill_all()
    project.remove_all()
  end)

  it("reads it from stdout, with diagnostics, directives and what was printed before a point", async(function()
    local dir = new('tests = { "a", "b fail", "c skip", "d todo", "e", "f", "g", "h" }, ' .. ON_STDOUT)
    local states, code, text = run(dir)
    assert.are.same({ a = "passed", ["b fail"] = "failed", ["c skip"] = "skipped", ["d todo"] = "skipped", e = "passed",
      f = "passed", g = "passed", h = "passed" }, states, text)
    assert.are.equal(1, code)
    local failed = find(dir, "attempt_finished", { id = "b fail" })
    assert.are.equal("no b fail", failed.message)
    assert.matches("at: x", failed.trace)
    assert.are.equal("printed by b fail\n", finished.output(dir, "b fail"))
    assert.are.equal("why", find(dir, "test_finished", { id = "c skip" }).reason)
    assert.is_true(find(dir, "attempt_finished", { id = "d todo" }).xfail)
    assert.is_nil(find(dir, "problem"))
  end))

  it("tells of results while the command runs", async(function()
    local dir = new('tests = { "a", "b", "c wait", "d", "e", "f", "g", "h" }, ' .. ON_STDOUT)
    local _, done = runner.start(dir, "run")
    -- The line that the next test prints shows that nothing more follows about the one before.
    eventually(function() return find(dir, "test_finished", { id = "a" }) end)
    assert.is_nil(find(dir, "test_finished", { id = "c wait" }))
    project.write(dir, { go = "" })
    assert.are.equal(0, done:wait().code)
    local waited = find(dir, "attempt_finished", { id = "c wait" })
    assert.is_true(waited.duration > 0 and waited.duration < 60)
  end))

  it("reads it from a file, by its name or the declared format", async(function()
    for _, options in ipairs({
      [[run_command = "sh tap.sh {tests} > out.tap", result_file = "out.tap"]],
      [[run_command = "sh tap.sh {tests} > {result_file}", result_format = "tap"]],
      [[run_command = "mkdir -p x; sh tap.sh {tests} > x/one.tap", result_file = "**/*.tap"]],
    }) do
      local dir = new('test_id_format = "{name}", tests = { "a", "b fail", "c" }, ' .. options)
      local states, _, text = run(dir)
      assert.are.same({ a = "passed", ["b fail"] = "failed", c = "passed" }, states, text)
    end
  end))

  it("blames whom a crash meets, and runs the others", async(function()
    local dir = new('tests = { "a", "b", "c die", "d", "e", "f", "g", "h" }, ' .. ON_STDOUT)
    local states, code = run(dir)
    for id, state in pairs(states) do assert.are.equal(id == "c die" and "crashed" or "passed", state, id) end
    assert.are.equal(1, code)
    assert.are.equal(11, find(dir, "attempt_finished", { id = "c die" }).signal)
  end))

  it("fails a test whose plan was not kept, or that bailed out", async(function()
    local dir = new('tests = { "a extra", "b bail" }, '
      .. [[result_file = "-", run_command = "sh tap.sh {tests}"]])
    local states = run(dir)
    assert.are.same({ ["a extra"] = "failed", ["b bail"] = "failed" }, states)
    assert.matches("1 planned, 2 ran", find(dir, "attempt_finished", { id = "a extra" }).message)
    assert.matches("bailed out: it burns", find(dir, "attempt_finished", { id = "b bail" }).message)
  end))

  it("takes files whose points have names of their own as tests", async(function()
    local dir = new([[discover_command = "ls t/*.t", result_file = "-", run_command = { "sh", "{tests}" }]], nil, {
      ["t/pass.t"] = 'echo 1..2; echo ok; echo "ok 2 - x # SKIP no"',
      ["t/fail.t"] = 'echo 1..2; echo "ok 1 - x"; echo "not ok 2 - y"; echo "#   Failed test y"; exit 1',
      ["t/skip.t"] = 'echo "1..0 # SKIP no database"',
      ["t/short.t"] = 'echo 1..3; echo "ok 1 - x"',
      ["t/crash.t"] = 'echo 1..2; echo "ok 1 - x"; kill -ABRT $$',
      ["t/status.t"] = 'echo 1..1; echo "ok 1 - x"; exit 3',
      ["t/silent.t"] = "exit 0",
    })
    local states, code, text = run(dir)
    assert.are.same({
      ["t/pass.t"] = "passed", ["t/fail.t"] = "failed", ["t/skip.t"] = "skipped", ["t/short.t"] = "failed",
      ["t/crash.t"] = "crashed", ["t/status.t"] = "failed", ["t/silent.t"] = "failed",
    }, states, text)
    assert.are.equal(1, code)
    assert.are.equal("no database", find(dir, "test_finished", { id = "t/skip.t" }).reason)
    assert.matches("^y: +Failed test y$", find(dir, "attempt_finished", { id = "t/fail.t" }).message)
    assert.matches("exit status 3", find(dir, "attempt_finished", { id = "t/status.t" }).message)
    assert.matches("3 planned, 1 ran", find(dir, "attempt_finished", { id = "t/short.t" }).message)
    assert.matches("holds no TAP", find(dir, "attempt_finished", { id = "t/silent.t" }).message)
  end))

  it("survives 100 MB of noise", async(function()
    local dir = new([[tests = { "a", "b" }, result_file = "-", test_id_format = "{name}",
      run_command = "head -c 100000000 /dev/zero; echo; sh tap.sh {tests}"]])
    local states, code = run(dir)
    assert.are.same({ a = "passed", b = "passed" }, states)
    assert.are.equal(0, code)
  end))
end)

describe("command, where only plain commands run:", function()
  after_each(project.remove_all)

  local PROVIDERS = {
    ["each on a machine of its own"] = [[require "providers.remote" { execute_command = "./exec.sh" }]],
    ["all on one"] = [[require "providers.command" { agent = false, create_command = "echo one",
      exec_command = "./exec.sh {command}", destroy_command = "true" }]],
  }
  for where, provider in pairs(PROVIDERS) do
    it("brings result files back, " .. where, async(function()
      local settings = ("{ retries = 1, provider = %s }"):format(provider)
      local options = {
        [[run_command = "sh tool.sh {result_file} {tests}"]],
        [[run_command = "sh tool.sh out/junit.xml {tests}", result_file = "out/junit.xml"]],
        [[run_command = "sh tool.sh out/x/TEST.xml {tests}", result_file = "out/**/TEST*.xml"]],
      }
      for _, option in ipairs(options) do
        local dir = new([[test_id_format = "{name}",
          tests = { "a pass", "b fail", "c flaky", "d skip", "e die", "f pass", "g pass" }, ]] .. option, settings, {
            ["exec.sh"] = "#!/bin/sh\nexec sh -c \"$1\" </dev/null\n", ["out/x/keep"] = "",
          })
        require("luv").fs_chmod(dir .. "/exec.sh", 493)
        local states, code, text = run(dir)
        assert.are.same({ ["a pass"] = "passed", ["b fail"] = "failed", ["c flaky"] = "flaky", ["d skip"] = "skipped",
          ["e die"] = "crashed", ["f pass"] = "passed", ["g pass"] = "passed" }, states, text)
        assert.are.equal(1, code)
        assert.are.equal("trace of b fail", find(dir, "attempt_finished", { id = "b fail" }).trace)
      end
      local left = require("runner.io.process").run({ "/bin/sh", "-c", "ls /tmp/runner-results-*" })
      assert.are.equal("", left.stdout)
    end))
  end
end)
