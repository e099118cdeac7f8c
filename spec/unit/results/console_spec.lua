local async = require("spec.support.async")
local screens = require("spec.support.screen")
local watched = require("spec.support.watched_console").new()

local open, emit, begin, attempt, finish = watched.open, watched.emit, watched.begin, watched.attempt, watched.finish
local run, output, close = watched.run, watched.output, watched.close

local function environment(values)
  return function(name) return values[name] end
end

describe("console", function()
  it("speaks the words of nextest off a terminal", async(function()
    open()
    begin(6, { groups = { unit = 6 }, deselected = 3 })
    assert.are.equal("────────────\n    Starting 6 tests, 2 at a time (3 deselected)\n", output())
    run("t::pass", "passed")
    assert.are.equal("", output())
    run("t::fail", "failed", {
      message = "assert 1 == 2", trace = "def t():\n>   assert 1 == 2",
        stdout = { head = "out\n" }, stderr = { head = "err" },
    })
    assert.are.equal([[
        FAIL [   0.005s] (2/6) t::fail
  trace ───
    def t():
    >   assert 1 == 2
  stdout ───
    out
  stderr ───
    err
]], output())
    run("t::skip", "skipped", { reason = "no network" })
    assert.are.equal("        SKIP [   0.005s] (3/6) t::skip (no network)\n", output())
    run("t::crash", "crashed", { signal = 11, message = "ended by SIGSEGV" })
    assert.are.equal("       CRASH [   0.005s] (4/6) t::crash (SIGSEGV)\n    ended by SIGSEGV\n",
      output())
    emit({ event = "attempt_slow", id = "t::slow", attempt = 1, elapsed = 60 })
    assert.are.equal("        SLOW [> 60.000s]       t::slow\n", output())
    run("t::slow", "timed_out", { message = "timed out after 61 s" })
    assert.are.equal("     TIMEOUT [   0.005s] (5/6) t::slow\n    timed out after 61 s\n", output())
    attempt("t::leak", 1, "passed", { leaks = { { pid = 7, command = "sleep 9" } } })
    finish("t::leak", "passed")
    assert.are.equal("        LEAK [   0.005s] (6/6) t::leak\n    left running: sleep 9 (pid 7)\n",
      output())
    assert.are.equal(([[
────────────
     Summary [   0.021s] 5 tests run: @
        FAIL [   0.005s] t::fail
             assert 1 == 2
             runner run 'ci/my config.lua' t::fail
       CRASH [   0.005s] t::crash (SIGSEGV)
             ended by SIGSEGV
             runner run 'ci/my config.lua' t::crash
     TIMEOUT [   0.005s] t::slow
             timed out after 61 s
             runner run 'ci/my config.lua' t::slow
]]):gsub("@", "2 passed (1 leaky), 1 failed, 1 timed out, 1 crashed, 1 skipped"), close())
  end))

  it("tells each try, and flaky tests at the end", async(function()
    open()
    begin(2)
    attempt("a", 1, "failed", { message = "m", retry = true })
    attempt("a", 2, "timed_out", { message = "t", retry = true })
    attempt("a", 3, "passed")
    finish("a", "flaky", { attempts = 3 })
    attempt("b", 1, "failed", { retry = true })
    attempt("b", 2, "lost", { message = "gone", retry = true })
    attempt("b", 3, "failed")
    finish("b", "failed", { attempts = 3 })
    local text = close()
    assert.matches("1 passed %(1 flaky%), 1 failed", text)
    assert.matches("\n   FLAKY 3/3 %[   0.005s%] a\n", text)
    assert.matches("\n        FAIL %[   0.005s%] b\n", text)
  end))

  it("labels tries within the twelve columns", async(function()
    open()
    begin(1)
    output()
    for number, status in ipairs({ "failed", "timed_out", "crashed", "lost" }) do
      attempt("a", number, status, { retry = true })
    end
    attempt("a", 5, "passed")
    finish("a", "flaky", { attempts = 5 })
    local words = {}
    for line in output():gmatch("[^\n]+") do words[#words + 1] = line:match("^ *(.-) %[") end
    assert.are.same({ "TRY 1 FAIL", "TRY 2 TMT", "TRY 3 CRASH", "TRY 4 LOST", "TRY 5 PASS" }, words)
    close()
  end))

  it("tells failures in quarantine apart from those that count", async(function()
    open()
    begin(5)
    output()
    attempt("known", 1, "crashed", { signal = 6, message = "aborted" })
    finish("known", "crashed", { quarantine = "ticket 12" })
    assert.are.equal("       CRASH [   0.005s] (1/5) known (SIGABRT, quarantined: ticket 12)\n    aborted\n", output())
    attempt("shaky", 1, "failed", { retry = true })
    attempt("shaky", 2, "passed")
    finish("shaky", "flaky", { attempts = 2, quarantine = true })
    run("good", "passed")
    run("bad", "failed", { message = "m" })
    attempt("also", 1, "failed")
    finish("also", "failed", { quarantine = true })
    output()
    assert.are.equal([[
────────────
     Summary [   0.021s] 5 tests run: 2 passed (1 flaky), 1 failed, 2 quarantined
   FLAKY 2/2 [   0.005s] shaky (quarantined)
 QUARANTINED [   0.005s] known (SIGABRT, ticket 12)
             aborted
             runner run 'ci/my config.lua' known
 QUARANTINED [   0.005s] also
             runner run 'ci/my config.lua' also
        FAIL [   0.005s] bad
             m
             runner run 'ci/my config.lua' bad
]], close())
  end))

  it("is green, and quiet, about failures that are all in quarantine", async(function()
    open({ quiet = true, color = "always" })
    begin(150)
    for i = 1, 150 do
      attempt("t" .. i, 1, "failed")
      finish("t" .. i, "failed", { quarantine = "x" })
    end
    assert.are.equal("", output())
    local text = close({ exit_code = 0 })
    assert.matches("\27%[32;1m     Summary\27%[0m", text)
    assert.matches("150\27%[0m \27%[33;1mquarantined", text)
    assert.is_nil(text:find("\27[31;1m", 1, true)) -- red
    assert.matches("and 50 more failures in quarantine: runner logs", text)
  end))

  it("tells an ignored test, which has no attempt", async(function()
    open({ verbose = true })
    begin(2)
    output()
    finish("a", "skipped", { attempts = 0, duration = 0, reason = "#[ignore]" })
    assert.are.equal("        SKIP [   0.000s] (1/2) a (#[ignore])\n", output())
    run("b", "passed")
    assert.matches("1 test run: .*1 passed.*, 1 skipped", close({ exit_code = 0 }))
  end))

  it("prints only failures and the summary when quiet", async(function()
    open({ quiet = true })
    begin(3)
    run("skip", "skipped")
    emit({ event = "attempt_slow", id = "flaky", attempt = 1, elapsed = 60 })
    attempt("flaky", 1, "failed", { retry = true })
    attempt("flaky", 2, "passed")
    finish("flaky", "flaky", { attempts = 2 })
    assert.are.equal("", output())
    run("fail", "failed")
    assert.matches("^        FAIL", output())
    assert.matches("Summary", close())
  end))

  it("tells passes, live output and the slowest tests when verbose", async(function()
    open({ verbose = true })
    begin(2)
    output()
    watched.report:output({ id = "a", attempt = 1, stream = "stdout", data = "one\ntw" })
    watched.report:output({ id = "b", attempt = 1, stream = "stdout", data = "b\r\n" })
    watched.report:output({ id = "a", attempt = 1, stream = "stderr", data = "err" })
    watched.report:output({ id = "a", attempt = 1, stream = "stdout", data = "o\n" })
    assert.are.equal("a | one\nb | b\na | two\n", output())
    attempt("a", 1, "failed", { trace = "trace", stdout = { head = "one\ntwo\n" } })
    finish("a", "failed", { duration = 2 })
    assert.are.equal("a | err\n        FAIL [   2.000s] (1/2) a\n  trace ───\n    trace\n",
      output())
    run("b", "passed")
    assert.are.equal("        PASS [   0.005s] (2/2) b\n", output())
    assert.matches("\n     Slowest %[   2.000s%] a\n     Slowest %[   0.005s%] b\n", close())
  end))

  it("has no ear for live output unless verbose", async(function()
    assert.is_nil(open().output)
    watched.report:close()
  end))

  it("counts now and then where it passes over passes", async(function()
    open()
    begin(100)
    output()
    for i = 1, 100 do
      watched.clock = watched.clock + 0.3
      run("t" .. i, i == 50 and "failed" or "passed")
    end
    local counters = {}
    for line in output():gmatch("[^\n]+") do
      if line:find("%%") then counters[#counters + 1] = line end
    end
    -- Whatever has just ended: how many run now is not known.
    assert.are.equal("      [ 10%] [   3.000s] 10/100: 10 passed", counters[2])
    assert.matches("%[ 60%%%] .* 60/100: 59 passed, 1 failed",
      table.concat(counters, "\n"))
    assert.is_true(#counters <= 11)
    close()
  end))

  it("says nothing in between of a short run", async(function()
    open()
    begin(1000)
    output()
    for i = 1, 1000 do run("t" .. i, "passed") end
    assert.are.equal("", output())
    close()
  end))

  it("names only some skips", async(function()
    open()
    begin(100)
    output()
    for i = 1, 100 do run("t" .. i, "skipped", { reason = "r" }) end
    assert.are.equal(21, select(2, output():gsub("SKIP", "")))
    assert.matches("0 tests run: 0 passed, 100 skipped", close({ exit_code = 0 }))
  end))

  it("shows hostile names and output harmlessly", async(function()
    open()
    begin(1)
    output()
    local id = "t[\27[2J\n\0" .. ("x"):rep(10000) .. "]"
    run(id, "failed", { message = "\27]0;owned\7m\nsecond",
      stdout = { head = "\27[2Jred\27[31m\r\n\8\xff" } })
    local text = output() .. close()
    assert.is_nil(text:find("[\0-\9\11-\31\127]"))
    assert.is_truthy(utf8.len(text))
    for line in text:gmatch("[^\n]+") do
      assert.is_true(#line < 500 or line:find("runner run", 1, true) ~= nil)
    end
    assert.matches("%$'t%[\\033%[2J\\012\\000xxx", text)
  end))

  it("keeps the colours of output when it colours itself, and ends them", async(function()
    open({ color = "always" })
    begin(1)
    output()
    run("t", "failed", { stdout = { head = "\27[32mgreen\27[2J" } })
    local text = output()
    assert.matches("\27%[31;1m        FAIL\27%[0m", text)
    assert.is_truthy(text:find("    \27[32mgreen\27[0m\n", 1, true))
    close()
  end))

  it("names the group where there are several", async(function()
    open()
    begin(2, { groups = { unit = 1, slow = 1 } })
    assert.matches("%(slow 1, unit 1%)", output())
    emit({ event = "test", id = "a", group = "slow" })
    run("a", "failed")
    assert.matches("%(1/2%) slow a\n", output())
    close()
  end))

  it("reruns with the command it was given", async(function()
    open({ rerun = { "runner", "run", "-c", "x.lua" } })
    begin(1)
    run("-odd", "failed")
    output()
    assert.matches("runner run %-c x.lua %-%- %-odd\n", close())
  end))

  it("is live only on a terminal that can, and outside of CI", async(function()
    local function is_live(terminal, values, options)
      options = options or {}
      options.stream = { terminal = terminal, write = function() return true end }
      options.env = environment(values)
      local live = open(options).live ~= nil
      watched.report:close()
      return live
    end
    assert.is_true(is_live(true, { TERM = "xterm" }))
    assert.is_false(is_live(false, { TERM = "xterm" }))
    assert.is_false(is_live(true, { TERM = "dumb" }))
    assert.is_false(is_live(true, { TERM = "xterm", CI = "true" }))
    assert.is_true(is_live(true, { TERM = "xterm", CI = "false" }))
    assert.is_false(is_live(true, { TERM = "xterm" }, { quiet = true }))
  end))

  it("shows the running tests on a terminal of any width", async(function()
    for _, columns in ipairs({ 200, 100, 60, 20, 8 }) do
      local screen = screens.new(columns)
      local redraws = 0
      open({ stream = {
        terminal = true, size = function() return columns, 24 end,
        write = function(_, bytes)
          redraws = redraws + 1
          screen:write(bytes)
          return true
        end,
      }, env = environment({ TERM = "xterm", LANG = "C.UTF-8", NO_COLOR = "1" }) })
      begin(30)
      for i = 1, 12 do emit({ event = "attempt_started",
        id = ("tests/日本語.py::test[%d]"):format(i), attempt = 1 }) end
      watched.report.live:_tick()
      screen.wraps = 0 -- printed lines may wrap, the block may not
      watched.report.live:_draw()
      assert.are.equal(0, screen.wraps, columns)
      local text = screen:text()
      assert.are.equal(columns >= 50 and 8 or 0, select(2, text:gsub("\n             %[", "")))
      if columns >= 50 then
        assert.matches("\n     Running %[ 00:00:0%d%] .*0/30: 12 running, 0 passed", text)
        assert.matches("… and 4 more running$", text)
      end
      assert.are.equal(columns == 200 or columns == 100,
        text:find("────── ", 1, true) ~= nil)
      for i = 1, 12 do run(("tests/日本語.py::test[%d]"):format(i), "passed") end
      emit({ event = "run_finished", exit_code = 0, duration = 1 })
      assert.is_nil(screen:text():find("Running", 1, true))
      watched.report:close()
    end
  end))

  it("becomes quiet when nobody reads, and the events go on", async(function()
    local calls = 0
    local stream = { terminal = false }
    function stream.write(self)
      calls = calls + 1
      self.dead = true
      return false
    end
    open({ stream = stream })
    begin(2)
    run("a", "failed")
    run("b", "failed")
    emit({ event = "run_finished", exit_code = 1, duration = 1 })
    watched.report:close()
    assert.are.equal(1, calls)
  end))

  it("passes over events it does not know", async(function()
    open()
    emit({ event = "from_the_future" })
    emit({ event = "new", time = nil })
    watched.report:close()
  end))
end)
