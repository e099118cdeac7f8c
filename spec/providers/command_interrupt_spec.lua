--- The command provider when runs end before their time: no sandbox is left that nobody knows.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local boxes = require("spec.support.boxes")
local eventually = require("spec.support.eventually")
local names_in = require("runner.base.files").names
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

--- create.sh when it has been told to go on; until then it has printed nothing.
local SLOW = [[echo $$ >creating; while ! test -e go; do sleep 0.02; done; ./create.sh {image_id}]]

describe("providers.command, interrupted", function()
  boxes.around()

  local function creating(options)
    local dir = boxes.shells('{ "true" }', ("{ create_command = %q, %s }"):format(SLOW, options or ""),
      "{ max_parallel = 1 }")
    local pid, done = runner.start(dir, "run")
    eventually(function() return project.read(dir .. "/creating") end)
    uv.kill(pid, "sigint")
    eventually(function() return project.read(dir .. "/printed"):find("waiting for create_command to end", 1, true) end)
    return dir, pid, done
  end

  it("destroys what a create_command makes that was running then", async(function()
    local dir, _, done = creating()
    project.write(dir, { go = "" })
    assert.are.equal(130, done:wait().code)
    assert.are.equal(1, boxes.lines(dir .. "/created"))
    boxes.tidy(dir)
  end))

  it("does not wait for it at a second interrupt, and says what that means", async(function()
    local dir, pid, done = creating()
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    assert.matches("create_command was interrupted and named nothing: what it may have made is left",
      project.read(dir .. "/printed"), 1, true)
    local script = project.read(dir .. "/creating"):match("%d+")
    eventually(function() return not agents.alive(script) end)
  end))

  it("says what a create_command says that fails then", async(function()
    local dir, _, done = creating("destroy_command = 'touch destroyed'")
    project.write(dir, { go = "", ["create.sh"] = "#!/bin/sh\necho no quota >&2; exit 4\n" })
    assert.are.equal(130, done:wait().code)
    assert.matches("what it may have made is left (create_command exited with status 4: no quota)",
      project.read(dir .. "/printed"), 1, true)
    assert.is_nil(uv.fs_stat(dir .. "/destroyed"))
  end))

  it("leaves to `runner gc` what a killed run has made", async(function()
    local dir = boxes.shells([[{ "touch started; sleep 1000" }]], "{}", "{ max_parallel = 1 }")
    local pid, done = runner.start(dir, "run")
    local box
    eventually(function()
      box = names_in(dir .. "/boxes")[1]
      return box and uv.fs_stat(dir .. "/boxes/" .. box .. "/started")
    end)
    assert.are.equal("", runner(dir, "gc").stdout) -- it lives
    uv.kill(pid, "sigkill")
    done:wait()
    local said = ("sandbox %s/boxes/%s (cd %s && ./destroy.sh %s/boxes/%s)\n"):format(dir, box, dir, dir, box)
    assert.are.equal("would remove " .. said, runner(dir, "gc", "--dry-run").stdout)
    assert.are.equal(1, boxes.journals())

    local script = project.read(dir .. "/destroy.sh")
    project.write(dir, { ["destroy.sh"] = "#!/bin/sh\necho still in use >&2; exit 9\n" })
    local result = runner(dir, "gc")
    assert.are.equal(3, result.code)
    assert.matches("not removed: " .. said:sub(1, -2) .. ": destroy_command exited with status 9: still in use",
      result.stderr, 1, true)
    assert.are.equal(1, boxes.journals())

    project.write(dir, { ["destroy.sh"] = script })
    result = runner(project.new({}), "gc") -- wherever it is called
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("removed " .. said, result.stdout)
    boxes.tidy(dir)
  end))
end)
