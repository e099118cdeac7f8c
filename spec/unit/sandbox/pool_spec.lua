--- Sandboxes and slots of whole runs, with a provider of its own whose sandboxes are agents on this machine.

local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

-- Each place: { name =, slots = of the plan, offers = of the open place, fails = message, permanent = }.
local PROVIDER = [[
local uv = require("luv")
local errors = require("runner.base.errors")
local plugin = require("runner.plugin")
return plugin.provider({
  name = "places", api = 1, options = { list = "table" },
  sandboxes = function(options) return options.list end,
  open = function(_, ctx)
    local target = ctx.target
    if target.fails then
      errors.raise("provider", target.fails, { permanent = target.permanent })
    end
    local stream
    return {
      agent = "host", slots = target.offers or target.slots or "cpus", cwd = target.cwd,
      sees_project = true,
      connect = function()
        stream = require("runner.io.process").stream({ uv.exepath(), "agent" }, { cwd = ctx.dir })
        return stream
      end,
      close = function() stream:reap() end,
    }
  end,
})
]]

local function new(places, tests, settings)
  return project.new({
    [".runner/providers/places.lua"] = PROVIDER,
    ["runner.lua"] = ([[
      local settings = %s
      settings.provider = require("providers.places") { list = %s }
      settings.framework = settings.framework
        or require("frameworks.command") { tests = %s, run_command = "eval {tests}" }
      return settings
    ]]):format(settings or "{}", places, tests),
  })
end

local function sleepers(n)
  local list = {}
  for i = 1, n do list[i] = ("%q"):format("sleep 0.1; echo " .. i) end
  return "{ " .. table.concat(list, ", ") .. " }"
end

local function run(dir)
  local result = runner(dir, "run")
  return result.code, result.stdout .. result.stderr
end

local function started(dir)
  local names = {}
  for _, event in ipairs(finished.events(dir)) do
    if event.event == "sandbox_started" then names[event.sandbox] = (names[event.sandbox] or 0) + 1 end
  end
  return names
end

--- How many slots each sandbox had, by the numbers of the workers.
local function slots(dir)
  local of = {}
  for _, event in ipairs(finished.events(dir)) do
    if event.event == "attempt_started" then
      of[event.sandbox] = of[event.sandbox] or {}
      of[event.sandbox][event.slot] = true
    end
  end
  for sandbox, set in pairs(of) do
    local n = 0
    for _ in pairs(set) do n = n + 1 end
    of[sandbox] = n
  end
  return of
end

