--- `retry_budget`: retries in all, of the whole run.

local async = require("spec.support.async")
local attempts = require("runner.run.attempts")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local MESSAGE = "the run's %s used up: failed tests are not tried again"

--- Three tests that pass at their second or third attempt, and one that passes at once.
local function new(settings)
  return project.new({ ["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel, settings.history = 1, false
    settings.framework = require "frameworks.command" {
      tests = { "test $RUNNER_ATTEMPT = 2 #1", "test $RUNNER_ATTEMPT = 3 #2", "test $RUNNER_ATTEMPT = 3 #3", "true" },
      run_command = "eval {tests}",
    }
    return settings ]]):format(settings) })
end

--- Attempts in all, and the warnings of a run.
local function count(dir)
  local warnings = {}
  for _, event in ipairs(finished.events(dir, "log")) do
    if event.level == "warning" then warnings[#warnings + 1] = event.message end
  end
  return #finished.events(dir, "attempt_finished"), warnings
end

describe("a budget of retries", function()
  after_each(project.remove_all)

  it("ends the retries of a run, which says so once", async(function()
    local dir = new("{ retries = 2, retry_budget = 2 }")
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout)
    local made, warnings = count(dir)
    assert.are.equal(4 + 2, made)
    assert.are.same({ MESSAGE:format("2 retries are") }, warnings)
    assert.matches(MESSAGE:format("2 retries are"), result.stdout .. result.stderr, 1, true)
    local counts = finished.counts(dir)
    assert.are.equal(1, counts.passed)
    assert.are.equal(3, (counts.failed or 0) + (counts.flaky or 0))
    assert.is_true(counts.failed >= 2)
  end))

  it("says nothing while it lasts", async(function()
    local dir = new("{ retries = 2, retry_budget = 5 }")
    assert.are.equal(2, runner(dir, "run").code)
    assert.are.same({ 4 + 5, {} }, { count(dir) })
  end))

  it("is given on the command line, above the configuration", async(function()
    local dir = new("{ retries = 2, retry_budget = 5 }")
    assert.are.equal(1, runner(dir, "run", "--retry-budget", "1").code)
    assert.are.same({ 4 + 1, { MESSAGE:format("one retry is") } }, { count(dir) })
    assert.are.equal(1, runner(dir, "run", "--retry-budget", "0").code)
    assert.are.equal(4, (count(dir)))
    local refused = runner(dir, "run", "--retry-budget", "-1")
    assert.are.equal(64, refused.code)
    assert.matches("--retry-budget: expected a whole number, 0 or more", refused.stderr, 1, true)
  end))

  it("is not used up by what the retry hook refuses", async(function()
    local dir = new([[{ retries = 2, retry_budget = 2, retry = function(test) return test.id:find("#3") ~= nil end }]])
    assert.are.equal(1, runner(dir, "run").code)
    assert.are.same({ 4 + 2, {} }, { count(dir) })
    assert.are.equal("flaky", finished.states(dir)["test $RUNNER_ATTEMPT = 3 #3"])
  end))

  it("is not used up by lost sandboxes, nor does it keep their tests from running again", function()
    local told = {}
    local books = attempts.new({
      emit = function(event) if event.event == "log" then told[#told + 1] = event.message end end,
      groups = {}, settings = { retries = 5, retry_budget = 1 }, hook = function() end,
    })
    local where = { sandbox = "s", slot = 1 }
    local item = books:add({ id = "t", group = "g" }, {})
    for _, status in ipairs({ "lost", "failed", "lost" }) do
      books:started(item, where)
      item = assert(books:finished(item, status, {}, where), status)
    end
    assert.are.same({}, told)
    books:started(item, where)
    assert.is_nil(books:finished(item, "failed", {}, where))
    assert.are.same({ MESSAGE:format("one retry is") }, told)
    assert.are.equal("failed", books.records.t.state)
  end)
end)
