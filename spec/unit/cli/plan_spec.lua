--- `runner plan` and `runner simulate`: predictions by the real queue, next to what then really happens.

local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local past_run = require("spec.support.past_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

--- A project of sleeping tests, 3 s of work, the longest 0.5 s.
local function new(settings)
  return project.new({ ["runner.lua"] = ([[
    local tests = {}
    for i = 1, 24 do tests[i] = ("sleep %%g #%%d"):format(i == 7 and 0.5 or 0.1, i) end
    local settings = %s
    settings.framework = require "frameworks.command" { tests = tests, run_command = "eval {tests}" }
    settings.history = { path = "history.jsonl" }
    settings.max_parallel = settings.max_parallel or 4
    return settings
  ]]):format(settings or "{}") })
end

--- Seconds that a plan predicts: "4 at once on 1 sandbox of local: 812ms".
local function predicted(text)
  local number, unit = text:match("at once on %d+ sandbox%a* of %w+: ([%d.]+)(m?s)")
  return number and tonumber(number) / (unit == "ms" and 1000 or 1)
end

describe("runner plan", function()
  after_each(project.remove_all)

  it("guesses before the first run and knows after it", async(function()
    local dir = new()
    local before = runner(dir, "plan")
    assert.are.equal(0, before.code, before.stderr)
    assert.matches("24 tests, 24s of work %(24 never ran: guessed%)", before.stdout)
    project.write(dir, { ["long.lua"] = [[
      local settings = dofile "runner.lua"
      settings.history.default_duration = "10s"
      return settings ]] })
    assert.matches("24 tests, 4m of work", runner(dir, "plan", "long.lua").stdout)
    assert.are.equal(0, runner(dir, "run").code)
    local after = runner(dir, "plan")
    assert.matches("24 tests, %d[%d.]*s of work\n", after.stdout)
    local wall = finished.find(dir, "run_finished").duration
    assert.is_true(predicted(after.stdout) > 0.6 and predicted(after.stdout) <= wall + 0.5,
      after.stdout .. "\nthe run took " .. wall)
    assert.matches("Tests that hold it back:\n +5%d%dms +%d+%.%d%% of the run  sleep 0.5 #7\n", after.stdout)
    assert.matches("Critical path", after.stdout)
  end))

  it("compares numbers of slots, finds the fewest for a deadline, the most for a budget", async(function()
    local dir = new()
    runner(dir, "run")
    local compared = runner(dir, "plan", "--parallel", "1,2,8").stdout
    local walls = {}
    for parallel, wall in compared:gmatch("\n +(%d+) +%d+ +([%d.]+)m?s") do
      walls[tonumber(parallel)] = tonumber(wall)
    end
    assert.is_true(walls[1] > 2.5 and walls[1] < 6, compared)
    local walls_of_many = runner(dir, "plan", "--parallel", "24,1000000").stdout
    local most = walls_of_many:match("\n +24 +1 +(%S+)")
    assert.are.equal(most, walls_of_many:match("\n +1000000 +1 +(%S+)"), walls_of_many)
    local slots = tonumber(runner(dir, "plan", "--deadline", "1.5s").stdout:match("\n(%d+) at once"))
    assert.is_true(slots >= 2 and slots <= 4, tostring(slots))
    local late = runner(dir, "plan", "--deadline", "0.2s")
    assert.are.equal(1, late.code)
    assert.matches("No number of sandboxes", late.stdout)
    local unpriced = runner(dir, "plan", "--budget", "1")
    assert.are.equal(64, unpriced.code)
    assert.matches("price = 0.12", unpriced.stderr)
    assert.are.equal("", unpriced.stdout) -- said before the tests are looked for
    project.write(dir, { ["priced.lua"] = [[
      local settings = dofile "runner.lua"
      settings.provider = require "providers.local" { price = 3600 }
      return settings ]] })
    local priced = runner(dir, "plan", "priced.lua", "--budget", "100")
    assert.are.equal(0, priced.code, priced.stderr)
    assert.matches("%$%d+%.%d%d", priced.stdout)
    assert.are.equal(1, runner(dir, "plan", "priced.lua", "--budget", "0.01").code)
    project.write(dir, { ["owed.lua"] = 'return { provider = require "providers.local" { price = -1 } }' })
    local owed = runner(dir, "plan", "owed.lua")
    assert.are.equal(78, owed.code)
    assert.matches("option price: expected a number, 0 or more, got the number -1", owed.stderr, 1, true)
    local both = runner(dir, "plan", "priced.lua", "--deadline", "1.5s", "--budget", "0.01")
    assert.are.equal(1, both.code)
    assert.matches("To end in 1.5s costs more than 0.01", both.stdout)
    assert.are.equal(0, runner(dir, "plan", "priced.lua", "--deadline", "1.5s", "--budget", "100").code)
    local run = runner(dir, "run", "priced.lua", "sleep 0.5", "--show-estimated-cost")
    assert.matches("estimated cost: %$[0-9.]+", run.stderr)
    assert.is_true(finished.find(dir, "run_finished").estimated_cost > 0.5)
    assert.matches("set price", runner(dir, "run", "sleep 0.5", "--show-estimated-cost").stderr)
  end))

  it("knows how slow the machine is that the tests would run on", async(function()
    local dir = project.new({ ["runner.lua"] = [[
      return { history = { path = "history.jsonl" }, framework = require "frameworks.command" {
        tests = { "1", "2", "3", "4", "5", "6" }, run_command = "true {tests}" } } ]] })
    local function took(seconds, host)
      local tests = {}
      for i = 1, 6 do tests[tostring(i)] = { "passed", seconds } end
      past_run(dir .. "/history.jsonl", tests, { group = "command", host = host })
    end
    for _ = 1, 3 do took(1, "the reference") end
    assert.matches("6 tests, 6s of work", runner(dir, "plan").stdout)
    took(3, uv.os_gethostname())
    assert.matches("6 tests, 18s of work", runner(dir, "plan").stdout)
  end))

  it("says that it takes a mixed pool for one of its first provider", async(function()
    local text = runner(new('{ provider = { "local", require "providers.local" { price = 1 } } }'), "plan").stdout
    assert.matches("as if every sandbox were one of local", text)
    assert.is_nil(runner(new(), "plan").stdout:find("as if", 1, true))
  end))

  it("takes the selection of a run, and exits like one without tests", async(function()
    local dir = new()
    assert.matches("^1 test,", runner(dir, "plan", "-E", "test(~#7)").stdout)
    assert.are.equal(4, runner(dir, "plan", "-E", "none()").code)
  end))
end)

describe("runner simulate", function()
  after_each(project.remove_all)

  it("says why nothing would run, and takes an empty shard as a run does", async(function()
    local dir = new()
    for _, case in ipairs({ { "--shard", "30/40", 0, "shard 30/40 is empty" }, { "-E", "test(zzz)", 4, "matches" } }) do
      local option, value, code, message = table.unpack(case)
      for _, command in ipairs({ "plan", "run" }) do
        local result = runner(dir, command, option, value)
        assert.are.equal(code, result.code, result.stderr)
        assert.matches(message, result.stderr)
      end
    end
  end))

  it("replays a run under other settings", async(function()
    local dir = new()
    runner(dir, "run")
    local log = "test-results/events.ndjson"
    local result = runner(dir, "simulate", log, "--parallel", "1,4,24")
    assert.are.equal(0, result.code, result.stderr)
    assert.matches("with 4 at once on 1 sandbox", result.stdout)
    assert.matches("\n +24 +1 +5%d%dms", result.stdout) -- the longest test
    local again = runner(dir, "simulate", log, "--parallel", "4", "--estimate-error", "1", "--seed", "5").stdout
    assert.are.equal(again, runner(dir, "simulate", log, "-p", "4", "--estimate-error", "1", "--seed", "5").stdout)
    assert.are.equal(again, runner(dir, "simulate", "test-results", "-p", "4", "--estimate-error", "1", "--seed", "5")
      .stdout)
    local failing = runner(dir, "simulate", log, "-p", "1", "--failure-rate", "1", "--retries", "1").stdout
    assert.matches("\n +1 +1 +[56789]%.?%d*s", failing) -- each test twice
    assert.matches("%$", runner(dir, "simulate", log, "--price", "3600", "--start", "1m").stdout)
  end))

  describe("takes from the log", function()
    local dir
    before_each(function() dir = project.new({ ["runner.lua"] = "return {}" }) end)

    local function simulate(events, ...)
      project.write(dir, { log = table.concat(events, "\n") .. "\n" })
      local result = runner(dir, "simulate", "log", ...)
      assert.are.equal(0, result.code, result.stdout .. result.stderr)
      return result.stdout
    end

    local function sandbox(event, name, time)
      return ('{"event":"sandbox_%s","sandbox":"%s","provider":"docker","slots":2,"time":%s}'):format(event, name, time)
    end

    local function attempt(id, status, retry)
      return ('{"event":"attempt_finished","id":"%s","status":"%s","duration":1,"retry":%s,"time":9}')
        :format(id, status, retry or false)
    end

    local TESTS = { '{"event":"test","id":"x","group":"g"}', '{"event":"test","id":"y","group":"g"}' }

    it("the sandboxes that were open at once, not those that took another's place", async(function()
      local text = simulate({ TESTS[1], sandbox("started", "a", 0), sandbox("ready", "a", 1), sandbox("lost", "a", 2),
        sandbox("started", "a", 2), sandbox("ready", "a", 3), sandbox("closed", "a", 4), sandbox("started", "b", 4),
        sandbox("ready", "b", 5), attempt("x", "passed") })
      assert.matches("The run took 9.0 s with 2 at once on 1 sandbox%.", text)
    end))

    it("that one sandbox of several slots is no machine that has any number of them", async(function()
      local events = { sandbox("started", "a", 0), sandbox("ready", "a", 1) }
      for i = 1, 8 do
        events[#events + 1] = ('{"event":"test","id":"%d","group":"g"}'):format(i)
        events[#events + 1] = attempt(i, "passed")
      end
      assert.matches("\n +6 +3 +3s", simulate(events, "-p", "6"))
    end))

    it("mutexes, weights, priorities and the limits of groups", async(function()
      local function wall(seconds, rules, started)
        local events = { sandbox("started", "a", 0), sandbox("ready", "a", 0), started }
        for i, duration in ipairs(seconds) do
          events[#events + 1] = ('{"event":"test","id":"%d","group":"g"%s}'):format(i, rules and rules[i] or "")
          events[#events + 1] = ('{"event":"attempt_finished","id":"%d","status":"passed","duration":%d}')
            :format(i, duration)
        end
        return simulate(events, "-p", "2"):match("\n +2 +1 +(%d+)s")
      end
      assert.are.equal("2", wall({ 1, 1, 1, 1 }))
      local mutex, weight, first = ',"exclusive":["db"]', ',"weight":2', ',"priority":1'
      assert.are.equal("3", wall({ 1, 1, 1, 1 }, { mutex, mutex, mutex, "" }))
      assert.are.equal("4", wall({ 1, 1, 1, 1 }, { mutex, ',"exclusive":true', mutex, ',"exclusive":true' }))
      assert.are.equal("3", wall({ 1, 1, 1, 1 }, { weight, weight, "", "" }))
      assert.are.equal("3", wall({ 3, 1, 1, 1 }))
      assert.are.equal("4", wall({ 3, 1, 1, 1 }, { "", first, first, first }))
      assert.are.equal("4", wall({ 1, 1, 1, 1 }, nil, '{"event":"run_started","max_parallel":{"g":1}}'))
      assert.are.equal("2", wall({ 1, 1, 1, 1 }, { ',"weight":-1e308', ',"exclusive":[1]', ',"priority":"high"' },
        '{"event":"run_started","max_parallel":{"g":0.5}}'))
    end))

    it("what a run has noted of them, and nothing of a run that has no rules", async(function()
      project.write(dir, { ["runner.lua"] = [[
        local command = require "frameworks.command"
        local function shells(...) return command { tests = { ... }, run_command = "eval {tests}" } end
        return { max_parallel = 4, history = false, groups = {
          one = { shells("true #1", "true #2"), max_parallel = 1 },
          two = { shells("true #3"), exclusive = { "b", "a" }, weight = 2, priority = -1 },
        } }]] })
      assert.are.equal(0, runner(dir, "run").code)
      assert.are.same({ one = 1 }, finished.find(dir, "run_started").max_parallel)
      local function rules(id)
        local test = finished.find(dir, "test", { id = id })
        return { test.weight, test.exclusive, test.priority }
      end
      assert.are.same({}, rules("true #1"))
      assert.are.same({ 2, { "a", "b" }, -1 }, rules("true #3"))
      assert.are.equal(0, runner(dir, "simulate", "test-results").code)
      local free = new()
      assert.are.equal(0, runner(free, "run").code)
      assert.is_nil(finished.find(free, "run_started").max_parallel)
    end))

    it("retries as there were, and those of a failure rate", async(function()
      local events = { TESTS[1], attempt("x", "failed", true), attempt("x", "crashed", true), attempt("x", "passed") }
      assert.matches("\n +1 +1 +3s", simulate(events))
      assert.matches("\n +1 +1 +2s", simulate(events, "--retries", "1"))
      assert.matches("\n +1 +1 +2s", simulate({ TESTS[1], attempt("x", "passed") }, "--failure-rate", "1"))
    end))

    it("no test that was cancelled or lost before its end, as in an interrupted run", async(function()
      local text = simulate({ TESTS[1], TESTS[2], attempt("x", "passed"), attempt("y", "cancelled") })
      assert.matches("^1 test, 1s of work", text)
    end))

    it("nothing that cannot be: clocks jump", async(function()
      local text = simulate({ TESTS[1], sandbox("started", "a", -1e300), sandbox("ready", "a", 1e300),
        attempt("x", "passed") })
      assert.matches("took 0.0 s", text)
      assert.matches("\n +2 +1 +1s", text)
    end))
  end)

  it("says what is wrong with a log", async(function()
    local dir = project.new({ empty = "", ["runner.lua"] = "return {}" })
    for _, name in ipairs({ "empty", "missing", "runner.lua" }) do
      local result = runner(dir, "simulate", name)
      assert.are.equal(64, result.code)
      assert.matches(name, result.stderr)
    end
    assert.are.equal(64, runner(dir, "simulate").code)
    local unreadable = runner(dir, "simulate", "/proc/self/mem")
    assert.are.equal(64, unreadable.code)
    assert.are.equal("runner: cannot read /proc/self/mem: Input/output error\n", unreadable.stderr)
    for _, command in ipairs({ "simulate", "plan" }) do
      local zero = runner(dir, command, "-p", "1,0", command == "simulate" and "empty" or nil)
      assert.are.equal(64, zero.code)
      assert.matches('--parallel: expected numbers such as 1,10,50, got "1,0"', zero.stderr, 1, true)
    end
    project.write(dir, { odd = table.concat({
      '{"event":"sandbox_started","sandbox":"a","time":9}',
      '{"event":"sandbox_ready","sandbox":"a","slots":1e308,"time":2}',
      '{"event":"test","id":"x","group":"g"}', '{"event":"test","id":"y","group":"g"}',
      '{"event":"attempt_finished","id":"x","status":"passed","duration":2,"time":3}',
      '{"event":"attempt_finished","id":"y","status":"failed","duration":1e308}', "",
    }, "\n") })
    local odd = runner(dir, "simulate", "odd")
    assert.are.equal(0, odd.code, odd.stderr)
    assert.matches("\n1 test, 2s of work", "\n" .. odd.stdout)
    for flag, value in pairs({ ["--failure-rate"] = "2", ["--price"] = "-5", ["--estimate-error"] = "-1" }) do
      local result = runner(dir, "simulate", "empty", flag, value)
      assert.are.equal(64, result.code)
      assert.is_truthy(result.stderr:find(flag .. ": expected a number", 1, true), result.stderr)
    end
  end))
end)
