--- The command provider, with folders of this machine for sandboxes.

local uv = require("luv")
local async = require("spec.support.async")
local agents = require("spec.support.agent_process")
local boxes = require("spec.support.boxes")
local command = require("providers.command")
local contract = require("spec.support.provider_contract")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local new, shells, tidy, lines, read = boxes.new, boxes.shells, boxes.tidy, boxes.lines, project.read
local PLAIN = { exec_command = "./exec_without_stdin.sh {sandbox_id} {command}" }

describe("providers.command", function()
  boxes.around()

  local function options(more)
    local all = {
      create_command = "./create.sh", exec_command = "./exec.sh {sandbox_id} {command}",
      destroy_command = "./destroy.sh {sandbox_id}",
    }
    for key, value in pairs(more or {}) do all[key] = value end
    return all
  end

  it("keeps the contract over an exec_command that passes stdin", async(function()
    local dir = new()
    assert.are.same({}, contract.keeps(command(options()), { dir = dir }))
    tidy(dir)
  end))

  it("keeps what is left of the contract over one that does not", async(function()
    local dir = new()
    local absent = contract.keeps(command(options(PLAIN)), { dir = dir })
    assert.are.equal(6, #absent)
    tidy(dir)
  end))

  for how, exec in pairs({
    ["the agent"] = "{}", ["plain commands"] = '{ exec_command = "./exec_without_stdin.sh {sandbox_id} {command}" }',
  }) do
    it("runs tests by " .. how, async(function()
      local dir = shells([[{ "true", "exit 3", "exit 255", "test \"$PWD\" != \"$HERE\"", "kill -9 $$",
        "echo out; echo err >&2" }]], exec, '{ env = { HERE = "." } }')
      local result = runner(dir, "run")
      assert.are.equal(1, result.code, result.stdout .. result.stderr)
      assert.are.same({
        ["true"] = "passed", ["exit 3"] = "failed", ["exit 255"] = "failed", ['test "$PWD" != "$HERE"'] = "passed",
        ["kill -9 $$"] = "crashed", ["echo out; echo err >&2"] = "passed",
      }, finished.states(dir))
      tidy(dir)
    end))
  end

  it("passes ids and flags on as offload does", async(function()
    local dir = shells([[{ "test \"$X\" = \"a b\"" }]], [[{
      prepare_command = "./prepare.sh", copy_dirs = { "./src:/app/src" }, cpu_cores = 0.5, env = { X = "a b" },
      create_command = "./create.sh '{image_id} {cpu_cores}'",
    }]], "{ max_parallel = 1 }")
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal("--copy-dir=./src:/app/src\n", read(dir .. "/prepared"))
    assert.are.equal("image-1 0.5\n", read(dir .. "/created"))
    tidy(dir)
  end))

  it("takes the last line of a create_command that prints everything twice", async(function()
    local dir = shells([[{ "true" }]], [[{ create_command = "./create.sh x | sed p" }]], "{ max_parallel = 1 }")
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    tidy(dir)
  end))

  it("runs pytest by plain commands, a batch each", async(function()
    local dir = shells("{}", '{ exec_command = "sh -c {command} </dev/null # {sandbox_id}" }', [[{
      max_parallel = 1, framework = require "frameworks.pytest" { python = "/usr/bin/python3", paths = { "t" } } }]], {
      ["t/test_a.py"] = [[
import os, pytest
def test_ok(): print("said")
def test_bad(): assert 1 == 2
@pytest.mark.skip(reason="later")
def test_skip(): pass
@pytest.mark.parametrize("s", ["a b", "c::d", "x[y]", "it's"])
def test_par(s): pass
def test_dies(): os.abort()
def test_after(): pass
@pytest.fixture
def broken():
    yield
    raise RuntimeError("at the end")
def test_teardown(broken): pass
]],
    })
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    assert.are.same({
      ["t/test_a.py::test_ok"] = "passed", ["t/test_a.py::test_bad"] = "failed", ["t/test_a.py::test_skip"] = "skipped",
      ["t/test_a.py::test_par[a b]"] = "passed", ["t/test_a.py::test_par[c::d]"] = "passed",
      ["t/test_a.py::test_par[x[y]]"] = "passed", ["t/test_a.py::test_par[it's]"] = "passed",
      ["t/test_a.py::test_dies"] = "crashed", ["t/test_a.py::test_after"] = "passed",
      ["t/test_a.py::test_teardown"] = "failed",
    }, finished.states(dir))
  end))

  it("reports what pytest cannot collect", async(function()
    local dir = shells("{}", '{ exec_command = "sh -c {command} </dev/null # {sandbox_id}" }', [[{
      max_parallel = 1, framework = require "frameworks.pytest" { python = "/usr/bin/python3", paths = { "t" } } }]], {
      ["t/test_a.py"] = "import nothing_of_the_kind\n", ["t/test_b.py"] = "def test_ok(): pass\n",
    })
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.matches("t/test_a.py.*nothing_of_the_kind", result.stdout .. result.stderr)
    assert.are.equal("passed", finished.states(dir)["t/test_b.py::test_ok"])
  end))

  describe("says what is wrong:", function()
    local function fails(changes, code, files)
      local dir = shells([[{ "true" }]], changes, "{ max_parallel = 1 }", files)
      local result = runner(dir, "run")
      local text = result.stdout .. result.stderr
      assert.are.equal(code, result.code, text)
      return text, dir
    end

    it("a create_command that prints nothing", async(function()
      local text, dir = fails('{ create_command = "echo x >>created; echo" }', 3)
      assert.matches("create_command printed nothing: its last line should be the id", text, 1, true)
      assert.are.equal(1, lines(dir .. "/created")) -- each try may be a sandbox that nobody knows
    end))

    it("one that fails", async(function()
      assert.matches("create_command exited with status 4: no quota left",
        fails('{ create_command = "echo no quota left >&2; exit 4" }', 3), 1, true)
    end))

    it("one that hangs", async(function()
      assert.matches("create_command did not end within 0.3 s and was killed",
        fails('{ create_command = "sleep 100", timeout = 0.3 }', 3), 1, true)
    end))

    it("a prepare_command that fails, once", async(function()
      local text, dir = fails('{ prepare_command = "echo x >>tries; echo broken >&2; exit 1; echo" }', 3)
      assert.matches("prepare_command exited with status 1: broken", text, 1, true)
      assert.are.equal(1, lines(dir .. "/tries"))
    end))

    it("an exec_command that always exits with 255", async(function()
      local text, dir = fails('{ exec_command = "echo gone >&2; exit 255 # {command}" }', 3)
      assert.matches("status 255: gone", text, 1, true)
      tidy(dir)
    end))

    it("one without {command}", async(function()
      assert.matches("exec_command: {command} is missing",
        fails('{ exec_command = "./exec.sh {sandbox_id}" }', 78), 1, true)
    end))

    it("a destroy_command that fails or hangs, without failing the run", async(function()
      assert.matches("destroy_command exited with status 9: still in use",
        fails('{ destroy_command = "echo still in use >&2; exit 9" }', 0), 1, true)
      assert.matches("destroy_command did not end within 0.3 s",
        fails('{ destroy_command = "sleep 100", timeout = 0.3 }', 0), 1, true)
    end))
  end)

  it("loses a sandbox whose exec_command begins to fail, and goes on in another", async(function()
    local dir = shells([[{ "echo 1", "touch ../../broken; echo 2", "echo 3", "echo 4" }]],
      '{ exec_command = "./flaky.sh {sandbox_id} {command}" }', "{ max_parallel = 1 }", {
      ["flaky.sh"] = [[#!/bin/sh
if [ -e broken ] && [ ! -e mended ]; then touch mended; exit 255; fi
cd "$1" && exec sh -c "$2" </dev/null
]] })
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    for _, state in pairs(finished.states(dir)) do assert.are.equal("passed", state) end
    assert.are.equal(2, lines(dir .. "/created"))
    tidy(dir)
  end))

  for how, exec in pairs({
    ["the agent"] = "{}", ["plain commands"] = '{ exec_command = "./exec_without_stdin.sh {sandbox_id} {command}" }',
  }) do
    it("destroys its sandboxes after an interrupt, by " .. how, async(function()
      local dir = shells([[{ "echo $$ >../../pid; sleep 1000" }]], exec, '{ max_parallel = 1, grace = 1 }')
      local pid, done = runner.start(dir, "run")
      eventually(function() return (read(dir .. "/pid") or ""):find("\n") end)
      uv.kill(pid, "sigint")
      assert.are.equal(130, done:wait().code)
      tidy(dir)
      local test = tonumber(read(dir .. "/pid"))
      eventually(function() return not agents.alive(test) end)
    end))
  end
end)
