local reader = require("frameworks.gtest.reader")

local function item(name) return { test = { case = name, id = "p::" .. name, file = "a.cc" } } end

--- What a reader tells of some output, fed in pieces of `size` bytes.
local function told(names, output, size, exit)
  local list, items = {}, {}
  for i, name in ipairs(names) do items[i] = item(name) end
  local sink = {}
  function sink.started(one) list[#list + 1] = { "started", one.test.case } end
  function sink.output(one, _, bytes)
    local last = list[#list]
    if last and last[1] == "output" and last[2] == one.test.case then
      last[3] = last[3] .. bytes
    else
      list[#list + 1] = { "output", one.test.case, bytes }
    end
  end
  function sink.finished(one, result)
    list[#list + 1] = { result.status, one.test.case, result.message or result.reason, result.duration }
  end
  function sink.problem(problem) list[#list + 1] = { problem.kind, problem.id, problem.message } end
  local one = reader.new(items, sink, "p", true)
  for at = 1, #output, size do one.output("stdout", output:sub(at, at + size - 1)) end
  local ended = false
  one.ended(exit or { kind = "exited", code = 1 }, function() ended = true end)
  assert.is_true(ended)
  return list
end

local OUTPUT = [[
Running main() from gtest_main.cc
Note: Google Test filter = S.A:S.B:S.C:T.D
[==========] Running 4 tests from 2 test suites.
[----------] Global test environment set-up.
[----------] 3 tests from S
suite set-up
[ RUN      ] S.A
[       OK ] S.A (0 ms)
[ RUN      ] S.B
open[ not a line [       OK ] S.A (0 ms)
[  FAILED  ] S.BB (1 ms)
[ RUN      ] S.C
/src/a.cc:7: Failure
Value of: x
  Actual: 1
a.cc:8: Failure
Failed
open[  FAILED  ] S.B, where GetParam() = 1 (25 ms)
[ RUN      ] Not.OfThisBatch
its output
[       OK ] Not.OfThisBatch (0 ms)
[ RUN      ] S.C
a.cc:9: Skipped
not here
[  SKIPPED ] S.C (0 ms)
[----------] 3 tests from S (0 ms total)

[----------] 1 test from T
[ RUN      ] T.D
[       OK ] T.D (3 ms)
[----------] 1 test from T (0 ms total)

[----------] Global test environment tear-down
[==========] 4 tests from 2 test suites ran. (0 ms total)
[  PASSED  ] 2 tests.
]]

describe("frameworks.gtest.reader", function()
  it("tells tests, output and results, however the bytes come", function()
    for _, size in ipairs({ 1, 2, 3, 7, 13, 64, 100000 }) do
      assert.are.same({
        { "started", "S.A" },
        { "output", "S.A", "suite set-up\n" },
        { "passed", "S.A" },
        { "started", "S.B" },
        { "output", "S.B", "open[ not a line [       OK ] S.A (0 ms)\n[  FAILED  ] S.BB (1 ms)\n[ RUN      ] S.C\n"
          .. "/src/a.cc:7: Failure\nValue of: x\n  Actual: 1\na.cc:8: Failure\nFailed\nopen" },
        { "failed", "S.B", "a.cc:7: Value of: x\n  Actual: 1", 0.025 },
        { "started", "S.C" },
        { "output", "S.C", "a.cc:9: Skipped\nnot here\n" },
        { "skipped", "S.C", "not here" },
        { "started", "T.D" },
        { "passed", "T.D", nil, 0.003 },
      }, told({ "S.A", "S.B", "S.C", "T.D" }, OUTPUT, size), "in pieces of " .. size)
    end
  end)

  it("streams what cannot become a line of GoogleTest's", function()
    local seen = {}
    local one = item("S.A")
    local sink = { started = function() end, output = function(_, _, bytes) seen[#seen + 1] = bytes end }
    local it_reads = reader.new({ one }, sink, "p", true)
    it_reads.output("stdout", "[ RUN      ] S.A\nworking [1/2] ")
    it_reads.output("stdout", "[ ")
    it_reads.output("stdout", "x")
    assert.are.equal("working [1/2] [ x", table.concat(seen))
  end)

  it("knows a name with a line break", function()
    assert.are.same({ { "started", "S.two\nlines" }, { "passed", "S.two\nlines" } },
      told({ "S.two\nlines" }, "[ RUN      ] S.two\nlines\n[       OK ] S.two\nlines (0 ms)\n", 5, {
        kind = "exited", code = 0,
      }))
  end)

  it("tells of a program that fails although its tests passed", function()
    local passed = "[ RUN      ] S.A\n[       OK ] S.A (0 ms)\n"
    assert.are.same({ "teardown", "p", "p failed outside of its tests: exit status 1" },
      told({ "S.A" }, passed, 99)[3])
    assert.are.same({ "teardown", "p", "p failed outside of its tests: ended by SIGSEGV" },
      told({ "S.A", "S.B" }, passed, 99, { kind = "signaled", signal = 11 })[3])
    assert.are.equal(2, #told({ "S.A" }, passed, 99, { kind = "exited", code = 0 }))
    assert.are.equal(2, #told({ "S.A" }, passed, 99, { kind = "signaled", signal = 15, killed = true }))
  end)

  it("leaves a set-up that fails to the tests that wait for it", function()
    local output = "[ RUN      ] S.A\n[       OK ] S.A (0 ms)\n[----------] 1 test from S (0 ms total)\n\n"
      .. "[----------] 1 test from T\n"
    assert.are.equal(2, #told({ "S.A", "T.B" }, output, 99, { kind = "signaled", signal = 11 }))
  end)

  it("reads much output in little time", function()
    local output = "[ RUN      ] S.A\n" .. ("[x] "):rep(500000) .. ("y"):rep(5000000) .. "\n[       OK ] S.A (0 ms)\n"
    local started = os.clock()
    local list = told({ "S.A" }, output, 65536, { kind = "exited", code = 0 })
    assert.are.equal("passed", list[#list][1])
    assert.is_true(os.clock() - started < 5)
  end)
end)
