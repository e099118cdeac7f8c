--- The history: what it learns from runs, and what it says of tests.

local uv = require("luv")
local async = require("spec.support.async")
local history = require("runner.history")
local past_run = require("spec.support.past_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local store = require("runner.history.store")
local task = require("runner.base.task")

local DAY = 86400

describe("the history", function()
  local path

  before_each(function() path = project.new({}) .. "/history.jsonl" end)
  after_each(project.remove_all)

  local function known(options)
    local opened, warnings = history.open(path, options)
    assert.are.same({}, warnings)
    return opened
  end

  local function test(id, group)
    return { id = id, group = group or "unit", file = id:match("^(.-)::") }
  end

  --- Runs one test once for each of these durations.
  local function passes(id, ...)
    for _, seconds in ipairs({ ... }) do past_run(path, { [id] = { "passed", seconds } }) end
  end

  describe("estimates", function()
    it("from what a test took, whatever one run that hung says", function()
      passes("a", 1, 1.2, 0.9, 60, 1.1)
      local seconds, is_known = known():estimate(test("a"))
      assert.is_true(is_known)
      assert.is_true(seconds >= 0.9 and seconds <= 1.2, tostring(seconds))
    end)

    it("follow a test that became slower within three runs", function()
      passes("a", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5, 5)
      assert.are.equal(5, (known():estimate(test("a"))))
    end)

    it("prefer what is new to what is old", function()
      past_run(path, { a = { "passed", 9 } }, { time = 1700000000 })
      past_run(path, { a = { "passed", 9 } }, { time = 1700000100 })
      past_run(path, { a = { "passed", 2 } }, { time = 1700000000 + 120 * DAY })
      assert.are.equal(2, (known():estimate(test("a"))))
    end)

    it("of unknown tests come from their file, their group, their framework, the default", function()
      past_run(path, { ["a.py::x"] = { "passed", 1 }, ["a.py::y"] = { "passed", 3 }, ["a.py::z"] = { "passed", 2 },
        ["b.py::x"] = { "passed", 8 }, ["b.py::y"] = { "passed", 8 }, ["b.py::z"] = { "passed", 8 } })
      local opened = known({ default_duration = 7, frameworks = { unit = "f", other = "f", third = "g" } })
      local function guess(id, group)
        local seconds, is_known = opened:estimate(test(id, group))
        assert.is_false(is_known)
        return seconds
      end
      assert.are.equal(2, guess("a.py::new"))
      assert.are.equal(8, guess("b.py::new"))
      assert.are.equal(3, guess("c.py::new"))
      assert.are.equal(3, guess("a.py::new", "other"))
      assert.are.equal(7, guess("a.py::new", "third"))
      assert.is_nil(opened:duration(test("a.py::new")))
    end)

    it("take a time limit for a lower bound", function()
      passes("a", 10, 10)
      past_run(path, { a = { "timed_out", 2 }, b = { "timed_out", 30 } })
      assert.are.equal(10, (known():estimate(test("a"))))
      assert.are.equal(30, (known():estimate(test("b"))))
      past_run(path, { a = { "timed_out", 60 } })
      past_run(path, { a = { "timed_out", 60 } })
      past_run(path, { a = { "timed_out", 60 } })
      assert.are.equal(60, (known():estimate(test("a"))))
    end)

    it("expect a skipped test to be skipped again, and know what it took before", function()
      passes("a", 10, 10, 10)
      past_run(path, { a = { "skipped", 0.01 } })
      assert.are.equal(0.01, (known():estimate(test("a"))))
      passes("a", 10)
      assert.are.equal(10, (known():estimate(test("a"))))
    end)

    it("say what 95 of 100 attempts do not exceed", function()
      passes("a", 1, 1, 1, 1, 4, 1, 1, 1, 1, 1)
      assert.are.equal(4, known():p95(test("a")))
      assert.is_nil(known():p95(test("b")))
    end)
  end)

  it("keeps so many samples of each outcome, the newest", function()
    for i = 1, 7 do past_run(path, { a = { { "failed", i }, { "passed", 10 * i } } }, { samples = 3 }) end
    local entry = known():entry(test("a"))
    local function seconds(outcome)
      local list = {}
      for i = 2, #entry.samples[outcome], 2 do list[#list + 1] = entry.samples[outcome][i] end
      return list
    end
    assert.are.same({ 5, 6, 7 }, seconds("failed"))
    assert.are.same({ 50, 60, 70 }, seconds("passed"))
    assert.are.equal(3, #entry.flaky)
    assert.are.same({ 7, 7 }, entry.n)
  end)

  it("knows the last outcome, flakiness within a run, and the rate of failures", function()
    past_run(path, { a = { "passed", 1 }, b = { { "failed", 1 }, { "passed", 1 } }, c = { "failed", 1 },
      d = { "crashed", 1 }, e = { "skipped", 0 }, f = { "timed_out", 1 } })
    past_run(path, { a = { "failed", 1 }, b = { "passed", 1 } })
    local opened = known()
    local statuses = {}
    for id in ("abcdef"):gmatch(".") do statuses[#statuses + 1] = opened:entry(test(id)).last[2] end
    assert.are.equal("failed passed failed crashed skipped timed_out", table.concat(statuses, " "))
    assert.is_nil(opened:entry(test("g")))
    assert.is_false(opened:is_flaky(test("a")), "from run to run the code may have changed")
    assert.is_true(opened:is_flaky(test("b")))
    assert.is_false(opened:is_flaky(test("g")))
    assert.are.same({ 0.5, 2 }, { opened:failure_rate(test("a")) })
    assert.are.same({ 1 / 3, 3 }, { opened:failure_rate(test("b")) })
    assert.is_nil((opened:failure_rate(test("e"))))
    assert.is_nil((opened:failure_rate(test("g"))))
  end)

  it("takes no samples from what was cancelled, lost or not run", function()
    past_run(path, { a = { "cancelled", 5 }, b = { "lost", 5 }, c = {}, d = { "passed", 1 } })
    local opened = known()
    for id in ("abc"):gmatch(".") do assert.is_nil(opened:duration(test(id))) end
    past_run(path, { d = { "cancelled", 9 } })
    assert.are.equal(1, known():duration(test("d")))
    assert.are.equal("passed", known():entry(test("d")).last[2])
  end)

  it("records nothing of a run that was killed, and a run once", function()
    past_run(path, { a = { "passed", 1 } }, { cut = true })
    assert.is_nil(uv.fs_stat(path))
    past_run(path, { a = { "passed", 1 } }, { run = "once" })
    local before = project.read(path)
    past_run(path, { a = { "passed", 1 } }, { run = "once" })
    assert.are.equal(before, project.read(path))
  end)

  it("keeps tests of one name in two groups apart, and ids of any kind", function()
    local odd = {
      'q"uo\\te', "new\nline", 't[a],"s":1', "ünï", "sp ace", "\1\127", "a/b", '],"s":', "x" .. ("y"):rep(9000),
    }
    local tests = {}
    for i, id in ipairs(odd) do tests[id] = { "passed", i } end
    past_run(path, tests, { group = 'g"1' })
    past_run(path, { x = { "passed", 50 } }, { group = "g2" })
    past_run(path, { x = { "passed", 60 } }, { group = "g3" })
    local opened = known()
    for i, id in ipairs(odd) do assert.are.equal(i, opened:duration(test(id, 'g"1')), id) end
    assert.are.equal(50, opened:duration(test("x", "g2")))
    assert.are.equal(60, opened:duration(test("x", "g3")))
    -- What a framework found is not always text; events, and so the history, show it as such.
    past_run(path, { ["bad\\xff"] = { "passed", 3 } })
    assert.are.equal(3, known():duration(test("bad\xff")))
  end)

  it("is a text of sorted lines that stays the same where nothing happened", function()
    past_run(path, { b = { "passed", 1 }, a = { "passed", 1 }, c = { "passed", 1 } })
    past_run(path, { ab = { "passed", 1 } }, { whole = false })
    local lines, tests = {}, {}
    for line in project.read(path):gmatch("([^\n]*)\n") do
      lines[#lines + 1] = line
      tests[#tests + 1] = line:match('^{"test":%["unit","(%w+)"%]')
    end
    assert.are.equal('{"runner_history":1,"samples":10}', lines[1])
    assert.are.same({ "a", "ab", "b", "c" }, tests)
    local text = project.read(path)
    assert.are.equal(text, store.render(store.parse(text)))
  end)

  describe("hosts", function()
    local function suite(factor)
      local tests = {}
      for i = 1, 12 do tests["t" .. i] = { "passed", i * factor } end
      return tests
    end

    it("have a speed, learned from what the same tests take elsewhere", function()
      past_run(path, suite(1), { host = "fast" })
      past_run(path, suite(1), { host = "fast" })
      past_run(path, suite(3), { host = "slow" })
      local opened = known()
      assert.are.same({ 1, true }, { opened:speed("local", "fast") })
      assert.are.same({ 3, true }, { opened:speed("local", "slow") })
      assert.are.same({ 1, false }, { opened:speed("docker") })
      assert.are.equal(10, opened:duration(test("t10")), "in seconds of the reference")
      for _ = 1, 5 do past_run(path, suite(3), { host = "slow" }) end
      assert.are.equal(10, known():duration(test("t10")))
      assert.are.equal(3, (known():speed("local", "slow")))
    end)

    it("that no test tells of are as fast as others of their provider", function()
      past_run(path, suite(1), { host = "one", provider = "ssh" })
      past_run(path, { only = { "passed", 1 } }, { host = "two", provider = "ssh" })
      assert.are.equal(1, (known():speed("ssh", "two")))
    end)
  end)

  it("learns what it costs until a test can start", function()
    local function started(id, overhead, first, slot)
      return { event = "attempt_started", id = id, slot = slot, overhead = overhead, first = first, time = 100 }
    end
    local function finished(id, slot, time)
      return { event = "attempt_finished", id = id, slot = slot, sandbox = "s", status = "passed", duration = 1,
        time = time or 101 }
    end
    local tests = { ["a::1"] = {}, ["a::2"] = {}, ["b::1"] = {}, ["b::2"] = {}, ["c::1"] = {} }
    past_run(path, tests, { events = {
      { event = "sandbox_started", sandbox = "n", provider = "docker", time = 50 },
      { event = "sandbox_ready", sandbox = "n", time = 53 },
      started("a::1", 2, "worker", 1), finished("a::1", 1),
      started("a::2", 0.3, "batch", 1), finished("a::2", 1),
      started("b::1", 70, "batch", 1), finished("b::1", 1), -- imports its file first
      started("b::2", 0.001, nil, 1), finished("b::2", 1),
      -- Told of only when it was over: its overhead is its own time.
      started("c::1", 40, "batch", 1), finished("c::1", 1, 100),
    } })
    local opened = known()
    assert.are.equal(3, opened:cost("sandbox", "docker"))
    assert.are.equal(0.3, opened:cost("batch", "f", "unit"))
    assert.are.equal(0.3, opened:cost("batch", "f", "another group"))
    assert.is_nil(opened:cost("batch", "g", "unit"))
    local costs = {}
    for key in project.read(path):gmatch('{"cost":(%b[])') do costs[#costs + 1] = key end
    assert.are.same({ '["batch","f","unit"]', '["sandbox","docker"]' }, costs)
  end)

  describe("forgets", function()
    local first = 1700000000

    local function has(id) return known():duration(test(id)) ~= nil end

    it("a test that whole runs have not had for 90 days, or 30 times", function()
      past_run(path, { old = { "passed", 1 }, stays = { "passed", 1 } }, { time = first })
      for day = 29, 89, 30 do past_run(path, { stays = { "passed", 1 } }, { time = first + day * DAY }) end
      assert.is_true(has("old"))
      past_run(path, { stays = { "passed", 1 } }, { time = first + 91 * DAY, whole = false })
      past_run(path, { stays = { "passed", 1 } }, { time = first + 92 * DAY })
      assert.is_false(has("old"))
      past_run(path, { often = { "passed", 1 } }, { time = first + 93 * DAY })
      for i = 1, 29 do past_run(path, { stays = { "passed", 1 } }, { time = first + 93 * DAY + i }) end
      assert.is_true(has("often"))
      past_run(path, { stays = { "passed", 1 } }, { time = first + 94 * DAY })
      assert.is_false(has("often"))
    end)

    it("nothing because of parts of the tests, other groups, problems of collection, or a long pause", function()
      past_run(path, { old = { "passed", 1 } }, { time = first })
      for i = 1, 31 do past_run(path, { x = { "passed", 1 } }, { time = first + 1000 + i, whole = false }) end
      for i = 1, 31 do past_run(path, { y = { "passed", 1 } }, { time = first + 2000 + i, group = "other" }) end
      for i = 1, 31 do
        past_run(path, { x = { "passed", 1 } }, { time = first + 3000 + i,
          events = { { event = "problem", kind = "collection", group = "unit", message = "m" } } })
      end
      past_run(path, { x = { "passed", 1 } }, { time = first + 200 * DAY, whole = false })
      assert.is_true(has("old"))
    end)

    it("nothing because nobody worked for years, or a clock has jumped", function()
      past_run(path, { old = { "passed", 1 }, x = { "passed", 1 } }, { time = first, events = {
        { event = "sandbox_started", sandbox = "b", provider = "docker", time = first },
        { event = "sandbox_ready", sandbox = "b", time = first + 3 },
      } })
      past_run(path, { x = { "passed", 1 } }, { time = first + 3650 * DAY, whole = false })
      past_run(path, { x = { "passed", 1 } }, { time = first + 60 }) -- a branch without it; the clock is right again
      assert.is_true(has("old"))
      assert.are.equal(3, known():cost("sandbox", "docker"))
    end)
  end)

  it("goes on when clocks jump", function()
    local now = 1700000000
    past_run(path, { a = { "passed", 1 }, b = { "passed", 1 } }, { time = now })
    past_run(path, { a = { "passed", 2 }, b = { "passed", 1 } }, { time = now + 3650 * DAY })
    past_run(path, { a = { "failed", 3 } }, { time = now + 60, whole = false })
    past_run(path, { a = { "failed", 3 } }, { time = 0, whole = false })
    local opened = known()
    assert.are.equal("failed", opened:entry(test("a")).last[2])
    assert.are.equal(3, opened:duration(test("a")))
    assert.are.equal(1, opened:duration(test("b")))
    assert.are.equal(4, #opened:runs())
  end)

  it("takes durations of zero, and leaves out those that cannot be", function()
    past_run(path, { zero = { "passed", 0 }, negative = { "passed", -1 }, nan = { "passed", 0 / 0 },
      huge = { "passed", 1e300 }, infinite = { "passed", math.huge }, month = { "passed", 29 * DAY } })
    local opened = known()
    assert.are.equal(0, opened:duration(test("zero")))
    assert.are.equal(29 * DAY, opened:duration(test("month")))
    for _, id in ipairs({ "negative", "nan", "huge", "infinite" }) do assert.is_nil(opened:duration(test(id)), id) end
  end)

  it("loses nothing to runs that write at the same time", async(function()
    local writers, runs = 4, 12
    task.scope(function(scope)
      for writer = 1, writers do
        scope:spawn(function()
          local script = project.new({ ["write.lua"] = ([[
            package.path = "./?.lua;" .. package.path
            local past_run, path, own = require("spec.support.past_run"), %q, %q
            for i = 1, %d do
              past_run(path, { all = { "passed", 1 }, [own] = { "passed", i } }, { run = own .. i, whole = false })
            end
          ]]):format(path, "own" .. writer, runs) }) .. "/write.lua"
          local result = process.run({ uv.exepath(), "lua", script }, { cwd = uv.cwd() })
          assert.are.equal("", result.stderr)
          assert.are.equal(0, result.code, result.stdout)
        end)
      end
    end)
    local opened = known()
    assert.are.equal(writers * runs, #opened:runs())
    assert.are.equal(writers * runs, opened:entry(test("all")).n[1])
    for writer = 1, writers do
      assert.are.equal(runs, opened:entry(test("own" .. writer)).samples.passed[20])
    end
  end))
end)