describe("runner.pool", function()
  after_each(project.remove_all)

  it("gives a sandbox as many slots as the agent sees cores", async(function()
    local dir = new('{ { name = "a" } }', sleepers(2))
    assert.equal(0, (run(dir)))
    local ready = finished.find(dir, "sandbox_ready")
    assert.equal("places-a", ready.sandbox)
    assert.equal(ready.cpus, ready.slots)
  end))

  it("deals max_parallel round robin, and what one cannot take to the others", async(function()
    local dir = new('{ { name = "a", slots = 1 }, { name = "b", offers = 4 }, { name = "c", slots = 4 } }',
      sleepers(24), "{ max_parallel = 6 }")
    local code, text = run(dir)
    assert.equal(0, code, text)
    local had = slots(dir)
    assert.equal(1, had["places-a"])
    assert.equal(5, had["places-b"] + had["places-c"])
  end))

  it("uses every slot of named sandboxes when nobody set max_parallel", async(function()
    local dir = new('{ { name = "a", slots = 7 }, { name = "b", offers = 6 } }', sleepers(40))
    local code, text = run(dir)
    assert.equal(0, code, text)
    assert.same({ ["places-a"] = 7, ["places-b"] = 6 }, slots(dir))
  end))

  it("opens another sandbox for one that fails, and does not try in vain", async(function()
    local dir = new([[{ { name = "a", slots = 1, fails = "it is broken", permanent = true },
      { name = "b", slots = 1 }, { name = "c", slots = 1 } }]], sleepers(2), "{ max_parallel = 1 }")
    local code, text = run(dir)
    assert.equal(0, code, text)
    assert.same({ ["places-a"] = 1, ["places-b"] = 1 }, started(dir))
    assert.matches("it is broken", text)
  end))

  it("tries again what may be mended, and then gives up", async(function()
    local dir = new('{ { name = "a", fails = "not yet" } }', sleepers(1))
    assert.equal(3, (run(dir)))
    assert.same({ ["places-a"] = 3 }, started(dir))
  end))

  it("tells two sandboxes of the same name apart", async(function()
    local dir = new('{ { name = "a", slots = 1 }, { name = "a", slots = 1 } }', sleepers(4))
    assert.equal(0, (run(dir)))
    assert.same({ ["places-a"] = 1, ["places-a-2"] = 1 }, started(dir))
  end))

  it("replaces a sandbox that no longer answers", async(function()
    local file = project.new({}) .. "/stopped"
    local stop = ("test $RUNNER_ATTEMPT -gt 1 || { echo $PPID > %s; kill -STOP $PPID; sleep 60; }"):format(file)
    local dir = new('{ { name = "a", slots = 1 } }', ("{ %q, 'true' }"):format(stop), "{ ping = 0.1 }")
    local code, text = run(dir)
    assert.equal(0, code, text)
    assert.same({ passed = 2 }, finished.counts(dir))
    assert.matches("has not answered", finished.find(dir, "sandbox_lost").message)
    assert.equal("lost", finished.find(dir, "attempt_finished", { attempt = 1, id = stop }).status)
  end))

  it("gives up the test that ends its sandbox each time, and runs the others", async(function()
    local dir = new('{ { name = "a", slots = 1 } }', [[{ "sleep 0.2; kill -KILL $PPID; sleep 60", "true" }]])
    local code, text = run(dir)
    assert.equal(3, code, text)
    assert.same({ not_run = 1, passed = 1 }, finished.counts(dir))
    assert.matches("its sandbox was lost each time, at last: the agent ended", text)
    assert.same({ ["places-a"] = 5 }, started(dir))
  end))

  it("gives up a place where sandboxes are lost again and again", async(function()
    local dir = new('{ { name = "a", slots = 1 } }',
      [[{ "kill -KILL $PPID; sleep 60", "kill -9 $PPID; sleep 60", "kill -s KILL $PPID; sleep 60" }]])
    local code, text = run(dir)
    assert.equal(3, code, text)
    assert.same({ not_run = 3 }, finished.counts(dir))
    assert.matches("it was lost 6 times, at last: the agent ended", text)
  end))

  describe("with a sandbox that is lost while it looks for tests", function()
    -- The first so many that come here end their agent.
    local DISCOVER = [[n=$(cat losses 2>/dev/null || echo 0); echo $((n + 1)) >losses;
      test $n -ge %d || { kill -KILL $PPID; sleep 60; }; echo one; echo two]]

    local function lossy(places, losses)
      return new(places, "{}", ([[{ max_parallel = 2, framework = require("frameworks.command") {
        discover_command = %q, run_command = "echo {tests}" } }]]):format(DISCOVER:format(losses)))
    end

    it("looks in another", async(function()
      local dir = lossy('{ { name = "a", slots = 1 }, { name = "b", slots = 1 } }', 1)
      local code, text = run(dir)
      assert.equal(0, code, text)
      assert.same({ passed = 2 }, finished.counts(dir))
      assert.matches("places%-[ab] was lost while it looked for tests %(.*%); trying in another", text)
      assert.equal(1, #finished.events(dir, "sandbox_lost"))
    end))

    it("opens one again when there is no other, and gives up after three", async(function()
      local dir = lossy('{ { name = "a", slots = 1 } }', 2)
      local code, text = run(dir)
      assert.equal(0, code, text)
      assert.same({ passed = 2 }, finished.counts(dir))
      assert.same({ ["places-a"] = 3 }, started(dir))
      dir = lossy('{ { name = "a", slots = 1 }, { name = "b", slots = 1 } }', 99)
      code, text = run(dir)
      assert.equal(3, code, text)
      assert.matches("lost", text)
      assert.equal("3\n", project.read(dir .. "/losses"))
    end))

    it("looks in another for pytest's", async(function()
      local dir = new('{ { name = "a", slots = 1 }, { name = "b", slots = 1 } }', "{}", [[{
        max_parallel = 1, framework = require("frameworks.pytest") { python = "/usr/bin/python3", paths = { "t" } } }]])
      project.write(dir, {
        ["t/conftest.py"] = [[
import os, time
def pytest_collection_modifyitems():
    if not os.path.exists("lost"):
        open("lost", "w").close()
        os.kill(os.getppid(), 9)
        time.sleep(60)
]], ["t/test_a.py"] = "def test_a(): pass\n",
      })
      local code, text = run(dir)
      assert.equal(0, code, text)
      assert.same({ passed = 1 }, finished.counts(dir))
    end))
  end)

  it("takes a working folder as the agent sees it", async(function()
    local dir = new('{ { name = "a", cwd = "sub" } }', '{ "pwd" }')
    assert(uv.fs_mkdir(dir .. "/sub", 493))
    assert.equal(0, (run(dir)))
    assert.equal(dir .. "/sub\n", finished.find(dir, "attempt_finished").stdout.head)
  end))
end)
