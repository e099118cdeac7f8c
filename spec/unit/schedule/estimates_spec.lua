--- What is expected before a run: that runs and plans reckon with the same.

local forecast = require("runner.schedule.forecast")
local estimates = require("runner.schedule.estimates")

describe("what is expected of a run", function()
  local function settings(fields)
    local all = {
      providers = { { name = "mine", plugin = {}, options = {} } },
      groups = {
        { name = "one", framework = { name = "f" }, individual = true, max_parallel = 2, weight = 3 },
        { name = "two", framework = { name = "g" }, providers = { docker = true }, exclusive = { "db" }, priority = 1 },
      },
    }
    for key, value in pairs(fields or {}) do all[key] = value end
    return all
  end

  local history = {
    cost = function(_, kind, name, group)
      if kind == "batch" then return name == "g" and group == "two" and 0.5 or nil end
      return name == "known" and 7 or nil
    end,
  }

  it("has the rules of each group, and what its hand-outs cost", function()
    assert.are.same({
      one = { individual = true, order = 0, max_parallel = 2, weight = 3 },
      two = { individual = false, order = 1, only_on = { docker = true }, exclusive = { "db" }, priority = 1,
        fixed_cost = 0.5 },
    }, estimates.policies(settings(), history))
    assert.is_nil(estimates.policies(settings()).two.fixed_cost)
  end)

  it("is the same in a plan, but that its sandboxes are all of one provider", function()
    local expected = estimates.policies(settings(), history)
    expected.two.only_on = nil
    local pool = forecast.pool(settings(), history)
    assert.are.same(expected, pool.policies)
    assert.are.equal(0.5, pool.fixed_cost)
    assert.are.equal(estimates.start("mine", history), pool.start)
  end)

  it("hands out one test at a time where the order of an earlier run counts", function()
    assert.is_true(estimates.policies(settings({ selection = { replay = {} } })).two.individual)
    assert.is_false(estimates.policies(settings({ selection = {} })).two.individual)
  end)

  it("says when a sandbox is ready: as the history knows, else by its provider", function()
    assert.are.equal(7, estimates.start("known", history))
    assert.is_true(estimates.start("local", history) < estimates.start("docker", history))
    assert.is_true(estimates.start("docker", history) < estimates.start("mine", history))
    assert.are.equal(estimates.start("mine", history), estimates.start("mine"))
  end)
end)
