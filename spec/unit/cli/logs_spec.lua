local async = require("spec.support.async")
local output_log = require("runner.results.output_log")
local events = require("runner.results.bus")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local uv = require("luv")

describe("runner logs and report", function()
  local dir

  -- The results of a run, as the runner leaves them; without an end when `killed`.
  local function leave_results(killed)
    local results = dir .. "/test-results"
    uv.fs_mkdir(results, 493)
    local bus = events.new { path = results .. "/events.ndjson" }
    local function try(id, number, status, text, fields)
      local log = output_log.open(results, { id = id }, number)
      log:write("stdout", text)
      local event = log:close()
      event.path, event.log = nil, event.path
      event.event, event.id, event.attempt, event.status = "attempt_finished", id, number, status
      event.duration = 0.5
      for key, value in pairs(fields or {}) do event[key] = value end
      bus:emit(event)
    end
    local function finish(id, status, fields)
      local event = { event = "test_finished", id = id, status = status, attempts = 1,
        duration = 0.5 }
      for key, value in pairs(fields or {}) do event[key] = value end
      bus:emit(event)
    end
    bus:emit({ event = "run_started", version = 1, config = dir .. "/runner.lua", dir = results })
    for _, id in ipairs({ "good", "bad[1]", "shaky", "never" }) do
      bus:emit({ event = "test", id = id, group = "unit", name = id })
    end
    bus:emit({ event = "problem", kind = "collection", id = "broken.py", message = "ImportError" })
    try("good", 1, "passed", "good output\n")
    finish("good", "passed")
    try("shaky", 1, "failed", "first output\n", { trace = "the trace", retry = true })
    try("shaky", 2, "passed", "second output\n")
    finish("shaky", "flaky", { attempts = 2 })
    try("bad[1]", 1, "crashed", "bad \27[2J\xff output", { signal = 6 })
    if not killed then
      finish("bad[1]", "crashed")
      finish("never", "not_run", { reason = "stopped" })
      bus:emit({ event = "run_finished", exit_code = 1, duration = 1 })
    end
    bus:close()
    return results
  end

  before_each(function()
    dir = project.new()
  end)

  after_each(project.remove_all)

  it("shows the output of every attempt, byte by byte", async(function()
    leave_results()
    local result = runner(dir, "logs")
    assert.are.equal(0, result.code, result.stderr)
    local plain = result.stdout:gsub("%f[^\n\0]────", "----")
    assert.are.equal("---- PASS [   0.500s] good\ngood output\n"
      .. "---- CRASH [   0.500s] bad[1]\n    ended by SIGABRT\n  output ───\nbad \27[2J\xff output\n"
      .. "---- FAIL [   0.500s] shaky (attempt 1 of 2)\n", (plain:gsub("  trace.*", "")))
    assert.matches("attempt 1 of 2%)\n  trace [^\n]*\n    the trace\n  output [^\n]*\nfirst output\n", plain)
    assert.matches("%(attempt 2 of 2%)\nsecond output\n", plain)
    assert.matches("NOT RUN %[   0.000s%] never %(stopped%)\n$",
      plain:gsub("0.500s%] never", "0.000s] never"))
  end))

  it("chooses by state, by name and by expression", async(function()
    leave_results()
    local function shown(...)
      local result = runner(dir, "logs", ...)
      local names = {}
      for name in result.stdout:gmatch("%] ([^\n(]-) ?[(\n]") do
        if names[#names] ~= name then names[#names + 1] = name end
      end
      return names, result
    end
    assert.are.same({ "bad[1]" }, (shown("--failures")))
    assert.are.same({ "shaky" }, (shown("--flaky")))
    assert.are.same({ "never", "collection broken.py: ImportError" }, (shown("--errors")))
    assert.are.same({ "bad[1]", "shaky" }, (shown("--failures", "--flaky")))
    assert.are.same({ "good", "bad[1]" }, (shown("--test", "bad[1]", "--test", "good")))
    assert.are.same({ "bad[1]" }, (shown("--test-regex", [[\[\d\]$]])))
    local _, none = shown("--test-regex", "nowhere", "--flaky")
    assert.are.equal(4, none.code)
    assert.matches("no such test", none.stderr)
    for message, words in pairs({
      ["no flaky tests among these tests"] = { "--flaky", "--test", "good" },
      ["no failures, flaky tests among these tests"] = { "--failures", "--flaky", "--test-regex", "good" },
    }) do
      local _, fine = shown(table.unpack(words))
      assert.are.equal(0, fine.code)
      assert.are.equal("runner: " .. message .. "\n", fine.stderr)
    end
  end))

  it("says that nothing failed, which is no mistake", async(function()
    project.write(dir, { ["runner.lua"] = [[return { framework = require "frameworks.command" {
      tests = { "a" }, run_command = "true" } }]] })
    assert.are.equal(0, runner(dir, "run").code)
    for flag, words in pairs({ ["--failures"] = "failures", ["--errors"] = "errors", ["--flaky"] = "flaky tests" }) do
      local result = runner(dir, "logs", flag)
      assert.are.equal(0, result.code)
      assert.are.equal(("runner: no %s in the last run\n"):format(words), result.stderr)
    end
  end))

  it("says what is wrong with the question", async(function()
    local none = runner(dir, "logs")
    assert.are.equal(78, none.code)
    assert.matches("no results in .*/test%-results", none.stderr)
    leave_results()
    local unknown = runner(dir, "logs", "--test", "goood")
    assert.are.equal(64, unknown.code)
    assert.matches('no test "goood"; did you mean "good"', unknown.stderr)
    assert.are.equal(64, runner(dir, "logs", "--test-regex", "(").code)
  end))

  it("finds the folder by flag and by configuration, even a broken one", async(function()
    local results = leave_results()
    local elsewhere = project.new({ ["runner.lua"] = "syntax error" })
    assert.are.equal(0, runner(elsewhere, "logs", "--output-dir", results).code)
    assert.are.equal(78, runner(elsewhere, "logs").code)
    assert(os.rename(results, dir .. "/out"))
    project.write(dir, { ["other.lua"] = [[return { report = { dir = "out" },
      framework = require "frameworks.command" { tests = { "a" }, run_command = "true" } }]] })
    local configured = runner(dir, "logs", "-c", "other.lua")
    assert.are.equal(0, configured.code, configured.stderr)
  end))

  it("shows what the event log kept when a file is gone", async(function()
    local results = leave_results()
    os.remove(results .. "/logs/" .. output_log.file_name("good", 1))
    assert.matches("stdout [^\n]*\n    good output\n", runner(dir, "logs", "--test", "good").stdout)
  end))

  it("ends quietly when nobody reads", async(function()
    leave_results()
    local result = process.run({ "sh", "-c", [["$0" logs | true; exec "$0" logs >&-]],
      uv.exepath() }, { cwd = dir })
    assert.are.equal("", result.stderr)
    assert.are.equal(0, result.code)
  end))

  it("makes the reports of a killed run", async(function()
    local results = leave_results(true)
    local log = assert(io.open(results .. "/events.ndjson", "ab"))
    log:write('{"event":"test_fini')
    log:close()
    local result = runner(dir, "report")
    assert.are.equal(0, result.code, result.stderr)
    assert.matches("Incomplete", result.stdout)
    assert.matches("3 tests run: 2 passed %(1 flaky%), 1 crashed, 1 not run, 1 problem",
      result.stdout)
    assert.matches("\n +runner run 'bad%[1%]'", result.stdout)
    local report = project.read(results .. "/junit.xml")
    assert.matches('^<%?xml.*<testsuites name="runner" tests="5" failures="1" errors="2"', report)
    assert.matches('<error type="not run" message="the runner ended before this test did"/>',
      report)
  end))

  it("fails when the report cannot be written", async(function()
    local results = leave_results()
    assert(uv.fs_mkdir(results .. "/junit.xml", 493))
    local result = runner(dir, "report")
    assert.are.equal(78, result.code)
    assert.matches("warning: the junit report failed: cannot write", result.stderr)
  end))
end)
