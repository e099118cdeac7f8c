local uv = require("luv")
local async = require("spec.support.async")
local process = require("runner.io.process")

describe("examples/command-provider", function()
  it("runs its tests in sandboxes of its scripts, and leaves none", async(function()
    local results = assert(uv.fs_mkdtemp("/tmp/runner-spec-XXXXXX"))
    local result = process.run({ uv.exepath(), "run", "--output-dir", results .. "/results" },
      { cwd = "examples/command-provider", env = { TMPDIR = results, XDG_CACHE_HOME = results, GREETING = false } })
    local left = process.run({ "sh", "-c", "ls -d " .. results .. "/example-sandbox-*" }).stdout
    process.run({ "rm", "-rf", results })
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("2 tests run: 2 passed", result.stdout)
    assert.are.equal("", left)
  end))
end)
