--- Sandboxes and slots of whole runs, with a provider of its own whose sandboxes are agents on this machine.

local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

-- Each place: { name =, slots = of the plan, offers = of the open place, fails = message, permanent = }.
local PROVIDER = [[
local uv = require("luv")
local errors = require("runner.errors")
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
        stream = require("runner.process").stream({ uv.exepath(), "agent" }, { cwd = ctx.dir })
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
      settings.framework = require("frameworks.command") { tests = %s, run_command = "eval {tests}" }
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

  it("says why when a sandbox is lost again and again", async(function()
    local dir = new('{ { name = "a", slots = 1 } }', [[{ "kill -KILL $PPID; sleep 60" }]])
    local code, text = run(dir)
    assert.equal(3, code, text)
    assert.same({ not_run = 1 }, finished.counts(dir))
    assert.matches("lost 3 times", text)
  end))

  it("takes a working folder as the agent sees it", async(function()
    local dir = new('{ { name = "a", cwd = "sub" } }', '{ "pwd" }')
    assert(uv.fs_mkdir(dir .. "/sub", 493))
    assert.equal(0, (run(dir)))
    assert.equal(dir .. "/sub\n", finished.find(dir, "attempt_finished").stdout.head)
  end))
end)
