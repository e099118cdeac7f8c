-- The example as it is, with a base image made of this machine's Python.
local uv = require("luv")
local async = require("spec.support.async")
local dockerd = require("spec.support.dockerd")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

describe("examples/docker", function()
  if not dockerd.around(function() uv.os_setenv("BASE", dockerd.python()) end) then return end
  teardown(function() uv.os_unsetenv("BASE") end)

  it("builds its image once and runs the tests in it", async(function()
    local dir = project.new()
    assert(process.run({ "cp", "-R", "examples/docker/.", dir }).code == 0)
    os.remove(dir .. "/test-results")
    local result = runner(dir, "run", "-v")
    local text = result.stdout .. result.stderr
    assert.equal(0, result.code, text)
    assert.same({ passed = 7 }, finished.counts(dir))
    assert.truthy(text:find("building the image", 1, true))

    -- An edited test runs without another build.
    project.write(dir, { ["tests/test_more.py"] = "def test_more():\n    pass\n" })
    result = runner(dir, "run", "-v")
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.same({ passed = 8 }, finished.counts(dir))
    assert.falsy((result.stdout .. result.stderr):find("building the image", 1, true))
    assert.is_nil(uv.fs_stat(dir .. "/scratch.txt"))
  end))
end)
