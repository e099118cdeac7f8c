local reader = require("frameworks.go.reader")

--- What a reader tells of some output, fed in pieces of `size` bytes; ~ stands for the mark of framed lines.
local function told(names, output, options)
  local list, items = {}, {}
  for i, name in ipairs(names) do items[i] = { test = { name = name } } end
  local sink = {}
  function sink.started(item)
    for _, entry in ipairs(list) do
      if entry[1] == "started" and entry[2] == item.test.name then return end
    end
    list[#list + 1] = { "started", item.test.name }
  end
  function sink.output(item, _, bytes)
    for i = #list, 1, -1 do
      if list[i][1] == "output" and list[i][2] == item.test.name then
        list[i][3] = list[i][3] .. bytes
        return
      end
    end
    list[#list + 1] = { "output", item.test.name, bytes }
  end
  function sink.finished(item, result)
    list[#list + 1] = { result.status, item.test.name, result.message or result.reason, result.duration }
    if result.sections then list[#list].subtests = result.sections[1][2] end
  end
  function sink.problem(problem) list[#list + 1] = { problem.kind, problem.id, problem.message } end
  local framed = options.framed ~= false
  local one = reader.new(items, sink, { package = "m/p", framed = framed, together = true })
  output = framed and output:gsub("~", "\22") or output:gsub("~", "")
  for at = 1, #output, options.size or 100000 do
    one.output("stdout", output:sub(at, at + (options.size or 100000) - 1))
  end
  one.ended(options.exit or { kind = "exited", code = 1 }, function() end)
  local suspects = {}
  for i, item in ipairs(one.suspects()) do suspects[i] = item.test.name end
  return list, suspects, items
end

-- A name that is missing is followed by two blanks, or three.
local OUTPUT = ([[
set up
~=== RUN   TestA
open~=== RUN   TestA/one
    a_test.go:7: said
        in two lines
~--- FAIL: TestA/one (0.01s)
~=== NAME  TestA
~=== RUN   TestA/two
~--- SKIP: TestA/two (0.00s)
~=== NAME  TestA
~--- FAIL: TestA (0.25s)
~=== NAME
~=== RUN   TestP
~=== PAUSE TestP
~=== NAME
~=== RUN   TestQ
~=== PAUSE TestQ
~=== NAME
~=== RUN   TestB
--- PASS: TestA (0.00s)
PASS
~--- SKIP: TestB (0.00s)
~=== NAME
~=== CONT  TestP
~=== CONT  TestQ
of Q
~=== NAME  TestP
of P
~--- PASS: TestP (0.10s)
~=== NAME  TestQ
    a_test.go:9: more of Q
~--- PASS: TestQ (0.20s)
~=== RUN   ExampleX
~--- FAIL: ExampleX (0.00s)
got:
a
want:
b
~=== NAME
~FAIL
]]):gsub("~=== NAME\n", "~=== NAME  \n")

describe("frameworks.go.reader", function()
  it("tells tests, output, subtests and results, however the bytes come", function()
    for _, size in ipairs({ 1, 2, 5, 17, 64, 100000 }) do
      assert.are.same({
        { "started", "TestA" },
        { "output", "TestA", "set up\nopen    a_test.go:7: said\n        in two lines\n" },
        { "failed", "TestA", "TestA/one: a_test.go:7: said\nin two lines", 0.25,
          subtests = "FAIL TestA/one\nSKIP TestA/two" },
        { "started", "TestP" },
        { "started", "TestQ" },
        { "started", "TestB" },
        { "output", "TestB", "--- PASS: TestA (0.00s)\nPASS\n" },
        { "skipped", "TestB", "skipped" },
        { "output", "TestQ", "of Q\n    a_test.go:9: more of Q\n" },
        { "output", "TestP", "of P\n" },
        { "passed", "TestP", nil, 0.1 },
        { "passed", "TestQ", nil, 0.2 },
        { "started", "ExampleX" },
        { "output", "ExampleX", "got:\na\nwant:\nb\n" },
        { "failed", "ExampleX", "got:\na\nwant:\nb" },
      }, (told({ "TestA", "TestB", "TestP", "TestQ", "ExampleX" }, OUTPUT, { size = size })), "in pieces of " .. size)
    end
  end)

  it("understands what Go wrote before 1.20", function()
    local output = "=== RUN   TestA\nopen\n=== RUN   TestA/sub\n    a_test.go:3: log\n--- FAIL: TestA (0.02s)\n"
      .. "    --- FAIL: TestA/sub (0.01s)\n        --- PASS: TestA/sub/deep (0.00s)\n=== RUN   TestB\n"
      .. "no line break--- PASS: TestB (0.50s)\nFAIL\n"
    for _, size in ipairs({ 1, 3, 100000 }) do
      assert.are.same({
        { "started", "TestA" },
        { "output", "TestA", "open\n    a_test.go:3: log\n" },
        { "failed", "TestA", "TestA/sub: a_test.go:3: log", 0.02, subtests = "FAIL TestA/sub\nPASS TestA/sub/deep" },
        { "started", "TestB" },
        { "output", "TestB", "no line break" },
        { "passed", "TestB", nil, 0.5 },
      }, (told({ "TestA", "TestB" }, output, { framed = false, size = size })))
    end
  end)

  it("knows whose panic it is, also beside others", function()
    local list, suspects = told({ "TestA", "TestB" }, "~=== RUN   TestA\n~=== PAUSE TestA\n~=== RUN   TestB\n"
      .. "~=== PAUSE TestB\n~=== CONT  TestA\n~=== CONT  TestB\n~--- FAIL: TestA (0.00s)\n~=== NAME  TestB\nof B\n"
      .. "panic: oops [recovered, repanicked]\n\ngoroutine 7 [running]:\nm/p.TestA(0x1)\n", {})
    assert.are.same({}, suspects)
    assert.are.same({
      { "started", "TestA" }, { "started", "TestB" }, { "output", "TestB", "of B\n" },
      { "output", "TestA", "panic: oops [recovered, repanicked]\n\ngoroutine 7 [running]:\nm/p.TestA(0x1)\n" },
      { "failed", "TestA", "panic: oops [recovered, repanicked]", 0.001 },
    }, list)
  end)

  it("suspects all that ran when the process ended by itself, and none that waited", function()
    local output = "~=== RUN   TestA\n~=== PAUSE TestA\n~=== RUN   TestB\n~=== PAUSE TestB\n~=== RUN   TestC\n"
      .. "~=== PAUSE TestC\n~=== CONT  TestB\n~=== CONT  TestA\n"
    local _, suspects, items = told({ "TestA", "TestB", "TestC" }, output, {})
    assert.are.same({ "TestB", "TestA" }, suspects)

    local problems, passed = {}, {}
    local report = reader.watching({
      finished = function(item) passed[#passed + 1] = item.test.name end,
      problem = function(problem) problems[#problems + 1] = problem.message end,
      started = function() return "untouched" end,
    })
    assert.are.equal("untouched", report.started())
    report.finished(items[1], { status = "passed" })
    assert.are.same({}, problems)
    report.finished(items[2], { status = "passed" })
    assert.are.same({ "TestA", "TestB" }, passed)
    assert.are.same({ "m/p ended while TestB, TestA ran at once, and each of them passes alone: exit status 1" },
      problems)

    _, _, items = told({ "TestA", "TestB", "TestC" }, output, {})
    report.finished(items[1], { status = "failed" })
    report.finished(items[2], { status = "passed" })
    assert.are.equal(1, #problems) -- the failure explains it
  end)

  it("finds its lines behind marks that a test printed", function()
    for size = 1, 60 do
      local list = told({ "TestA", "TestB" },
        "~=== RUN   TestA\na ~~b~=== RUN~--- PASS: TestA (0.00s)\n~=== NAME  \n"
          .. "~=== RUN   TestB\n~ x~--- F\n~\n~--- FAIL: TestB (0.00s)\n~=== NAME  \n~FAIL\n", { size = size })
      assert.are.same({
        { "started", "TestA" }, { "output", "TestA", "a b=== RUN" }, { "passed", "TestA" },
        { "started", "TestB" }, { "output", "TestB", " x--- F\n\n" }, { "failed", "TestB", "failed" },
      }, list, "in pieces of " .. size)
    end
  end)

  it("reads many marks in little time", function()
    local began = os.clock()
    local list = told({ "TestA" }, "~=== RUN   TestA\n" .. ("~"):rep(1 << 21) .. "~--- PASS: TestA (0.00s)\n",
      { size = 65536, exit = { kind = "exited", code = 0 } })
    assert.are.equal("passed", list[#list][1])
    assert.is_true(os.clock() - began < 20)
  end)

  it("takes what only begins like a panic for output", function()
    local list = told({ "TestA" }, "~=== RUN   TestA\npanic: not really\n~--- PASS: TestA (0.01s)\n~PASS\n",
      { size = 4, exit = { kind = "exited", code = 0 } })
    assert.are.same({
      { "started", "TestA" }, { "output", "TestA", "panic: not really\n" }, { "passed", "TestA", nil, 0.01 },
    }, list)
  end)

  it("reads much output in little time", function()
    local output = "=== RUN   TestA\n" .. ("a line --- with dashes\n"):rep(100000) .. "--- PASS: TestA (0.01s)\n"
    for _, framed in ipairs({ true, false }) do
      local started = os.clock()
      local text = framed and output:gsub("===", "~===", 1):gsub("%-%-%- PASS", "~--- PASS") or output
      local list = told({ "TestA" }, text, { size = 4096, framed = framed, exit = { kind = "exited", code = 0 } })
      assert.are.same({ "passed", "TestA", nil, 0.01 }, list[#list])
      assert.is_true(os.clock() - started < 10)
    end
  end)
end)
