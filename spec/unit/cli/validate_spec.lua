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

  it("finds options that cannot be right together or are none, and says each thing once", async(function()
    local cases = {
      { 'framework = require "frameworks.pytest" { isolation = "tset" }',
        'framework: framework pytest: option isolation: expected "worker" or "test" or "process", '
          .. 'got the string "tset" (runner.lua:1)' },
      { 'framework = "command"',
        "framework: framework command: option run_command: missing: expected a string or a list of strings" },
      { 'framework = "pytest", provider = "docker"',
        'provider: provider docker: set image = "NAME", or dockerfile = "PATH" to build one' },
      { 'framework = "pytest", provider = require "providers.docker" { image = "a", context = "." }',
        "provider: provider docker: image and dockerfile/context exclude each other (runner.lua:1)" },
    }
    for _, case in ipairs(cases) do
      local result = runner(project.new({ ["runner.lua"] = "return { " .. case[1] .. " }" }), "validate")
      assert.are.equal(78, result.code, result.stdout)
      assert.are.equal("runner: runner.lua: " .. case[2] .. "\n", result.stderr)
    end
  end))

  it("takes an image that is built, and every isolation of pytest", async(function()
    for _, source in ipairs({ 'provider = require "providers.docker" { dockerfile = "Dockerfile" }',
      'provider = require "providers.docker" { context = "." }' }) do
      local dir = project.new({ ["runner.lua"] = ('return { framework = "pytest", %s }'):format(source) })
      assert.are.equal(0, runner(dir, "validate").code)
    end
    for _, isolation in ipairs({ "worker", "test", "process" }) do
      local framework = ('require "frameworks.pytest" { isolation = %q }'):format(isolation)
      local dir = project.new({ ["runner.lua"] = ("return { framework = %s }"):format(framework) })
      assert.are.equal(0, runner(dir, "validate").code)
    end
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
