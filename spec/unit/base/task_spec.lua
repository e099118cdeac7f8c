local uv = require("luv")
local errors = require("runner.base.errors")
local task = require("runner.base.task")
local async = require("spec.support.async")

--- Waits until cancelled, then records it.
local function forever(log, name)
  local ok, err = pcall(task.await, function() return function() log[#log + 1] = name .. " aborted" end end)
  log[#log + 1] = name .. (ok and " went on" or " stopped")
  if not ok then error(err, 0) end
end

describe("task", function()
  it("returns what the root task returns", function()
    assert.are.same({ 1, nil, 3, n = 3 }, table.pack(task.main(function() return 1, nil, 3 end)))
  end)

  it("raises the root task's error, strings as error objects with a traceback", function()
    local ok, err = pcall(task.main, function() error("boom") end)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "internal"))
    assert.matches("boom", tostring(err))
    assert.matches("task_spec", err.traceback)
  end)

  it("passes error tables through unchanged", function()
    local mine = { "mine" }
    local ok, err = pcall(task.main, function()
      task.scope(function(scope) scope:spawn(function() error(mine) end) end)
    end)
    assert.is_false(ok)
    assert.are.equal(mine, err)
  end)

  it("says so when nothing can wake the root task", function()
    local ok, err = pcall(task.main, function() task.await(function() end) end)
    assert.is_false(ok)
    assert.matches("deadlock", tostring(err))
  end)

  it("turns an error inside a luv callback into an error of the run", function()
    local closed
    local ok, err = pcall(task.main, function()
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        error("in a callback")
      end)
      pcall(task.sleep, 60)
      closed = true
    end)
    assert.is_false(ok)
    assert.matches("in a callback", tostring(err))
    assert.is_true(closed)
  end)

  describe("scope", function()
    it("returns only when all its tasks have ended", async(function()
      local log = {}
      local result = task.scope(function(scope)
        scope:spawn(function() task.sleep(0.02) log[#log + 1] = "slow" end)
        scope:spawn(function() task.sleep(0.001) log[#log + 1] = "fast" end)
        log[#log + 1] = "body"
        return "result"
      end)
      assert.are.same({ "body", "fast", "slow" }, log)
      assert.are.equal("result", result)
    end))

    it("cancels the rest at the first error and raises that error after they ended", async(function()
      local log = {}
      local ok, err = pcall(task.scope, function(scope)
        scope:spawn(forever, log, "a")
        scope:spawn(function() task.sleep(0.001) error({ "first" }) end)
        scope:spawn(forever, log, "b")
      end)
      assert.is_false(ok)
      assert.are.same({ "first" }, err)
      table.sort(log)
      assert.are.same({ "a aborted", "a stopped", "b aborted", "b stopped" }, log)
    end))

    it("cancels its tasks when its body fails", async(function()
      local log = {}
      local ok, err = pcall(task.scope, function(scope)
        scope:spawn(forever, log, "a")
        task.sleep(0)
        error({ "body" })
      end)
      assert.is_false(ok)
      assert.are.same({ "body" }, err)
      assert.are.same({ "a aborted", "a stopped" }, log)
    end))

    it("ends without an error when cancelled by hand", async(function()
      local log = {}
      task.scope(function(scope)
        scope:spawn(forever, log, "a")
        task.sleep(0)
        scope:cancel()
      end)
      assert.are.same({ "a aborted", "a stopped" }, log)
    end))

    it("can cancel one task alone", async(function()
      local log = {}
      task.scope(function(scope)
        local handle = scope:spawn(forever, log, "a")
        scope:spawn(function()
          task.sleep(0.001)
          handle:cancel()
          task.sleep(0.001)
          log[#log + 1] = "b went on"
        end)
      end)
      assert.are.same({ "a aborted", "a stopped", "b went on" }, log)
    end))

    it("does not start a task spawned after cancellation", async(function()
      local started = false
      task.scope(function(scope)
        scope:cancel()
        scope:spawn(function() started = true end)
      end)
      assert.is_false(started)
    end))

    it("refuses a spawn once it has ended", async(function()
      local kept
      task.scope(function(scope) kept = scope end)
      assert.has_error(function() kept:spawn(function() end) end, "spawn in a scope that has ended")
    end))
  end)

  describe("cancellation", function()
    it("is raised again at every later await: pcall cannot swallow it", async(function()
      local raised = 0
      task.scope(function(scope)
        scope:spawn(function()
          for _ = 1, 3 do
            if not pcall(task.sleep, 60) then raised = raised + 1 end
          end
        end)
        task.sleep(0)
        scope:cancel()
      end)
      assert.are.equal(3, raised)
    end))

    it("does not enter a shield, where clean-up may await", async(function()
      local log = {}
      task.scope(function(scope)
        scope:spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            task.shield(function()
              task.sleep(0.005)
              log[#log + 1] = "cleaned"
            end)
          end })
          task.sleep(60)
        end)
        task.sleep(0)
        scope:cancel()
      end)
      assert.are.same({ "cleaned" }, log)
    end))

    it("ignores a resume that comes after the abort", async(function()
      local late
      task.scope(function(scope)
        scope:spawn(function()
          task.await(function(resume)
            late = resume
            return function() end
          end)
        end)
        task.sleep(0)
        scope:cancel()
      end)
      late("too late")
    end))

    it("ignores all but the first resume", async(function()
      local value = task.await(function(resume)
        resume(1)
        resume(2)
      end)
      assert.are.equal(1, value)
    end))
  end)

  describe("deadline", function()
    it("returns true and the results in time", async(function()
      assert.are.same({ true, 1, 2 }, { task.deadline(60, function() return 1, 2 end) })
    end))

    it("returns nil and a timeout error where it fires", async(function()
      local ok, err = task.deadline(0.005, function() task.sleep(60) end)
      assert.is_nil(ok)
      assert.is_true(errors.is(err, "timeout"))
    end))

    it("fires at its own level when nested", async(function()
      local inner_ok
      local ok, err = task.deadline(0.005, function()
        inner_ok = task.deadline(60, function() task.sleep(60) end)
        return "unreachable"
      end)
      assert.is_nil(ok)
      assert.is_true(errors.is(err, "timeout"))
      assert.is_nil(inner_ok)

      ok, inner_ok = task.deadline(60, function()
        return (task.deadline(0.005, function() task.sleep(60) end))
      end)
      assert.is_true(ok)
      assert.is_nil(inner_ok)
    end))

    it("passes errors through", async(function()
      local ok, err = pcall(task.deadline, 60, function() error({ "mine" }) end)
      assert.is_false(ok)
      assert.are.same({ "mine" }, err)
    end))

    it("bounds clean-up inside a shield", async(function()
      task.scope(function(scope)
        scope:spawn(function()
          pcall(task.sleep, 60)
          task.shield(function()
            local ok = task.deadline(0.005, function() task.sleep(60) end)
            assert(ok == nil)
          end)
        end)
        task.sleep(0)
        scope:cancel()
      end)
    end))
  end)

  describe("event, channel, semaphore", function()
    it("wakes all waiters of an event with its value", async(function()
      local got = {}
      local event = task.event()
      task.scope(function(scope)
        for i = 1, 3 do
          scope:spawn(function() got[i] = event:wait() end)
        end
        event:set("value")
      end)
      assert.are.same({ "value", "value", "value" }, got)
      assert.are.equal("value", event:wait())
    end))

    it("keeps the order of a channel and ends it at close", async(function()
      local channel, got = task.channel(), {}
      task.scope(function(scope)
        scope:spawn(function()
          for value in function() return channel:get() end do got[#got + 1] = value end
        end)
        channel:put(1)
        channel:put(2)
        task.sleep(0)
        channel:put(3)
        channel:close()
        channel:put(4)
      end)
      assert.are.same({ 1, 2, 3 }, got)
    end))

    it("never lets more than n tasks hold a semaphore, whatever order they end in", async(function()
      local seed = os.time()
      math.randomseed(seed)
      local semaphore, holding, most = task.semaphore(3), 0, 0
      task.scope(function(scope)
        for _ = 1, 50 do
          scope:spawn(function()
            semaphore:with(function()
              holding = holding + 1
              most = math.max(most, holding)
              task.sleep(math.random() * 0.002)
              holding = holding - 1
            end)
          end)
        end
      end)
      assert.are.equal(3, most, "seed " .. seed)
      assert.are.equal(3, semaphore.free)
    end))

    it("gives a permit back when a waiter is cancelled or its holder fails", async(function()
      local semaphore = task.semaphore(1)
      assert.is_false(pcall(semaphore.with, semaphore, error, { "x" }))
      task.scope(function(scope)
        scope:spawn(function()
          semaphore:with(function() task.sleep(60) end)
        end)
        scope:spawn(function() semaphore:with(function() end) end)
        task.sleep(0)
        scope:cancel()
      end)
      assert.are.equal(1, semaphore.free)
      assert.are.equal(0, #semaphore.waiting)
    end))
  end)

  describe("once", function()
    it("calls a function for the first, and gives all what came of it", async(function()
      local calls, gate, got = 0, task.event(), {}
      local once = task.once(function(name)
        calls = calls + 1
        gate:wait()
        return name, nil, "third"
      end)
      task.scope(function(scope)
        for i = 1, 3 do
          scope:spawn(function() got[i] = table.pack(once("name " .. i)) end)
        end
        task.sleep(0)
        gate:set()
      end)
      got[4] = table.pack(once("late"))
      for i = 1, 4 do assert.are.same({ "name 1", nil, "third", n = 3 }, got[i]) end
      assert.are.equal(1, calls)
    end))

    it("raises to all what it raised, and tries again where that is not kept", async(function()
      for _, kept in ipairs({ true, false }) do
        local calls, gate, raised = 0, task.event(), {}
        local once = task.once(function()
          calls = calls + 1
          local own = calls
          if own == 1 then gate:wait() end
          error({ call = own }, 0)
        end, not kept and function(err) return err.call == 2 end or nil)
        task.scope(function(scope)
          for i = 1, 2 do
            scope:spawn(function() raised[i] = select(2, pcall(once)).call end)
          end
          task.sleep(0)
          gate:set()
        end)
        for i = 3, 4 do raised[i] = select(2, pcall(once)).call end
        assert.are.same(kept and { 1, 1, 1, 1 } or { 1, 1, 2, 2 }, raised)
      end
    end))

    it("is called anew by one that waits when the first is cancelled", async(function()
      local calls, gate, got = 0, task.event(), {}
      local once = task.once(function()
        calls = calls + 1
        gate:wait()
        return calls
      end)
      task.scope(function(scope)
        local first = scope:spawn(function() once() end)
        for i = 1, 2 do
          scope:spawn(function() got[i] = once() end)
        end
        task.sleep(0)
        first:cancel()
        task.sleep(0)
        gate:set()
      end)
      assert.are.same({ 2, 2 }, got)
    end))
  end)
end)
