--- TAP as it is written by Perl's Test::More, node --test, node-tap, bats and by hand, whole and damaged.

local tap = require("runner.worker.formats.tap")

local function read(text, step)
  local points, texts = {}, {}
  local parser = tap.parser("r.tap", function(point) points[#points + 1] = point end, {
    on_text = function(line) texts[#texts + 1] = line end,
  })
  for at = 1, #text, step or math.max(1, #text) do parser.feed(text:sub(at, at + (step or #text) - 1)) end
  return points, parser.finish(), texts
end

local function lines(...) return table.concat({ ... }, "\n") .. "\n" end

local function names_above(point)
  local names, suite = {}, point.suite
  while suite do
    table.insert(names, 1, suite.name or "?")
    suite = suite.parent
  end
  return table.concat(names, " > ")
end

--- "status above > name", in order.
local function brief(points)
  local list = {}
  for i, point in ipairs(points) do
    local above = names_above(point)
    list[i] = point.status .. " " .. (above ~= "" and above .. " > " or "") .. point.name
  end
  return list
end

local function codes(summary)
  local list = {}
  for i, problem in ipairs(summary.problems) do list[i] = problem.code end
  return list
end

describe("tap", function()
  it("reads test points with and without numbers, dashes and descriptions", function()
    local points, summary = read(lines("1..7", "ok 1 - one", "ok 2 two", "not ok 3 - - three", "ok", "ok -", "not ok",
      "ok - 12 months"))
    assert.are.same({
      "passed one", "passed two", "failed - three", "passed ", "passed ", "failed ", "passed 12 months",
    }, brief(points))
    assert.are.equal(3, points[3].number)
    assert.are.equal("3", points[3].properties.number)
    assert.are.same({ 7, 5, 2, true }, { summary.cases, summary.passed, summary.failed, summary.complete })
  end)

  it("takes for text what only looks like TAP", function()
    local points, summary, texts = read(lines("1..1", "okay", "ok.", "not okay", "  ok 5", "I said 1..9",
      "1..2 tests",
      "ok 1 - real"))
    assert.are.same({ "passed real" }, brief(points))
    assert.are.same({ "okay", "ok.", "not okay", "  ok 5", "I said 1..9", "1..2 tests" }, texts)
    assert.is_true(summary.complete)
  end)

  it("reads SKIP and TODO, in any case, and leaves other hashes in the name", function()
    local points = read(lines("TAP version 13", "1..9", "ok 1 - a # SKIP no network", "ok 2 # skipped: why",
      "ok 3 b # skip",
      "not ok 4 - c # TODO later", "ok 5 - d # todo", "not ok 6 - e # SKIP", "ok 7 - issue #12 # fixed",
      "ok 8 - f \\# SKIP this is a name", "not ok 9 - g # TODOX"))
    assert.are.same({
      "skipped a", "skipped ", "skipped b", "skipped c", "passed d", "skipped e", "passed issue #12 # fixed",
      "passed f # SKIP this is a name", "failed g # TODOX",
    }, brief(points))
    assert.are.equal("no network", points[1].message)
    assert.are.equal("why", points[2].message)
    assert.is_true(points[4].todo)
    assert.are.equal("later", points[4].message)
    assert.is_true(points[5].todo)
  end)

  it("takes escapes for what the version makes them", function()
    assert.are.equal([[a # b \ c]], read(lines("TAP version 14", "1..1", [[ok 1 - a \# b \\ c]]))[1].name)
    assert.are.equal([[C:\\x # y]], read(lines("TAP version 13", "1..1", [[ok 1 - C:\\x \# y]]))[1].name)
  end)

  it("reads times", function()
    local points = read(lines("1..4", "ok 1 - a # time=12.5ms", "ok 2 - b # SKIP why # time=2s", "ok 3 - c", "  ---",
      "  duration_ms: 250", "  ...", "ok 4 - d # time=soon"))
    assert.are.equal(0.0125, points[1].time)
    assert.are.same({ "skipped", "why", 2.0 }, { points[2].status, points[2].message, points[2].time + 0.0 })
    assert.are.equal(0.25, points[3].time)
    assert.is_nil(points[4].time)
  end)

  it("gives a failure its YAML block and its comments", function()
    local points, summary = read(lines("TAP version 14", "1..2", "not ok 1 - resolves", "  ---",
      "  message: \"Failed with 'x' \\\"y\\\"\"", "  severity: fail", "  at:", "    file: t/dns.c",
        "    line: 142", "  stack: |-",
      "    one", "      two", "", "    three", "  got: 'it''s'", "  ...", "#   Failed test 'resolves'",
        "#   at t/dns.t line 3.",
      "ok 2 - next"))
    local point = points[1]
    assert.are.equal("Failed with 'x' \"y\"", point.message)
    assert.are.same({ "t/dns.c", 142 }, { point.file, point.line })
    assert.are.equal("one\n  two\n\nthree", point.properties.stack)
    assert.are.equal("it's", point.properties.got)
    assert.is_truthy(point.trace:find("severity: fail.*Failed test 'resolves'\n  at t/dns.t line 3."))
    assert.is_nil(points[2].trace)
    assert.is_true(summary.complete)
  end)

  it("goes on behind a YAML block without an end", function()
    local points = read(lines("1..2", "not ok 1 - a", "  ---", "  message: m", "ok 2 - b"))
    assert.are.same({ "failed a", "passed b" }, brief(points))
    assert.are.equal("m", points[1].message)
  end)

  it("takes comments for the message where there is no YAML", function()
    local point = read(lines("1..1", "not ok 1 - adds", "#   Failed test 'adds'", "#          got: '3'"))[1]
    assert.are.equal("  Failed test 'adds'", point.trace:match("[^\n]*"))
    assert.are.equal("Failed test 'adds'", point.message:match("%S.*"))
  end)

  local subtests = {
    ["Perl's, whose comment is indented"] = lines("    # Subtest: outer", "    ok 1 - a", "        # Subtest: inner",
      "        not ok 1 - b", "        1..1", "    not ok 2 - inner", "    1..2", "not ok 1 - outer",
        "ok 2 - last", "1..2"),
    ["version 14's, whose comment is not"] = lines("TAP version 14", "# Subtest: outer", "    ok 1 - a",
      "    # Subtest: inner", "        not ok 1 - b", "        1..1", "    not ok 2 - inner", "    1..2",
        "not ok 1 - outer",
      "ok 2 - last", "1..2"),
    ["bare, named by the point that closes them"] = lines("TAP version 14", "    ok 1 - a", "        not ok 1 - b",
      "        1..1", "    not ok 2 - inner", "    1..2", "not ok 1 - outer", "ok 2 - last", "1..2"),
    ["version 14's, each test announced"] = lines("TAP version 13", "# Subtest: outer", "    # Subtest: a",
      "    ok 1 - a",
      "    # Subtest: inner", "        # Subtest: b", "        not ok 1 - b", "        1..1", "    not ok 2 - inner",
      "    1..2", "not ok 1 - outer", "# Subtest: last", "ok 2 - last", "1..2"),
    ["in braces, behind their point"] = lines("TAP version 13", "not ok 1 - outer # time=1ms {", "    ok 1 - a",
      "    not ok 2 - inner {", "        not ok 1 - b", "        1..1", "    }", "    1..2", "}",
        "ok 2 - last", "1..2"),
  }
  for how, text in pairs(subtests) do
    it("reads subtests: " .. how, function()
      local points, summary = read(text)
      assert.are.same({
        "passed outer > a", "failed outer > inner > b", "failed outer > inner", "failed outer", "passed last",
      }, brief(points))
      assert.is_true(summary.complete)
      assert.is_nil(points[1].closes)
      assert.is_true(points[3].closes and points[4].closes)
      assert.is_nil(points[5].closes)
    end)
  end

  it("hands a point on as soon as its diagnostics are over", function()
    local seen = {}
    local parser = tap.parser("s", function(point) seen[#seen + 1] = point.name end)
    parser.feed("1..3\nok 1 - a\n")
    assert.are.same({}, seen)
    parser.feed("printed by b\n")
    assert.are.same({ "a" }, seen)
    parser.feed("ok 2 - b\n# Subtest: c\n    ok 1 - d\n    ok 2 - e\n")
    assert.are.same({ "a", "b", "d" }, seen)
  end)

  it("says that a plan was not kept", function()
    for text, code in pairs({
      [lines("1..3", "ok", "ok")] = "EPLAN", [lines("1..1", "ok", "ok")] = "EPLAN", [lines("ok", "ok")] = "ENOPLAN",
      [lines("1..3", "ok 2", "ok 4", "ok 1")] = "EPLAN", [lines("1..1", "ok", "1..1")] = "EPLAN",
      [lines("ok", "1..2", "ok")] = "EPLAN",
    }) do
      local _, summary = read(text)
      assert.are.same({ code }, codes(summary), text)
      assert.is_false(summary.complete)
    end
    local _, summary = read(lines("1..3", "ok 3", "ok 1", "ok 2"))
    assert.are.same({}, codes(summary))
  end)

  it("knows a document that was skipped as a whole", function()
    local points, summary = read("1..0 # SKIP no database\n")
    assert.are.same({ {}, "no database", true }, { points, summary.skip_all, summary.complete })
  end)

  it("knows that it bailed out", function()
    local points, summary = read(lines("1..573", "not ok 1 - database handle", "Bail out!  Couldn't connect."))
    assert.are.same({ "failed database handle" }, brief(points))
    assert.are.equal("bailed out: Couldn't connect.", summary.problems[1].message)
    assert.is_false(summary.complete)
  end)

  it("counts what is whole of what is cut off", function()
    local points, summary = read("1..3\nok 1 - one\nok 2 - two and")
    assert.are.same({ "passed one" }, brief(points))
    assert.are.same({ "ETRUNCATED", "EPLAN" }, codes(summary))
    -- The last of the plan, without a line end, is whole.
    points, summary = read("1..2\nok 1 - one\nok 2 - two")
    assert.are.same({ "passed one", "passed two" }, brief(points))
    assert.is_true(summary.complete)
    points, summary = read(lines("1..2", "    ok 1 - inner"))
    assert.are.same({ "passed ? > inner" }, brief(points))
    assert.are.same({ "ETRUNCATED", "ENOPLAN", "EPLAN" }, codes(summary))
  end)

  it("says that something is no TAP", function()
    for _, text in ipairs({ "", "\n\n", "Segmentation fault\n", "<testsuite/>", ("x"):rep(300000) }) do
      local points, summary = read(text)
      assert.are.same({ {}, { "ENOTTAP" } }, { points, codes(summary) })
    end
  end)

  it("reads line ends of every kind, pragmas and blank lines", function()
    local points, summary, texts = read("TAP version 13\r\n\r\npragma +strict\r\n1..1\r\nok 1 - a\r\n")
    assert.are.same({ "passed a" }, brief(points))
    assert.are.same({ true, 0 }, { summary.complete, #texts })
  end)

  it("reads what Perl's Test::More writes", function()
    local pipe = io.popen([[perl -MTest::More=tests,4 -e 'ok 1, "a # b"; subtest s => sub { plan tests => 2; ok 1, "x";
      TODO: { local $TODO = "later"; ok 0, "y" } }; SKIP: { skip "why", 1 } is 1, 1, "ü"' 2>/dev/null]])
    local points, summary = read(pipe:read("a"))
    pipe:close()
    if #points == 0 then return pending("there is no perl with Test::More") end
    assert.are.same({ "passed a # b", "passed s > x", "skipped s > y", "passed s", "skipped ",
      "passed ü" }, brief(points))
    assert.is_true(summary.complete)
  end)

  it("reads what node --test writes", function()
    local pipe = io.popen([[cd "$(mktemp -d)" && echo 'const {test,describe,it}=require("node:test");
      test("top",()=>{}); describe("outer",()=>{ it("passes",()=>{}); it("fails # 1",()=>{throw new Error("boom")});
      it.skip("later",()=>{}); it.todo("some day") })' > a.test.js &&
      node --test --test-reporter=tap a.test.js 2>/dev/null; rm -r "$PWD"]])
    local points, summary = read(pipe:read("a"))
    pipe:close()
    if #points == 0 then return pending("there is no node with --test") end
    local list = table.concat(brief(points), "\n")
    assert.is_truthy(list:find("passed top", 1, true))
    assert.is_truthy(list:find("failed outer > fails # 1\nskipped outer > later\n%a+ outer > some day\nfailed outer"),
      list)
    assert.is_true(summary.complete)
    for _, point in ipairs(points) do
      if point.name == "fails # 1" then
        assert.are.equal("boom", point.message)
        assert.is_truthy(point.file:find("a.test.js$"))
      end
    end
  end)

  it("is bounded by the largest point", function()
    local uv = require("luv")
    local count = 0
    local parser = tap.parser("s", function() count = count + 1 end)
    local block = lines("not ok - a", "  ---", "  message: m", "  ...") .. ("# noise\n"):rep(20)
    local before = uv.resident_set_memory()
    for _ = 1, 100000 do parser.feed(block) end
    parser.feed("not ok - long\n  ---\n" .. ("  x: y\n"):rep(2000000) .. ("z"):rep(8 << 20))
    parser.finish()
    assert.are.equal(100001, count)
    local limit = os.getenv("ASAN_OPTIONS") and 1 << 40 or 64 << 20
    assert.is_true(uv.resident_set_memory() - before < limit)
  end)

  it("survives random bytes, and reads the same however they are cut", function()
    local seed = tonumber(os.getenv("RUNNER_SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local pieces = {
      "ok", "not ok", " ", "    ", "  ", "\n", "\n", "\n", "\r", "\0", "\xFF", "1..", "5", "1..3\n", "#",
        " # SKIP", " # TODO x",
      "# Subtest: a", "---", "...", "  ---\n", "  ...\n", "{", "}", "}\n", "Bail out!", "TAP version 14\n",
        "- b", "time=1ms",
      "message: |", "'", '"', "\\", "pragma +x\n", "    ok 1 - in\n", "        not ok\n", "ok 1 - x {\n",
    }
    for round = 1, 1000 do
      local parts = {}
      for i = 1, math.random(60) do
        parts[i] = math.random(12) == 1 and string.char(math.random(0, 255)) or pieces[math.random(#pieces)]
      end
      local text = table.concat(parts)
      local where = ("seed %d round %d"):format(seed, round)
      local ok, points, summary = pcall(read, text)
      assert(ok, where .. ": " .. tostring(points))
      assert.are.equal(#points, summary.cases, where)
      assert.are.equal(#points, summary.passed + summary.failed + summary.skipped, where)
      local again, other = read(text, math.random(1, 7))
      assert.are.same(brief(points), brief(again), where)
      assert.are.same(codes(summary), codes(other), where)
    end
  end)
end)
