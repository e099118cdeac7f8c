--- `--replay-order RUN`: the order of an earlier run.

local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

describe("the order of an earlier run", function()
  local dir

  before_each(function()
    dir = project.new({ ["runner.lua"] = [[
      local tests = {}
      for i = 1, 12 do tests[i] = "true #" .. i end
      return { seed = 7, max_parallel = 1, history = false,
        framework = require "frameworks.command" { tests = tests, run_command = "eval {tests}" } } ]] })
  end)
  after_each(project.remove_all)

  local function order()
    local ids = {}
    for i, event in ipairs(finished.events(dir, "attempt_started")) do ids[i] = event.id:match("%d+") end
    return table.concat(ids, " ")
  end

  it("is kept whatever seed the configuration has", async(function()
    assert.are.equal(0, runner(dir, "run").code)
    local own = order()
    assert.are.equal(0, runner(dir, "run", "--seed", "8").code)
    local earlier = order()
    assert.are_not.equal(own, earlier)
    assert(uv.fs_rename(dir .. "/test-results", dir .. "/earlier"))
    assert.are.equal(0, runner(dir, "run", "--replay-order", "earlier").code)
    assert.are.equal(earlier, order())
  end))

  it("is not asked for together with a random one", async(function()
    assert.are.equal(0, runner(dir, "run").code)
    for _, command in ipairs({ "run", "collect" }) do
      local result = runner(dir, command, "--seed", "1", "--replay-order", "test-results")
      assert.are.equal(64, result.code)
      assert.matches("--seed and --replay-order both say in which order the tests run", result.stderr, 1, true)
    end
  end))

  it("is that of a log that can be read to its end", async(function()
    local result = runner(dir, "run", "--replay-order", "/proc/self/mem")
    assert.are.equal(64, result.code)
    assert.are.equal("runner: cannot read /proc/self/mem: Input/output error\n", result.stderr)
  end))
end)
