--- The local provider: what a killed run leaves on this machine, and what `runner gc` does about it.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local names_in = require("runner.base.files").names
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local function new(options, test)
  return project.new({ code = "1", ["runner.lua"] = ([[return {
    max_parallel = 1, provider = require "providers.local" (%s),
    framework = require "frameworks.command" { tests = { "one" }, run_command = %q },
  }]]):format(options, test) })
end

describe("providers.local", function()
  local home

  before_each(function()
    home = project.new({})
    uv.os_setenv("RUNNER_STATE_DIR", home .. "/state")
    uv.os_setenv("XDG_CACHE_HOME", home .. "/cache")
  end)

  after_each(function()
    runner.kill_all()
    uv.os_unsetenv("RUNNER_STATE_DIR")
    uv.os_unsetenv("XDG_CACHE_HOME")
    project.remove_all()
  end)

  it("takes its agent and tests along when the runner is killed, even if somebody had stopped them", async(function()
    -- A daemon has left the test's process group and session.
    local dir = new("{}", [[setsid sleep 1000 & echo $PPID $$ $! >pids.new; mv pids.new pids; kill -STOP $PPID $$]])
    local pid, done = runner.start(dir, "run")
    local pids = {}
    for number in eventually(function() return project.read(dir .. "/pids") end):gmatch("%d+") do
      pids[#pids + 1] = number
    end
    eventually(function() return agents.read(("/proc/%s/stat"):format(pids[1])):find("%) T ") end)
    uv.kill(pid, "sigkill")
    done:wait()
    for _, number in ipairs(pids) do eventually(function() return not agents.alive(number) end) end
  end))

  it("leaves a private copy that `runner gc` removes, when it is killed", async(function()
    local dir = new("{ copy = true }", "pwd >../where; sleep 1000; : {tests}")
    uv.os_setenv("TMPDIR", home)
    local pid, done = runner.start(dir, "run")
    local copy = eventually(function() return (project.read(home .. "/where") or ""):match("^(.+)\n") end)
    assert.are.equal("", runner(dir, "gc").stdout) -- it lives
    uv.kill(pid, "sigkill")
    done:wait()
    uv.os_unsetenv("TMPDIR")
    assert.is_truthy(uv.fs_stat(copy .. "/code"))
    local said = ("the working folder %s\n"):format(copy)
    assert.are.equal("would remove " .. said, runner(dir, "gc", "--dry-run").stdout)
    assert.are.equal("removed " .. said, runner(dir, "gc").stdout)
    assert.is_nil(uv.fs_lstat(copy))
    assert.are.equal("", runner(dir, "gc").stdout)
    assert.are.same({}, names_in(home .. "/state/live"))
  end))

  it("keeps synced folders for later runs, until they are old or `runner gc --all` is called", async(function()
    local dir = project.new({ code = "1", ["runner.lua"] = [[return { max_parallel = 1, sync = true,
      framework = require "frameworks.command" { tests = { "one" }, run_command = "test -f code" } }]] })
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal("", runner(dir, "gc").stdout)
    result = runner(dir, "gc", "--all")
    assert.are.equal(0, result.code, result.stderr)
    local folder = result.stdout:match("^removed the synced folder (%S+)\n$")
    assert.is_truthy(folder:find(home .. "/cache/runner/trees/", 1, true))
    assert.is_nil(uv.fs_lstat(folder))
  end))
end)
