--- The remote provider: each command goes to a script, as one argument.

local uv = require("luv")
local async = require("spec.support.async")
local contract = require("spec.support.provider_contract")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local remote = require("providers.remote")
local runner = require("spec.support.command_line")

local read = project.read

-- As the script of shotgun's own documentation works: everything is printed at the end.
local BUFFERED = [[#!/usr/bin/python3
import subprocess, sys
assert len(sys.argv) == 2, sys.argv
result = subprocess.run(sys.argv[1], shell=True, capture_output=True, text=True)
print(result.stdout)
print(result.stderr, file=sys.stderr)
sys.exit(result.returncode)
]]
local STREAMED = "#!/bin/sh\n[ $# = 1 ] || exit 99\necho call >>calls\nexec sh -c \"$1\" </dev/null\n"

local function new(framework, options, settings)
  local dir = project.new({
    ["buffered.py"] = BUFFERED, ["streamed.sh"] = STREAMED,
    ["t/test_a.py"] = "import os\ndef test_ok(): pass\ndef test_bad(): assert 0\ndef test_env(): "
      .. "assert os.environ['LEVEL'] == 'two words'\n",
    ["runner.lua"] = ([[
      local options = {
        execute_command = "./streamed.sh", setup_command = "echo setup >>order; echo $TOKEN >>token",
        teardown_command = "echo teardown >>order", env = { TOKEN = "secret" },
      }
      for key, value in pairs(%s) do options[key] = value or nil end
      local settings = %s
      settings.max_parallel = settings.max_parallel or 2
      settings.env = { LEVEL = "two words" }
      settings.provider = require "providers.remote" (options)
      settings.framework = %s
      return settings
    ]]):format(options or "{}", settings or "{}", framework),
  })
  uv.fs_chmod(dir .. "/buffered.py", 493)
  uv.fs_chmod(dir .. "/streamed.sh", 493)
  return dir
end

local PYTEST = 'require "frameworks.pytest" { python = "/usr/bin/python3", paths = { "t" } }'

local function shells(tests)
  return ('require "frameworks.command" { tests = %s, run_command = "eval {tests}" }'):format(tests)
end

describe("providers.remote", function()
  after_each(project.remove_all)

  it("keeps what is left of the contract", async(function()
    local dir = new(PYTEST)
    local absent = contract.keeps(remote({ execute_command = "./streamed.sh" }), { dir = dir })
    assert.are.equal(11, #absent)
  end))

  it("keeps the contract with an agent", async(function()
    assert.are.same({}, contract.keeps(remote({ execute_command = "sh -c", agent = true }), { dir = new(PYTEST) }))
  end))

  for _, script in ipairs({ "./streamed.sh", "./buffered.py" }) do
    it("runs pytest through " .. script, async(function()
      local dir = new(PYTEST, ('{ execute_command = %q }'):format(script))
      local result = runner(dir, "run")
      assert.are.equal(1, result.code, result.stdout .. result.stderr)
      assert.are.same({
        ["t/test_a.py::test_ok"] = "passed", ["t/test_a.py::test_bad"] = "failed", ["t/test_a.py::test_env"] = "passed",
      }, finished.states(dir))
      assert.are.equal("setup\nteardown\n", read(dir .. "/order"))
      assert.are.equal("secret\n", read(dir .. "/token"))
    end))

    it("runs single commands through " .. script, async(function()
      local dir = new(shells([[{ "true", "false", "kill -9 $$", "test \"$LEVEL\" = \"two words\"" }]]),
        ('{ execute_command = %q }'):format(script))
      local result = runner(dir, "run")
      assert.are.equal(1, result.code, result.stdout .. result.stderr)
      assert.are.same({ ["true"] = "passed", ["false"] = "failed", ["kill -9 $$"] = "crashed",
        ['test "$LEVEL" = "two words"'] = "passed" }, finished.states(dir))
    end))
  end

  it("calls the script for nothing but tests", async(function()
    local dir = new(shells([[{ "true", "echo 2", "echo 3" }]]))
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("call\ncall\ncall\n", read(dir .. "/calls"))
  end))

  it("tells a script that fails from tests that do", async(function()
    local dir = new(shells([[{ "true" }]]), '{ execute_command = "echo not logged in >&2; exit 1; :" }')
    local result = runner(dir, "run")
    assert.are.equal("not_run", finished.states(dir)["true"])
    assert.are.equal(3, result.code)
    assert.matches("status 1: not logged in", result.stdout .. result.stderr, 1, true)
  end))

  it("ends a call that takes too long", async(function()
    local dir = new(shells([[{ "sleep 1000" }]]), "{ timeout = 0.5 }", "{ grace = 0.2 }")
    assert.are.equal(1, runner(dir, "run").code)
    assert.are.equal("timed_out", finished.states(dir)["sleep 1000"])
  end))

  it("tears down after a set-up that failed, which is tried once", async(function()
    local dir = new(shells([[{ "true" }]]), '{ setup_command = "echo setup >>order; echo no access >&2; exit 2" }')
    local result = runner(dir, "run")
    assert.are.equal(3, result.code, result.stdout .. result.stderr)
    assert.matches("setup_command exited with status 2: no access", result.stdout .. result.stderr, 1, true)
    assert.are.equal("setup\nteardown\n", read(dir .. "/order"))
  end))

  it("tears down after an interrupt", async(function()
    local dir = new(shells([[{ "echo $$ >pid; sleep 1000" }]]), "{}", "{ grace = 1 }")
    local pid, done = runner.start(dir, "run")
    eventually(function() return (read(dir .. "/pid") or ""):find("\n") end)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    assert.are.equal("setup\nteardown\n", read(dir .. "/order"))
  end))
end)
