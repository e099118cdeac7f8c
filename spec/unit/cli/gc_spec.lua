--- What `runner gc` says; what it removes is shown by the specs of the providers.

local async = require("spec.support.async")
local process = require("runner.io.process")
local project = require("spec.support.project")
local uv = require("luv")

describe("runner gc", function()
  after_each(project.remove_all)

  it("says so when there is nothing to remove", async(function()
    local home = project.new({})
    for _, flags in ipairs({ {}, { "--dry-run" } }) do
      local result = process.run({ uv.exepath(), "gc", table.unpack(flags) }, { cwd = home, env = {
        RUNNER_STATE_DIR = home .. "/state", XDG_CACHE_HOME = home .. "/cache",
        DOCKER_HOST = "unix://" .. home .. "/none",
      } })
      assert.are.same({ 0, "", "runner: there is nothing to remove\n" }, { result.code, result.stdout, result.stderr })
    end
  end))
end)
