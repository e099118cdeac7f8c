local uv = require("luv")
local cjson = require("cjson")
local async = require("spec.support.async")
local event_log = require("runner.results.event_log")
local events = require("runner.results.bus")
local project = require("spec.support.project")
local task = require("runner.base.task")

local read = project.read

local function collector(list)
  return { event = function(_, event) list[#list + 1] = event end }
end

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

local function all(iterator)
  local list = {}
  for event in iterator do list[#list + 1] = event end
  return list
end

describe("events", function()
  local path, warnings

  before_each(function()
    path, warnings = project.new() .. "/events.ndjson", {}
  end)

  after_each(project.remove_all)

  local function open(reports, log)
    return events.new {
      path = log or path, reports = reports,
      warn = function(message) warnings[#warnings + 1] = message end,
    }
  end

  it("logs each event as one line with its time and hands it to every report", async(function()
    local first, second = {}, {}
    local bus = open({ collector(first), collector(second) })
    bus:emit({ event = "run_started", version = 1 })
    bus:emit({ event = "test", id = "a\nb", time = 12.25 })
    bus:close()
    local lines = {}
    for line in read(path):gmatch("[^\n]+") do lines[#lines + 1] = cjson.decode(line) end
    assert.are.equal(2, #lines)
    assert.is_true(math.abs(lines[1].time - os.time()) < 5)
    assert.are.same({ event = "test", id = "a\nb", time = 12.25 }, lines[2])
    assert.are.same(lines[2], first[2])
    assert.are.same(first, second)
  end))

  it("writes once a turn of the loop, without being asked", async(function()
    local bus = open({})
    bus:emit({ event = "test", id = "a" })
    bus:emit({ event = "test", id = "b" })
    assert.are.equal("", read(path))
    task.sleep(0.001) -- may be due before the loop's first turn
    task.sleep(0.001)
    assert.are.equal(2, select(2, read(path):gsub("\n", "")))
    bus:emit({ event = "test", id = "c" })
    bus:flush()
    assert.are.equal(3, select(2, read(path):gsub("\n", "")))
    bus:close()
  end))

  it("does not keep the loop alive", async(function()
    local bus = open({})
    bus:emit({ event = "test", id = "a" })
    local alive = uv.loop_alive()
    bus:close()
    bus:close()
    assert.is_falsy(alive)
  end))

  it("appends", async(function()
    write(path, '{"event":"x","time":1}\n')
    local bus = open({})
    bus:emit({ event = "y" })
    bus:close()
    assert.are.equal(2, #all(event_log.read(path)))
  end))

  it("writes valid UTF-8 whatever a test prints; reports see what the log says", async(function()
    local seed = tonumber(os.getenv("SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local seen = {}
    local bus = open({ collector(seen) })
    for _ = 1, 300 do
      local bytes = {}
      for i = 1, math.random(40) do bytes[i] = string.char(math.random(0, 255)) end
      bus:emit({ event = "test", id = table.concat(bytes), tags = { table.concat(bytes) } })
    end
    bus:close()
    local log = read(path)
    assert(utf8.len(log), "seed " .. seed)
    assert.are.equal(300, select(2, log:gsub("\n", "")), "seed " .. seed)
    local back = all(event_log.read(path))
    for i, event in ipairs(back) do
      assert.are.equal(event.id, seen[i].id, "seed " .. seed)
      assert.are.same(event.tags, seen[i].tags, "seed " .. seed)
    end
  end))

  it("keeps ids apart that differ in invalid bytes only", async(function()
    local bus = open({})
    bus:emit({ event = "test", id = "t[\xff]" })
    bus:emit({ event = "test", id = "t[\xfe]" })
    bus:close()
    local back = all(event_log.read(path))
    assert.are.equal("t[\\xff]", back[1].id)
    assert.are_not.equal(back[1].id, back[2].id)
  end))

  it("leaves out what JSON cannot hold", async(function()
    local bus = open({})
    local loop = { event = "attempt_finished", id = "t", status = "failed", f = print, n = 0 / 0,
      sparse = { [1] = 1, [1000] = 2 } }
    loop.loop = loop
    loop[true] = 1
    bus:emit(loop)
    bus:close()
    local event = all(event_log.read(path))[1]
    assert.are.equal("t", event.id)
    assert.is_nil(event.f)
  end))

  it("survives a full disk with one warning; reports go on", async(function()
    local seen = {}
    local bus = open({ collector(seen) }, "/dev/full")
    for i = 1, 3 do
      bus:emit({ event = "test", id = tostring(i) })
      bus:flush()
    end
    bus:close()
    assert.are.equal(3, #seen)
    assert.are.equal(1, #warnings)
    assert.matches("/dev/full.*ENOSPC.*the run goes on", warnings[1])
  end))

  it("survives a log that cannot be opened", async(function()
    local seen = {}
    local bus = open({ collector(seen) }, "/proc/nowhere/events.ndjson")
    bus:emit({ event = "test", id = "a" })
    bus:close()
    assert.are.equal(1, #seen)
    assert.are.equal(1, #warnings)
  end))

  it("tells the error of a report once, and the others go on", async(function()
    local seen = {}
    local closed = 0
    local bad = { name = "bad" }
    function bad.event() error("mistake") end
    function bad.close() error("again") end
    local good = collector(seen)
    function good.close() closed = closed + 1 end
    local bus = open({ bad, good })
    bus:emit({ event = "test", id = "a" })
    bus:emit({ event = "test", id = "b" })
    bus:close()
    assert.are.equal(2, #seen)
    assert.are.equal(1, closed)
    assert.are.equal(1, #warnings)
    assert.matches("the bad report failed: .*mistake", warnings[1])
  end))

  it("hands live output only to reports that want it, and logs none", async(function()
    local got = {}
    local bus = open({ collector({}), {
      event = function() end, output = function(_, output) got[#got + 1] = output.data end,
    } })
    assert.is_true(bus.wants_output)
    bus:output({ id = "a", attempt = 1, stream = "stdout", data = "\xff" })
    bus:close()
    assert.are.same({ "\xff" }, got)
    assert.are.equal("", read(path))
    local plain = open({ collector({}) })
    assert.is_false(plain.wants_output)
    plain:close()
  end))

  describe("read", function()
    it("passes over a cut last line and lines that are no events, and hands on unknown ones",
      function()
      write(path, '{"event":"run_started","time":1}\n[1]\n\n{"a":1}\nrubbish\n{"event":"test","id":{}}\n'
        .. '{"event":"attempt_finished","id":"a","duration":"3"}\n{"event":"test","id":null}\n'
        .. '{"event":"later","time":2}\n{"event":"te')
      local back = all(event_log.read(path))
      assert.are.same({ "run_started", "later" }, { back[1].event, back[2].event })
      assert.are.equal(2, #back)
    end)

    it("gives the place of each line, to read it again", function()
      write(path, '{"event":"a"}\nrubbish\n{"event":"b","id":"x"}\n')
      for event, offset in event_log.read(path) do
        assert.are.same(event, event_log.at(path, offset))
      end
    end)

    it("says why a log cannot be read", function()
      local iterator, message = event_log.read(path)
      assert.is_nil(iterator)
      assert.matches("events.ndjson", message)
    end)
  end)

  describe("fold", function()
    local function log(list)
      local lines = {}
      for i, event in ipairs(list) do
        event.time = event.time or i
        lines[i] = cjson.encode(event)
      end
      write(path, table.concat(lines, "\n") .. "\n")
    end

    it("gives every test with its attempts and its final state, in order", function()
      log({
        { event = "run_started", run = "r" },
        { event = "test", id = "b" }, { event = "test", id = "a" },
        { event = "attempt_started", id = "a", attempt = 1 },
        { event = "attempt_finished", id = "a", attempt = 1, status = "failed", duration = 1,
          stdout = { head = "x" } },
        { event = "attempt_finished", id = "a", attempt = 2, status = "passed", duration = 2,
          log = "logs/a" },
        { event = "test_finished", id = "a", status = "flaky", attempts = 2, duration = 3 },
        { event = "test_finished", id = "b", status = "skipped", attempts = 1, duration = 0,
          reason = "why" },
        { event = "problem", kind = "collection", message = "m" },
        { event = "run_finished", exit_code = 1 },
      })
      local state = assert(event_log.fold(path))
      assert.are.equal("r", state.run.run)
      assert.are.same({ "b", "a" }, { state.tests[1].id, state.tests[2].id })
      assert.are.equal("flaky", state.by_id.a.status)
      assert.are.equal(2, #state.by_id.a.attempts)
      assert.is_nil(state.by_id.a.attempts[1].stdout)
      assert.are.same({ head = "x" }, event_log.at(path, state.by_id.a.attempts[1].offset).stdout)
      assert.are.equal("why", state.by_id.b.reason)
      assert.are.equal(1, #state.problems)
      assert.are.equal(1, state.counts.flaky)
      assert.are.equal(2, state.counts.tests)
      assert.is_nil(state.finished.incomplete)
    end)

    it("completes the log of a run whose runner died", function()
      log({
        { event = "run_started", time = 10 },
        { event = "test", id = "done" }, { event = "test", id = "failed" },
          { event = "test", id = "retried" },
        { event = "test", id = "running" }, { event = "test", id = "waiting" },
        { event = "attempt_finished", id = "done", attempt = 1, status = "passed", duration = 1 },
        { event = "test_finished", id = "done", status = "passed", attempts = 1, duration = 1 },
        { event = "attempt_finished", id = "failed", attempt = 1, status = "crashed",
          duration = 1 },
        { event = "attempt_finished", id = "retried", attempt = 1, status = "failed", retry = true,
          duration = 1 },
        { event = "attempt_started", id = "running", attempt = 1, time = 30 },
      })
      local state = assert(event_log.fold(path))
      local got = {}
      for _, test in ipairs(state.tests) do got[test.id] = test.status end
      assert.are.same({
        done = "passed", failed = "crashed", retried = "failed", running = "not_run",
          waiting = "not_run",
      }, got)
      assert.matches("the runner ended", state.by_id.waiting.reason)
      assert.is_true(state.finished.incomplete)
      assert.are.equal(20, state.finished.duration)
      assert.are.equal(2, state.finished.counts.not_run)
      assert.are.equal(1, state.counts.passed)
    end)

    it("keeps what is in quarantine, also when the runner died", function()
      log({
        { event = "run_started" },
        { event = "test", id = "a", quarantine = "why" }, { event = "test", id = "b", quarantine = true },
        { event = "test", id = "c", quarantine = true }, { event = "test", id = "d", quarantine = true },
        { event = "test_finished", id = "a", status = "failed", quarantine = "why" },
        { event = "test_finished", id = "b", status = "flaky", quarantine = true },
        { event = "attempt_finished", id = "c", attempt = 1, status = "crashed" },
      })
      local state = assert(event_log.fold(path))
      assert.are.same({ "why", true, true }, {
        state.by_id.a.quarantine, state.by_id.b.quarantine, state.by_id.c.quarantine, state.by_id.d.quarantine,
      })
      for _, counts in ipairs({ state.counts, state.finished.counts }) do
        assert.are.same({ 3, 1, 1, 1, 1 }, {
          counts.quarantined, counts.quarantined_flaky, counts.failed, counts.crashed, counts.not_run,
        })
      end
    end)

    it("makes nothing of an empty log", function()
      write(path, "")
      local state = assert(event_log.fold(path))
      assert.are.same({}, state.tests)
      assert.are.same({}, state.finished)
    end)
  end)
end)
