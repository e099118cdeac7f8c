--- Traces as their readers need them: whole JSON, slices of one thread that lie in each other or apart.

local uv = require("luv")
local cjson = require("cjson")
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local trace = require("runner.results.trace")

--- Readers sort by time; of what begins at once, the first in the file is the outer one.
local function check_nesting(slices)
  for i, slice in ipairs(slices) do slice.order = i end
  table.sort(slices, function(a, b) return a.ts < b.ts or a.ts == b.ts and a.order < b.order end)
  local open = {}
  for _, slice in ipairs(slices) do
    while open[1] and open[#open].ts + open[#open].dur <= slice.ts do open[#open] = nil end
    local outer = open[#open]
    assert(not outer or slice.ts + slice.dur <= outer.ts + outer.dur, slice.name .. " sticks out")
    open[#open + 1] = slice
  end
end

--- The entries of a trace, after a look at what all of them promise.
---@return table[]
local function read(path)
  local entries = cjson.decode((assert(project.read(path))))
  local threads, processes, owner = {}, {}, {}
  for _, entry in ipairs(entries) do
    assert(entry.pid ~= 0 and entry.tid ~= 0, "taken for the idle process")
    if entry.ph == "M" and entry.name == "process_name" then processes[entry.pid] = true end
    if entry.ph == "M" and entry.name == "thread_name" then threads[entry.tid] = {} end
    assert(processes[entry.pid], "a process without a name")
    if entry.ph ~= "M" and entry.ph ~= "C" then
      assert(threads[entry.tid], "a thread without a name")
      assert((owner[entry.tid] or entry.pid) == entry.pid, "a thread of two processes")
      owner[entry.tid] = entry.pid
      assert(entry.ts >= 0)
    end
    if entry.ph == "X" then
      assert(entry.dur >= 0)
      table.insert(threads[entry.tid], entry)
    end
  end
  for _, slices in pairs(threads) do check_nesting(slices) end
  return entries
end

local function all(entries, fields)
  local found = {}
  for _, entry in ipairs(entries) do
    local same = true
    for key, value in pairs(fields) do same = same and entry[key] == value end
    if same then found[#found + 1] = entry end
  end
  return found
end

--- Slices of attempts by name: their state.
local function attempts(entries)
  local found = {}
  for _, entry in ipairs(all(entries, { ph = "X" })) do
    if entry.args and entry.args.test then found[entry.name] = entry.cat end
  end
  return found
end

describe("a trace", function()
  local dir, report, clock

  before_each(function()
    dir = project.new()
    report, clock = trace.new { path = dir .. "/trace.json" }, 1767225600
  end)

  after_each(project.remove_all)

  --- An event some milliseconds after the one before.
  local function emit(milliseconds, name, fields)
    clock = clock + milliseconds / 1000
    local event = { event = name, time = clock }
    for key, value in pairs(fields or {}) do event[key] = value end
    report:event(event)
  end

  local function begin(...)
    emit(0, "run_started", { run = "r" })
    emit(10, "sandbox_started", { sandbox = "box", provider = "local" })
    emit(100, "sandbox_ready", { sandbox = "box", slots = 2 })
    emit(40, "discovered", { tests = select("#", ...), duration = 0.12 })
    for _, id in ipairs({ ... }) do emit(0, "test", { id = id, group = "unit" }) end
  end

  local function start(milliseconds, id, slot, fields)
    emit(milliseconds, "attempt_started", { id = id, attempt = fields and fields.attempt or 1, sandbox = "box",
      slot = slot })
  end

  local function finish(milliseconds, id, slot, status, fields)
    local event = { id = id, attempt = 1, sandbox = "box", slot = slot, status = status }
    for key, value in pairs(fields or {}) do event[key] = value end
    emit(milliseconds, "attempt_finished", event)
    if not event.retry then emit(0, "test_finished", { id = id, status = status }) end
  end

  local function close()
    emit(5, "run_finished", { status = "passed", exit_code = 0 })
    report:close()
    return read(dir .. "/trace.json")
  end

  local function slice(entries, name)
    local found = all(entries, { ph = "X", name = name })
    assert.are.equal(1, #found, name)
    return found[1]
  end

  it("has a process for each sandbox, a thread for each slot, and what they did", async(function()
    begin("a", "b")
    start(50, "a", 0)
    start(0, "b", 1)
    finish(100, "a", 0, "passed", { duration = 0.09, cpu = 0.05, phases = { setup = 0.02, call = 0.03, teardown = 9 } })
    finish(300, "b", 1, "crashed", { signal = 11, message = "ended by\nSIGSEGV", duration = 0.4 })
    emit(200, "sandbox_closing", { sandbox = "box" })
    emit(30, "sandbox_closed", { sandbox = "box" })
    local entries = close()
    local a, b = slice(entries, "a"), slice(entries, "CRASH b")
    local named = {}
    for _, entry in ipairs(all(entries, { ph = "M" })) do
      if entry.args.name then named[entry.tid] = entry.args.name end
    end
    assert.are.same({ "box", "slot 0", "slot 1" }, { named[a.pid], named[a.tid], named[b.tid] })
    assert.are.same({ 200000, 100000, "passed", "good" }, { a.ts, a.dur, a.cat, a.cname })
    assert.are.same({ 200000, 400000, "crashed", "terrible" }, { b.ts, b.dur, b.cat, b.cname })
    assert.are.same({ test = "a", status = "passed", attempt = 1, group = "unit", duration = 0.09, cpu = 0.05 }, a.args)
    assert.are.same({ "SIGSEGV", "ended by\\nSIGSEGV" }, { b.args.signal, b.args.message })
    local times = {}
    for _, name in ipairs({ "setup", "call", "teardown", "starting", "discovery", "closing", "run" }) do
      local one = slice(entries, name)
      times[name] = { one.ts // 1000, one.dur // 1000 }
    end
    assert.are.same({
      setup = { 200, 20 }, call = { 220, 30 }, teardown = { 250, 50 }, starting = { 10, 100 }, discovery = { 30, 120 },
      closing = { 800, 30 }, run = { 0, 835 },
    }, times)
    local idle = all(entries, { ph = "X", name = "idle" })
    assert.are.same({ { 110, 90 }, { 600, 200 } },
      { { idle[1].ts // 1000, idle[1].dur // 1000 }, { idle[2].ts // 1000, idle[2].dur // 1000 } })
  end))

  it("links the attempts of a test", async(function()
    begin("t")
    start(10, "t", 0)
    finish(10, "t", 0, "failed", { retry = true })
    start(10, "t", 1, { attempt = 2 })
    finish(10, "t", 1, "passed", { attempt = 2 })
    local entries = close()
    local first, second = slice(entries, "TRY 1 FAIL t"), slice(entries, "TRY 2 PASS t")
    local from, to = all(entries, { ph = "s" })[1], all(entries, { ph = "f" })[1]
    assert.are.equal(from.id, to.id)
    assert.are.same({ first.tid, second.tid, "e" }, { from.tid, to.tid, to.bp })
    assert.is_true(from.ts > first.ts and from.ts < first.ts + first.dur)
    assert.are.equal(second.ts, to.ts)
  end))

  it("counts the tests that wait and that run", async(function()
    begin("a", "b", "ignored")
    emit(10, "test_finished", { id = "ignored", status = "skipped" })
    start(10, "a", 0)
    finish(10, "a", 0, "failed", { retry = true })
    start(10, "a", 0, { attempt = 2 })
    start(10, "b", 1)
    finish(10, "a", 0, "failed", { attempt = 2 })
    finish(10, "b", 1, "cancelled")
    local values = {}
    for i, entry in ipairs(all(close(), { ph = "C" })) do
      values[i] = { entry.ts // 1000, entry.args.waiting, entry.args.running }
    end
    assert.are.same({
      { 150, 3, 0 }, { 160, 2, 0 }, { 170, 1, 1 }, { 180, 2, 0 }, { 190, 1, 1 }, { 200, 0, 2 }, { 210, 0, 1 },
      { 220, 0, 0 },
    }, values)
  end))

  it("tells lost sandboxes, copies, problems, and what never ended", async(function()
    begin("a", "b", "c")
    start(10, "a", 0)
    start(0, "b", 1)
    emit(10, "sandbox_lost", { sandbox = "box", message = "gone" })
    finish(0, "a", 0, "lost", { retry = true })
    emit(5, "sandbox_closed", { sandbox = "box" })
    emit(5, "sandbox_started", { sandbox = "box" })
    emit(5, "problem", { kind = "infrastructure", sandbox = "box", message = "no quota" })
    emit(5, "sandbox_started", { sandbox = "other" })
    emit(5, "sandbox_ready", { sandbox = "other" })
    emit(0, "copy_started", { id = "a", attempt = 2, sandbox = "other", slot = 2 })
    emit(5, "copy_finished", { id = "a", attempt = 2, sandbox = "other", slot = 2 })
    emit(5, "problem", { kind = "config", message = "a hook failed" })
    emit(5, "attempt_started", { id = "c", attempt = 1, sandbox = "other", slot = 2 })
    local entries = close()
    assert.are.same({
      ["TRY 1 LOST a"] = "lost", ["UNFINISHED b"] = "unfinished", ["TRY 2 SUPERSEDED a"] = "superseded",
      ["UNFINISHED c"] = "unfinished",
    }, attempts(entries))
    assert.are.same({}, all(entries, { ph = "s" }))
    local told = {}
    for _, entry in ipairs(all(entries, { ph = "i" })) do told[entry.name] = entry.args.message end
    assert.are.same({ lost = "gone", infrastructure = "no quota", config = "a hook failed" }, told)
    assert.are.equal("no quota", all(entries, { ph = "X", name = "starting" })[2].args.error)
  end))

  it("puts tests that were told at the end of their process one after the other", async(function()
    begin("a", "b")
    start(5000, "a", 0)
    finish(0, "a", 0, "passed", { duration = 2 })
    start(0, "b", 0)
    finish(0, "b", 0, "failed", { duration = 1 })
    local entries = close()
    local a, b = slice(entries, "a"), slice(entries, "FAIL b")
    assert.are.same({ 150, 2000, 2150, 1000 }, { a.ts // 1000, a.dur // 1000, b.ts // 1000, b.dur // 1000 })
  end))

  it("survives odd names, and a clock that is set back", async(function()
    local odd = {
      "", "\0\1\27[31m", "\xff\xfe", 'a"b\\c\n]\n', ("long "):rep(1000), "日本語\u{202e}", "</script>", "__proto__",
    }
    begin(table.unpack(odd))
    for _, id in ipairs(odd) do
      start(-100, id, 0)
      finish(20, id, 0, "passed", {
        duration = 0 / 0, cpu = math.huge, message = id, phases = { setup = -1, call = "x" },
      })
    end
    emit(1, "problem", { kind = "leak", message = 3 })
    local entries, seen = close(), {}
    for name in pairs(attempts(entries)) do
      assert.is_nil(name:find("%c"))
      assert.is_true(#name < 400)
      seen[#seen + 1] = name
    end
    assert.are.equal(#odd, #seen)
  end))

  it("says once that it cannot be written, and keeps quiet then", async(function()
    assert(uv.fs_mkdir(dir .. "/trace.json", 493))
    assert.is_false((pcall(emit, 0, "run_started")))
    emit(1, "sandbox_started", { sandbox = "box" })
    report:close()
    assert.is_nil(uv.fs_stat(dir .. "/trace.json.tmp"))
  end))
end)

describe("runner run --trace", function()
  after_each(function()
    runner.kill_all()
    project.remove_all()
  end)

  local function new(tests, settings)
    return project.new({ ["runner.lua"] = ([[
      local command = require "frameworks.command"
      return { max_parallel = 2, framework = command { tests = { %s }, run_command = "eval {tests}" }, %s }
    ]]):format(tests, settings or "") })
  end

  local function path_in(dir) return dir .. "/test-results/trace.json" end

  it("shows a whole run, and so does runner report", async(function()
    local odd = ([[%q]]):format('true "\27[1m\xc3\xa9\t\xff" ]')
    local dir = new('"exit 4", "test $RUNNER_ATTEMPT = 2", "true", "sleep 0.3", ' .. odd, "retries = 1")
    assert.are.equal(1, runner(dir, "run", "--trace").code)
    local entries = read(path_in(dir))
    local seen = attempts(entries)
    assert.are.equal(7, #all(entries, { ph = "X", pid = all(entries, { name = "sleep 0.3" })[1].pid })
      - #all(entries, { cat = "sandbox" }))
    assert.are.same({ "failed", "failed", "failed", "passed", "passed", "passed" }, {
      seen["TRY 1 FAIL exit 4"], seen["TRY 2 FAIL exit 4"], seen["TRY 1 FAIL test $RUNNER_ATTEMPT = 2"],
      seen["TRY 2 PASS test $RUNNER_ATTEMPT = 2"], seen["true"], seen["sleep 0.3"],
    })
    assert.are.equal(2, #all(entries, { ph = "s" }))
    for _, name in ipairs({ "run", "discovery", "starting", "closing" }) do
      assert.are.equal(1, #all(entries, { ph = "X", name = name }), name)
    end
    assert.is_nil(uv.fs_stat(path_in(dir) .. ".tmp"))
    uv.fs_unlink(path_in(dir))
    assert.are.equal(0, runner(dir, "report").code)
    assert.are.same(entries, read(path_in(dir)))
    assert.are.equal(1, runner(dir, "run").code)
    assert.is_nil(uv.fs_stat(path_in(dir))) -- of another run
    assert.are.equal(0, runner(dir, "report", "--trace").code)
    assert.are.equal("failed", attempts(read(path_in(dir)))["TRY 2 FAIL exit 4"])
  end))

  it("takes its name from the configuration", async(function()
    local dir = new('"true"', 'report = { trace = "sub/timeline.json", dir = "out" }')
    assert.are.equal(0, runner(dir, "run", "--trace").code)
    assert.are.same({ ["true"] = "passed" }, attempts(read(dir .. "/out/sub/timeline.json")))
  end))

  it("is whole when the run is interrupted", async(function()
    local dir = new('"true", "sleep 60; : 1", "sleep 60; : 2", "sleep 60; : 3"')
    local pid, done = runner.start(dir, "run", "--trace")
    eventually(function()
      return #finished.events(dir, "attempt_started") == 3 and #finished.events(dir, "attempt_finished") == 1
    end)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    local entries = read(path_in(dir))
    assert.are.equal(2, #all(entries, { ph = "X", cat = "cancelled" }))
    assert.are.equal("interrupted", all(entries, { ph = "X", name = "run" })[1].args.status)
  end))

  it("is whole when the runner is killed, and can be made again from the log", async(function()
    local dir = new('"true", "sleep 60; : 1", "sleep 60; : 2", "sleep 60; : 3"')
    local pid, done = runner.start(dir, "run", "--trace")
    eventually(function()
      local text = project.read(path_in(dir))
      return text and #finished.events(dir, "attempt_started") == 3 and attempts(read(path_in(dir)))["true"]
    end)
    uv.kill(pid, "sigkill")
    done:wait()
    assert.are.same({ ["true"] = "passed" }, attempts(read(path_in(dir))))
    assert.are.equal(0, runner(dir, "report").code)
    local entries = read(path_in(dir))
    assert.are.equal("passed", attempts(entries)["true"])
    assert.are.equal(2, #all(entries, { ph = "X", cat = "unfinished" }))
    assert.are.equal(1, #all(entries, { ph = "X", name = "run" }))
    assert.is_nil(uv.fs_stat(path_in(dir) .. ".tmp"))
  end))
end)
