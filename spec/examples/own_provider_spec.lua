local uv = require("luv")
local async = require("spec.support.async")
local process = require("runner.io.process")

describe("examples/own-provider", function()
  it("runs its tests in clean rooms", async(function()
    local results = assert(uv.fs_mkdtemp("/tmp/runner-spec-XXXXXX"))
    local result = process.run({ uv.exepath(), "run", "--output-dir", results },
      { cwd = "examples/own-provider", env = { SECRET = "hunter2" } })
    process.run({ "rm", "-rf", results })
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("2 tests run: 2 passed", result.stdout)
  end))
end)
