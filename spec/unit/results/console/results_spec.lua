--- What the console tells besides passes and failures, and at the end.

local uv = require("luv")
local async = require("spec.support.async")
local screens = require("spec.support.screen")
local watched = require("spec.support.watched_console").new()

local open, emit, begin, attempt, finish = watched.open, watched.emit, watched.begin, watched.attempt, watched.finish
local run, output, close = watched.run, watched.output, watched.close

describe("console, of what went otherwise,", function()
  it("groups what did not run by reason", async(function()
    open()
    begin(1000)
    output()
    for i = 1, 1000 do finish("t" .. i, "not_run",
      { reason = "interrupted by SIGINT", attempts = 0 }) end
    assert.are.equal("", output())
    local text = close({ exit_code = 130, interrupted = "sigint" })
    assert.matches(" NOT RUN 1000 tests: interrupted by SIGINT\n             t1\n", text)
    assert.matches(" Interrupted by SIGINT", text)
    assert.is_true(select(2, text:gsub("\n", "")) < 12)
  end))

  it("tells what was stopped while it ran apart from what never ran", async(function()
    open()
    begin(3)
    attempt("a", 1, "cancelled")
    finish("a", "not_run", { reason = "stopped while running: interrupted by SIGINT" })
    finish("b", "not_run", { reason = "interrupted by SIGINT", attempts = 0 })
    attempt("c", 1, "lost")
    finish("c", "not_run", { reason = "the agent ended" })
    output()
    assert.are.equal([[
────────────
     Summary [   0.021s] 1 test run: 0 passed, 1 cancelled, 2 not run
 Interrupted by SIGINT: results are incomplete
   CANCELLED 1 test: stopped while running: interrupted by SIGINT
             a
     NOT RUN 1 test: interrupted by SIGINT
             b
     NOT RUN 1 test: the agent ended
             c
]], close({ exit_code = 130, interrupted = "sigint" }))
  end))

  it("has no result to tell of a run that could not begin", async(function()
    open()
    emit({ event = "run_started", config = uv.cwd() .. "/runner.lua" })
    assert.are.equal("", close({ exit_code = 78, error = "order: it failed" }))
    open()
    begin(1)
    run("a", "passed")
    output()
    assert.matches("Summary .* 1 test run", close({ exit_code = 78, error = "it broke later" }))
  end))

  it("counts in whole numbers whatever a log on disk makes of them", async(function()
    open({ verbose = true })
    begin(12.0, { groups = { unit = 10.0, more = 2.0 }, deselected = 3.0 })
    assert.matches("Starting 12 tests, 2 at a time (more 2, unit 10; 3 deselected)\n", output(), 1, true)
    run("a", "failed")
    assert.are.equal("        FAIL [   0.005s] ( 1/12) a\n", output())
    close()
  end))

  it("leaves runner.lua out of the command that runs a test again", async(function()
    open()
    emit({ event = "run_started", config = uv.cwd() .. "/runner.lua" })
    run("a", "failed")
    output()
    assert.matches("\n             runner run a\n", close())
  end))

  it("counts tests that left something running, whenever that is found", async(function()
    open()
    begin(4)
    attempt("one", 1, "passed", { leaks = { { pid = 7, command = "sleep 9" } } })
    finish("one", "passed")
    run("two", "passed")
    run("bad", "failed")
    output()
    for _, id in ipairs({ "two", "one", "two", "bad" }) do
      emit({ event = "problem", kind = "leak", id = id, message = "left running: sleep 9" })
    end
    emit({ event = "problem", kind = "leak", message = "left running: nobody's" })
    assert.matches("^        LEAK two: left running: sleep 9\n.*LEAK a process: left running: nobody's\n$", output())
    assert.matches("2 passed (2 leaky), 1 failed\n", close(), 1, true)
  end))

  it("has no brackets for a reason that says nothing", async(function()
    open()
    begin(2)
    output()
    run("known", "skipped", { reason = "", xfail = true })
    run("skip", "skipped", { reason = " " })
    assert.are.equal("       XFAIL [   0.005s] (1/2) known\n        SKIP [   0.005s] (2/2) skip\n", output())
    close()
  end))

  it("tells at the end in one line what went wrong with several sandboxes", async(function()
    open({ width = 80 })
    begin(1)
    local message = "create_command exited with status 3: " .. ("x"):rep(100)
    for i = 1, 3 do
      emit({ event = "problem", kind = "infrastructure", sandbox = "box-" .. i, message = message })
    end
    assert.are.equal(3, select(2, output():gsub(message, "")))
    local text = close({ exit_code = 3 })
    assert.matches("0 passed, 3 problems\n       ERROR infrastructure box%-1 and 2 more: create_command ex", text)
    local last = text:match("\n([^\n]*)\n$")
    assert.matches("^       ERROR .*…$", last)
    assert.is_true(utf8.len(last) <= 80)
  end))

  it("says on a terminal that it looks for the tests", async(function()
    local screen = screens.new(60)
    open({ stream = {
      terminal = true, size = function() return 60, 24 end, write = function(_, bytes)
        screen:write(bytes)
        return true
      end,
    }, env = function(name) return ({ TERM = "xterm", LANG = "C.UTF-8", NO_COLOR = "1" })[name] end })
    emit({ event = "run_started", config = uv.cwd() .. "/runner.lua" })
    watched.report.live:_draw()
    assert.matches("^  Collecting %[ 00:00:0%d%] the tests…$", screen:text())
    emit({ event = "discovered", tests = 0, groups = {} })
    watched.report.live:_draw()
    assert.matches("\n     Running %[ 00:00:0%d%] .*0/0: 0 running", screen:text())
    watched.report:close()
  end))

  it("repeats at most a hundred failures", async(function()
    open()
    begin(150)
    for i = 1, 150 do run("t" .. i, "failed") end
    output()
    local text = close()
    assert.are.equal(100, select(2, text:gsub("runner run", "")))
    assert.matches("and 50 more failures: runner logs %-%-failures", text)
  end))

  it("tells problems when they come and again at the end", async(function()
    open()
    begin(1)
    output()
    emit({ event = "problem", kind = "collection", id = "tests/test_bad.py",
      message = "ImportError: x", text = "Traceback" })
    local line = "       ERROR collection tests/test_bad.py: ImportError: x\n"
    assert.are.equal(line .. "  trace ───\n    Traceback\n", output())
    local text = close()
    assert.matches("0 tests run: 0 passed, 1 problem\n" .. line .. "$", text)
  end))
end)
