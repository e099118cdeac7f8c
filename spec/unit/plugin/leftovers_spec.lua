--- The journal of live sandboxes: what survives a killed process, and who may touch it.

local async = require("spec.support.async")
local leftovers = require("runner.plugin.leftovers")
local process = require("runner.io.process")
local project = require("spec.support.project")
local uv = require("luv")

describe("journal", function()
  local dir

  before_each(function()
    dir = project.new()
    uv.os_setenv("RUNNER_STATE_DIR", dir)
  end)

  after_each(function()
    uv.os_unsetenv("RUNNER_STATE_DIR")
    project.remove_all()
  end)

  --- Runs a piece of Lua in another runner, which then ends without any clean-up.
  local function elsewhere(source)
    project.write(dir, { ["script.lua"] = "local leftovers = require 'runner.plugin.leftovers'\n" .. source })
    return process.run({ uv.exepath(), "lua", dir .. "/script.lua" })
  end

  it("leaves nothing behind when everything was forgotten", function()
    local one = leftovers.add("run-1", { provider = "x", id = 1 })
    local two = leftovers.add("run-1", { provider = "x", id = 2 })
    assert.is_true(leftovers.is_alive("run-1"))
    one()
    one() -- once is enough
    assert.is_true(leftovers.is_alive("run-1"))
    two()
    assert.is_false(leftovers.is_alive("run-1"))
    assert.are.same({}, leftovers.dead())
    assert.is_nil(uv.fs_stat(dir .. "/live/run-1.ndjson"))
  end)

  it("tells what a killed process did not forget", async(function()
    local killed = elsewhere([[
      leftovers.add("run-2", { provider = "x", id = 1 })()
      leftovers.add("run-2", { provider = "x", id = 2, host = "a\nb" })
      leftovers.add("run-2", { provider = "y", id = 3 })
      require("luv").kill(require("luv").os_getpid(), "sigkill")]])
    assert.are.equal(9, killed.signal)
    assert.is_false(leftovers.is_alive("run-2"))
    local dead = leftovers.dead()
    assert.are.equal("run-2", dead[1].run)
    assert.are.same({ 2, 3 }, { dead[1].entries[1].id, dead[1].entries[2].id })
    assert.are.equal("a\nb", dead[1].entries[1].host)
    assert.are.same({}, leftovers.dead()) -- held: nobody else cleans up at the same time
    assert.is_false(leftovers.is_alive("run-2"))
    dead[1]:close()
    dead = leftovers.dead()
    assert.are.equal(1, #dead)
    dead[1]:remove()
    assert.are.same({}, leftovers.dead())
  end))

  it("leaves the runs of living processes alone", async(function()
    local forget = leftovers.add("run-3", { provider = "x", id = 1 })
    local result = elsewhere([[
      assert(leftovers.is_alive("run-3") and #leftovers.dead() == 0)
      assert(not pcall(leftovers.add, "run-3", { provider = "x" }))]])
    assert.are.equal(0, result.code, result.stderr)
    forget()
  end))

  it("reads what a full disk or a crash has cut short", function()
    project.write(dir, {
      ["live/run-4.ndjson"] = '{"add":1,"provider":"x","id":1}\n{"add":2,"provid',
      ["live/run-5.ndjson"] = "", ["live/notes"] = "",
    })
    local dead = leftovers.dead()
    assert.are.equal(2, #dead)
    assert.are.equal(1, #dead[1].entries)
    assert.are.equal(0, #dead[2].entries)
    for _, run in ipairs(dead) do run:remove() end
  end)

  it("gives this user one name, whoever asks first", async(function()
    local owner = leftovers.owner()
    assert.matches("^%x+$", owner)
    assert.are.equal(0, elsewhere(("assert(leftovers.owner() == %q)"):format(owner)).code)
    assert.are.equal(owner, leftovers.owner())
  end))

  it("raises an error that names the folder when it cannot write", function()
    project.write(dir, { file = "" })
    uv.os_setenv("RUNNER_STATE_DIR", dir .. "/file/below")
    local ok, err = pcall(leftovers.add, "run-6", { provider = "x" })
    assert.is_false(ok)
    assert.matches("file", tostring(err))
  end)
end)
