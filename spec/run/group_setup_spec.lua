--- `setup` and `teardown` of groups, through the real binary: what they may do wrong, and how they are interrupted.

local uv = require("luv")
local async = require("spec.support.async")
local boxes = require("spec.support.boxes")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

local read = project.read

local function new(settings)
  return project.new({ ["runner.lua"] = ([[
    local command = require "frameworks.command"
    local function lines(...) return command { tests = { ... }, run_command = "eval {tests}" } end
    return %s
  ]]):format(settings) })
end

local function is_alive(pid) return pid and uv.kill(pid, 0) == 0 end

--- A group of two tests over two sandboxes, which lie in a folder of the project's; `group` is Lua source. The tests
--- wait for something, by default a file there, so that both sandboxes get one.
local function in_boxes(group, condition)
  return boxes.new({ ["runner.lua"] = ([[
    local lines = require "frameworks.command" { tests = { "1", "2" },
      run_command = "while ! %s; do sleep 0.01; done; true {tests}" }
    return {
      max_parallel = 2, grace = 1, sync = false,
      provider = require "providers.command" {
        create_command = "./create.sh", exec_command = "./exec.sh {sandbox_id} {command}",
        destroy_command = "./destroy.sh {sandbox_id}",
      },
      groups = { ["50%% up"] = { lines, %s } },
    }
  ]]):format(condition or "[ -e ../../second ]", group) })
end
describe("a group's setup", function()
  boxes.around()

  it("may start what lives until teardown is over, and no longer", async(function()
    local dir = new([[{ groups = { one = { lines("kill -0 $DAEMON"),
      setup = "sleep 1000 & echo DAEMON=$! | tee daemon >> $RUNNER_ENV",
      teardown = "kill -0 $DAEMON && echo x >> down" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal("x\n", read(dir .. "/down"))
    eventually(function() return not is_alive(tonumber(read(dir .. "/daemon"):match("%d+"))) end)
  end))

  it("exports what it wrote, however it ends", async(function()
    local dir = new([[{ groups = {
      a = { lines("test $X = 1"), setup = "echo X=1 >> $RUNNER_ENV; exit 0" },
      b = { lines("test $X = 2"), setup = "echo X=2 >> $RUNNER_ENV; exec true" },
      c = { lines("test $X = '?0'"), setup = "printf X='?0' >> $RUNNER_ENV" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
  end))

  it("exports what stands between empty lines, and nothing that is no variable", async(function()
    local dir = new([[{ groups = {
      a = { lines('test "$X" = "a=b \\$(c)" && test "$Y" = "" && test "$Z" = "ü  "'),
        setup = "printf '\\nX=a=b $(c)\\n\\n  \\nY=\\nZ=ü  ' >> $RUNNER_ENV" },
      b = { lines("true"), setup = "printf 'X=1\\nexport Y=2\\n' >> $RUNNER_ENV" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    assert.are.equal(1, finished.counts(dir).passed, result.stdout)
    local problem = finished.find(dir, "problem")
    assert.matches("group b failed .* not NAME=VALUE", problem.message)
    assert.are.equal("export Y=2", problem.text)
  end))

  it("has a file of its own for the variables, whatever the group is called", async(function()
    local dir = new([[{ groups = {
      ["a-b"] = { lines("test $X = 1"),
        setup = "echo X=1 >> $RUNNER_ENV; touch one; while ! [ -e two ]; do sleep 0.01; done" },
      a_b = { lines("test $X = 2"),
        setup = "while ! [ -e one ]; do sleep 0.01; done; echo X=2 >> $RUNNER_ENV; touch two" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
  end))

  it("fails when it exports more than tests can take along", async(function()
    local dir = new([[{ groups = { one = { lines("true"),
      setup = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo A$i=1234567; done >> $RUNNER_ENV" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.matches("setup of group one failed.*more than 256 KiB", result.stdout)
  end))

  it("that fails in the second sandbox is a problem, whatever the group is called", async(function()
    local dir = in_boxes([[setup = "mkdir ../../once 2>/dev/null || exit 3"]],
      "grep -q 'setup of group' ../../test-results/events.ndjson")
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    local told = "setup of group 50%% up failed in command%-%d: exit status 3"
    assert.matches(told, result.stdout)
    assert.matches("<error[^>]*" .. told, read(dir .. "/test-results/junit.xml"))
    -- The test that it keeps from running says so, too.
    assert.matches(told, finished.find(dir, "test_finished", { status = "not_run" }).reason)
  end))

  it("that hangs ends with Ctrl-C, in whichever sandbox it is", async(function()
    local dir = in_boxes([[setup = "mkdir ../../once 2>/dev/null || { touch ../../second; exec sleep 86422; }"]])
    local pid, done = runner.start(dir, "run")
    eventually(function() return uv.fs_stat(dir .. "/second") end)
    uv.kill(pid, "sigint")
    local exit
    assert(task.deadline(15, function() exit = done:wait() end))
    assert.are.equal(130, exit.code)
    finished.states(dir)
    boxes.tidy(dir)
  end))

  it("that hangs ends with the run's time, which is told", async(function()
    local dir = new([[{ global_timeout = 0.5, grace = 1, groups = { one = { lines("true"),
      setup = "trap '' TERM; while :; do sleep 0.1; done" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.matches("the run's time limit of 0.5 s has passed", result.stdout)
  end))
end)

describe("a group's teardown", function()
  boxes.around()

  it("that hangs ends with the second Ctrl-C", async(function()
    local dir = in_boxes([[setup = "touch ../../second", teardown = "touch ../../hangs; exec sleep 86423"]])
    local pid, done = runner.start(dir, "run")
    eventually(function() return uv.fs_stat(dir .. "/hangs") end)
    uv.kill(pid, "sigint")
    eventually(function() return (read(dir .. "/printed") or ""):find("interrupted") end)
    uv.kill(pid, "sigint")
    local exit
    assert(task.deadline(15, function() exit = done:wait() end))
    assert.are.equal(130, exit.code)
    boxes.tidy(dir)
  end))
end)
