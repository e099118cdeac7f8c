--- What providers do once a run.

local async = require("spec.support.async")
local errors = require("runner.base.errors")
local provider_setup = require("runner.sandbox.provider_setup")
local task = require("runner.base.task")

local function run_with(said)
  return {
    id = "run-1", settings = { dir = "/" },
    log = function(_, format, ...) said[#said + 1] = format:format(...) end,
  }
end

describe("preparation", function()
  it("prepares once for all who ask, and finishes once", async(function()
    local prepared, finished = 0, {}
    local provider = { name = "x", options = { a = 1 }, plugin = {
      prepare = function(options, ctx)
        prepared = prepared + 1
        task.sleep(0.01)
        return { options.a, ctx.run_id }
      end,
      finish = function(_, _, value) finished[#finished + 1] = value end,
    } }
    local all = provider_setup.new(run_with({}))
    local got = {}
    task.scope(function(scope)
      for i = 1, 5 do
        scope:spawn(function() got[i] = all:of(provider) end)
      end
    end)
    assert.are.equal(1, prepared)
    for i = 1, 5 do assert.are.equal(got[1], got[i]) end
    assert.are.same({ 1, "run-1" }, got[1])
    all:finish()
    assert.are.same({ got[1] }, finished)
  end))

  it("raises one failure to all who wait, and tries again unless that is no use", async(function()
    local calls, permanent = 0, nil
    local provider = { name = "x", options = {}, plugin = {
      prepare = function()
        calls = calls + 1
        errors.raise("provider", "no " .. calls, { permanent = permanent })
      end,
    } }
    local all = provider_setup.new(run_with({}))
    local _, first = pcall(all.of, all, provider)
    permanent = true
    local _, second = pcall(all.of, all, provider)
    local _, third = pcall(all.of, all, provider)
    assert.are.same({ "no 1", "no 2" }, { tostring(first), tostring(second) })
    assert.are.equal(second, third)
    assert.are.equal(2, calls)
  end))

  it("finishes after a failure and after a cancellation, and says what went wrong", async(function()
    local said, finished = {}, 0
    local provider = { name = "x", options = {}, plugin = {
      prepare = function() task.sleep(60) end,
      finish = function()
        finished = finished + 1
        error("it broke", 0)
      end,
    } }
    local all = provider_setup.new(run_with(said))
    task.scope(function(scope)
      scope:spawn(function() all:of(provider) end)
      task.sleep(0.01)
      scope:cancel()
    end)
    all:finish()
    assert.are.equal(1, finished)
    assert.matches("provider x: finish: it broke", said[1])
  end))

  it("does nothing for providers that have nothing to prepare", async(function()
    local all = provider_setup.new(run_with({}))
    assert.is_nil(all:of({ name = "x", options = {}, plugin = {} }))
    all:finish()
  end))
end)
