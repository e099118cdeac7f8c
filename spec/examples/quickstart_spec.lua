-- What `./dev demo` shows: the example as a newcomer runs it, in a folder of its own.
local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

describe("examples/quickstart", function()
  after_each(project.remove_all)

  it("passes, with one flaky test and what is skipped, and says so with exit code 2", async(function()
    local dir = project.new()
    assert(process.run({ "cp", "-R", "examples/quickstart/.", dir }).code == 0)
    project.remove(dir .. "/test-results")
    local result = runner(dir, "run", "--color", "never")
    assert.equal(2, result.code, result.stdout .. result.stderr)

    -- As in pytest's own JUnit file, an expected failure counts as skipped.
    assert.same({ passed = 20, flaky = 1, skipped = 2 }, finished.counts(dir), result.stdout)
    local flaky = finished.find(dir, "test_finished", { status = "flaky" })
    assert.truthy(flaky.id:find("test_the_line_to_the_bank_is_up", 1, true), flaky.id)
    assert.equal(2, flaky.attempts)
    assert.equal(2, finished.find(dir, "run_finished").exit_code)
    assert.truthy(uv.fs_stat(dir .. "/test-results/junit.xml"))
  end))
end)
