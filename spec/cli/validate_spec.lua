local async = require("spec.support.async")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

describe("runner validate", function()
  after_each(project.remove_all)

  it("says in a few lines what would run where", async(function()
    local dir = project.new({ ["runner.lua"] = [[
      local command = require "frameworks.command" { tests = { "a" }, run_command = "true" }
      return { max_parallel = 3, global_timeout = "1h", provider = { "local", "local" },
        report = { junit = false },
        groups = { unit = command,
          ["säge"] = { command, retries = 3, test_timeout = "none", schedule = "individual",
          filters = { "a", "b" } } } }]] })
    local result = runner(dir, "validate")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal(([[
DIR/runner.lua: valid
  providers  local, local
  groups     säge  command, retries 3, timeout none, one at a time, only "a", "b"
             unit  command, retries 0, timeout 15m
  parallel   3 at once
  timeouts   slow after 1m, run 1h, grace 10s
  works in   DIR
  results    DIR/test-results
]]):gsub("DIR", dir), result.stdout)
  end))

  it("lists every problem and ends with 78", async(function()
    local dir = project.new({ ["other.lua"] = 'return { framework = 3, retires = 1 }' })
    local result = runner(dir, "validate", "other.lua")
    assert.are.equal(78, result.code)
    assert.are.equal("", result.stdout)
    assert.matches("^runner: other.lua: 2 problems\n  retires: unknown key", result.stderr)
    assert.matches("\n  framework: expected a framework", result.stderr)
  end))

  it("runs nothing", async(function()
    local dir = project.new({ ["runner.lua"] = [[return { framework = require "frameworks.command" {
      discover_command = "touch ran", run_command = "touch ran" } }]] })
    assert.are.equal(0, runner(dir, "validate").code)
    local stat = require("luv").fs_stat
    assert.is_nil(stat(dir .. "/ran"))
    assert.is_nil(stat(dir .. "/test-results"))
  end))
end)
