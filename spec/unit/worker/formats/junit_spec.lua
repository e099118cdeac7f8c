local junit = require("runner.worker.formats.junit")
local project = require("spec.support.project")

local folder = "spec/support/junit/"

local function read(sources, options)
  local cases = {}
  local summary = junit.read(sources, function(case) cases[#cases + 1] = case end, options)
  return cases, summary
end

local function read_bytes(bytes, options)
  return read({ bytes = bytes, name = "r.xml" }, options)
end

-- One case out of the inside of its element.
local function case_of(inside, attributes)
  local cases, summary = read_bytes(("<testsuite><testcase %s>%s</testcase></testsuite>"):format(
    attributes or 'name="t"', inside))
  assert.are.equal(1, #cases)
  return cases[1], summary
end

local dialects = {
  ["pytest.xml"] = {
    "passed test_add", "passed test_names[a b]", "passed test_names[[x]]", "failed test_fails",
    "skipped test_later", "skipped test_known", "error test_setup",
  },
  ["surefire.xml"] = {
    "passed adds", "passed isSlow", "failed removes", "error connects", "passed flickers",
    "skipped isIgnored",
  },
  ["gtest.xml"] = {
    "passed Adds", "failed Removes", "skipped DISABLED_Later", "skipped Skips", "passed Holds/0",
  },
  ["ctest.xml"] = { "passed adds", "failed removes", "skipped absent", "skipped later" },
  ["jest-junit.xml"] = {
    "passed cart adds an item", "failed cart removes an item", "skipped cart later",
    "error stock.test.js",
  },
  ["vitest.xml"] = { "passed cart > adds", "failed cart > removes", "skipped cart > later" },
  ["go-junit-report.xml"] = {
    "passed TestAdds", "failed TestRemoves", "passed TestNames/with_space#01", "skipped TestLater",
  },
  ["nextest.xml"] = {
    "passed tests::adds", "passed tests::flickers", "failed tests::removes", "error tests::aborts",
  },
  ["mocha.xml"] = { "passed cart adds", "failed cart removes", "skipped cart later" },
  ["rspec.xml"] = {
    "passed Cart adds an item", "failed Cart removes an item", "skipped Cart later",
  },
  ["busted.xml"] = { "passed cart adds", "failed cart removes", "skipped cart later" },
}

local names = {}
for name in pairs(dialects) do names[#names + 1] = name end
table.sort(names)

local function by_name(file)
  local cases, summary = read(folder .. file)
  local map = {}
  for _, case in ipairs(cases) do map[case.name] = case end
  return map, summary
end

describe("junit", function()
  for _, name in ipairs(names) do
    it("reads " .. name, function()
      local cases, summary = read(folder .. name)
      local got = {}
      for i, case in ipairs(cases) do
        got[i] = case.status .. " " .. case.name
        assert.are.equal(folder .. name, case.source)
        assert.is_number(case.time)
        assert.is_string(case.classname)
      end
      assert.are.same(dialects[name], got)
      assert.is_true(summary.complete)
      assert.are.equal(#got, summary.passed + summary.failed + summary.error + summary.skipped)
    end)
  end

  it("reads several files into one result", function()
    local sources = { folder .. "mocha.xml", folder .. "rspec.xml", "/nonexistent.xml" }
    local cases, summary = read(sources)
    assert.are.equal(6, #cases)
    assert.are.equal(2, summary.failed)
    assert.is_false(summary.complete)
    assert.are.equal("ENOENT", summary.problems[1].code)
  end)

  it("reads surefire's reruns, flaky runs and thousands", function()
    local cases, summary = by_name("surefire.xml")
    local removes = cases.removes
    assert.are.equal("expected: <1> but was: <2>", removes.message)
    assert.are.equal("org.opentest4j.AssertionFailedError", removes.type)
    assert.is_truthy(removes.trace:find("CartTest.java:21", 1, true))
    assert.are.equal("first try\n", removes.stdout)
    assert.are.equal(1, #removes.reruns)
    assert.are.equal("expected: <1> but was: <3>", removes.reruns[1].message)
    assert.is_truthy(removes.reruns[1].trace:find("was: <3>", 1, true))
    assert.are.equal("second try", removes.reruns[1].stdout)
    assert.are.equal("java.lang.AssertionError: too late", cases.flickers.flaky[1].trace)
    assert.are.equal(1234.5, cases.isSlow.time)
    assert.are.equal("not on Linux", cases.isIgnored.message)
    assert.are.equal("17.0.9", cases.adds.suite.properties["java.version"])
    assert.is_true(summary.time > 1234.8)
  end)

  it("reads nextest's reruns, whose trace is the element's own text", function()
    local cases = by_name("nextest.xml")
    local flaky = cases["tests::flickers"].flaky[1]
    assert.is_truthy(flaky.trace:find("too late", 1, true))
    assert.are.equal("try 1", flaky.stdout)
    assert.are.equal(0.004, flaky.time)
    assert.are.equal("again, in full", cases["tests::removes"].reruns[1].trace)
    assert.are.equal("error", cases["tests::aborts"].status)
    assert.are.equal("test abort", cases["tests::aborts"].type)
  end)

  it("reads gtest's several failures, places and properties", function()
    local cases = by_name("gtest.xml")
    assert.is_truthy(cases.Removes.message:find("^cart_test.cc:8\n"))
    assert.is_truthy(cases.Removes.trace:find("cart_test.cc:9", 1, true))
    assert.are.equal("cart_test.cc", cases.Removes.file)
    assert.are.equal(7, cases.Removes.line)
    assert.are.same({ size = "7" }, cases["Holds/0"].properties)
  end)

  it("gives a case its suite, and the suite's file", function()
    local cases = by_name("mocha.xml")
    assert.are.equal("/app/test/cart.js", cases["cart adds"].file)
    assert.are.equal("cart", cases["cart adds"].suite.name)
    assert.are.equal("Mocha Tests", cases["cart adds"].suite.parent.name)
    local nested = read_bytes('<testsuites><testsuite name="a" file="f"><testsuite name="b">'
      .. '<testcase name="t"/></testsuite><testcase name="u"/></testsuite></testsuites>')
    assert.are.equal("b", nested[1].suite.name)
    assert.are.equal("f", nested[1].file)
    assert.are.equal("a", nested[2].suite.name)
  end)

  it("reads attachments", function()
    assert.are.same({ "shots/cart adds.png" }, by_name("vitest.xml")["cart > adds"].attachments)
    local case = case_of("<system-out>x [[ATTACHMENT|a]] [[ATTACHMENT|b]]</system-out>"
      .. "<system-err>[[ATTACHMENT|c]]</system-err>")
    assert.are.same({ "a", "b", "c" }, case.attachments)
  end)

  it("keeps what belongs to a suite", function()
    local cases, summary = by_name("busted.xml")
    assert.are.equal("not now", cases["cart later"].message)
    assert.are.equal("suite", summary.problems[1].kind)
    assert.is_truthy(summary.problems[1].text:find("module 'stock' not found", 1, true))
    assert.are.equal("cart: ready", by_name("go-junit-report.xml").TestAdds.suite.stdout)
  end)

  it("takes a self-closing failure for a failure", function()
    assert.are.equal("failed", case_of("<failure/>").status)
    assert.are.equal("error", case_of("<error/>").status)
    assert.are.equal("skipped", case_of("<skipped/>").status)
    assert.is_nil(case_of("<failure message=''/>").message)
  end)

  it("lets an error win over a failure, and both over a skip", function()
    local case = case_of("<skipped/><failure message='f'>1</failure><error message='e'>2</error>")
    assert.are.equal("error", case.status)
    assert.are.equal("f", case.message)
    assert.are.equal("1\n2", case.trace)
    assert.are.equal("failed", case_of("<failure/><skipped message='s'/>").status)
  end)

  it("believes a status attribute that says not passed", function()
    assert.are.equal("failed", case_of("", 'name="t" status="failed"').status)
    assert.are.equal("skipped", case_of("", 'name="t" status="run" result="Skipped"').status)
    assert.are.equal("passed", case_of("", 'name="t" status="run"').status)
  end)

  it("does without a name, a class or a time", function()
    local case = case_of("", "")
    assert.are.equal("", case.name)
    assert.is_nil(case.classname)
    assert.is_nil(case.time)
  end)

  it("reads times as they are written", function()
    for text, seconds in pairs({
      ["0"] = 0, ["0."] = 0, [".5"] = 0.5, ["1.25"] = 1.25, ["1e-05"] = 1e-05, ["1,234.5"] = 1234.5,
      ["1,234"] = 1234, ["1,234,567"] = 1234567, ["0,250"] = 0.25, ["0,5"] = 0.5,
      ["1.234,5"] = 1234.5, ["12,5"] = 12.5, [" 2 "] = 2, ["1.5s"] = 1.5,
    }) do
      assert.are.equal(seconds, case_of("", ('time="%s"'):format(text)).time, text)
    end
    for _, text in ipairs({ "", "NaN", "inf", "-1", "0x10", "abc", ".", "1e999" }) do
      assert.is_nil(case_of("", ('time="%s"'):format(text)).time, text)
    end
  end)

  it("reads references in attributes as in text", function()
    local case = case_of(
      "<failure message='&lt;&amp;&#38;&#x26;&amp;amp;&quot;&apos;&gt;'>&lt;&amp;&#38;&gt;</failure>",
      'name="a &amp;&amp; &quot;b&quot; &lt;c> &#xFC;"')
    assert.are.equal('a && "b" <c> ü', case.name)
    assert.are.equal("<&&&&amp;\"'>", case.message)
    assert.are.equal("<&&>", case.trace)
  end)

  it("reads text in pieces, and what CDATA hides", function()
    local case = case_of("<failure>a<![CDATA[<b>&amp;]]]]><![CDATA[></b>]]>&lt;c<!-- d --> e</failure>")
    assert.are.equal("a<b>&amp;]]></b><c e", case.trace)
  end)

  it("reads other encodings, and bytes that are in none", function()
    local function report(encoding, name)
      return ('<?xml version="1.0" encoding="%s"?><testsuite><testcase name="%s"/></testsuite>'):format(encoding, name)
    end
    local cases = read_bytes(report("ISO-8859-1", "caf\xE9"))
    assert.are.equal("café", cases[1].name)
    cases = read_bytes("\xFF\xFE" .. report("UTF-16", "x"):gsub(".", "%0\0"))
    assert.are.equal("x", cases[1].name)
    local summary
    -- It says UTF-16 and is not; it says UTF-8 and is Latin-1; it names what nobody knows.
    for bytes, name in pairs({
      [report("UTF-16", "ü")] = "ü", [report("UTF-8", "\xFC")] = "\xFC", [report("klingon", "ü")] = "ü",
    }) do
      cases, summary = read_bytes(bytes)
      assert.are.equal(name, cases[1].name)
      assert.are.equal("mended", summary.problems[1].kind)
      assert.is_true(summary.complete)
    end
  end)

  it("reads bytes that come by themselves as it reads a file", function()
    for _, name in ipairs(names) do
      local bytes, whole = project.read(folder .. name), read(folder .. name)
      for _, step in ipairs({ 1, 7, 4096 }) do
        local cases = {}
        local parser = junit.parser(folder .. name, function(case) cases[#cases + 1] = case end)
        for at = 1, #bytes, step do parser.feed(bytes:sub(at, at + step - 1)) end
        assert.is_true(parser.finish().complete)
        assert.are.same(whole, cases)
      end
    end
    local parser = junit.parser("r", function() end)
    parser.feed("<testsuite><testcase name='a'/><testcase name='b'><failure>")
    local summary = parser.finish()
    assert.are.same({ 1, false, "ETRUNCATED", "b" },
      { summary.cases, summary.complete, summary.problems[1].code, summary.problems[1].case })
    assert.are.equal("EXML", (function()
      local broken = junit.parser("r", function() end)
      broken.feed("no xml")
      broken.feed(" at all")
      return broken.finish().problems[1].code
    end)())
  end)

  it("keeps duplicate names apart, in order", function()
    local cases = read_bytes('<testsuite><testcase name="a" time="1"/>'
      .. '<testcase name="a" time="2"/></testsuite>')
    assert.are.equal(1, cases[1].time)
    assert.are.equal(2, cases[2].time)
  end)

  it("joins the values of a repeated property", function()
    local case = case_of('<properties><property name="a" value="1"/><property name="a">2</property>'
      .. '<property value="x"/></properties>')
    assert.are.same({ a = "1\n2" }, case.properties)
  end)

  it("is not fooled by attributes named like its own fields", function()
    local case = case_of("", 'name="t" stdout="x" trace="y" suite="z" reruns="w" message="m"')
    assert.is_nil(case.stdout)
    assert.is_nil(case.trace)
    assert.is_nil(case.reruns)
    assert.is_nil(case.message)
    assert.is_table(case.suite)
  end)

  it("counts what is whole of a truncated file, and names the case that was cut off", function()
    local bytes = project.read(folder .. "surefire.xml")
    local cut = bytes:find("<stackTrace>", 1, true)
    local cases, summary = read_bytes(bytes:sub(1, cut + 20))
    assert.are.equal(2, #cases)
    assert.is_false(summary.complete)
    local problem = summary.problems[1]
    assert.are.equal("lost", problem.kind)
    assert.are.equal("ETRUNCATED", problem.code)
    assert.are.equal("removes", problem.case)
    assert.is_true(problem.line >= 10 and problem.line <= 20)
  end)

  it("counts what is whole at every cut of every sample", function()
    for _, name in ipairs(names) do
      local bytes = project.read(folder .. name)
      local whole = read_bytes(bytes)
      local before = 0
      for cut = 0, #bytes - 1, 7 do
        local cases, summary = read_bytes(bytes:sub(1, cut))
        assert.is_true(#cases >= before and #cases <= #whole)
        before = #cases
        for i, case in ipairs(cases) do assert.are.equal(whole[i].status, case.status) end
        if summary.complete then assert.is_truthy(bytes:sub(cut + 1):find("^%s*$"), name .. cut) end
      end
    end
  end)

  it("reads a report with colours and broken bytes, losing nothing", function()
    local case, summary = case_of(
      "<failure message='a \27[31mred\27[0m &#27; \xFF'>1 & 2\0</failure>")
    assert.are.equal("a \27[31mred\27[0m \27 \xFF", case.message)
    assert.are.equal("1 & 2\0", case.trace)
    assert.is_true(summary.complete)
    assert.are.equal("mended", summary.problems[1].kind)
    assert.are.equal(
      "not well-formed, read all the same: 4 character(s) that XML forbids, "
        .. "1 byte(s) that are no UTF-8, 1 bare ampersand(s)", summary.problems[1].message)
  end)

  it("refuses what is no JUnit report", function()
    for bytes, code in pairs({
      ["<html><testcase name='x'/></html>"] = "ENOTJUNIT",
      ["<error/>"] = "ENOTJUNIT",
      ["<!DOCTYPE testsuite [<!ENTITY a 'b'>]><testsuite/>"] = "EDOCTYPE",
      [""] = "ETRUNCATED",
      ["not xml"] = "EXML",
      [("<testsuite>"):rep(10000)] = "EDEPTH",
      ["<testsuite>" .. "<testcase name='x'>" .. ("<failure>"):rep(10000)] = "EDEPTH",
    }) do
      local cases, summary = read_bytes(bytes)
      assert.are.equal(0, #cases)
      assert.are.equal(1, #summary.problems)
      assert.are.equal(code, summary.problems[1].code)
      assert.is_false(summary.complete)
    end
  end)

  it("shortens long output and says so", function()
    local cases, summary = read_bytes('<testsuite><testcase name="' .. ("n"):rep(300)
      .. '"><system-out>' .. ("o"):rep(5000) .. "end</system-out></testcase></testsuite>",
      { text_limit = 100 })
    assert.is_true(#cases[1].stdout < 200)
    assert.is_truthy(cases[1].stdout:find("^ooo.*%[%.%.%. 4903 bytes left out %.%.%.%]\no+end$"))
    assert.are.equal("shortened", summary.problems[1].kind)
    assert.is_true(summary.complete)
  end)

  it("takes bytes as they come, and lets the callback raise", function()
    local bytes, at = project.read(folder .. "pytest.xml"), 1
    local cases = read({ read = function()
      if at > #bytes then return nil end
      at = at + 5
      return bytes:sub(at - 5, at - 1)
    end })
    assert.are.equal(7, #cases)
    assert.has_error(function()
      junit.read(folder .. "pytest.xml", function() error("stop") end)
    end)
  end)

  it("keeps only so much of what belongs to no case", function()
    local many = '<properties><property name="p%d" value="v"/></properties><system-out>' .. ("x"):rep(1000)
      .. "</system-out><error message='e%d'/>"
    local given, suite = 0, nil
    local summary = junit.read({ read = function()
      given = given + 1
      if given == 1 then return "<testsuite>" end
      if given <= 20000 then return many:format(given, given) end
      return given == 20001 and "<testcase name='x'/></testsuite>" or nil
    end }, function(case) suite = case.suite end)
    local properties = 0
    for _ in pairs(suite.properties) do properties = properties + 1 end
    assert.are.equal(100, properties)
    assert.are.equal(1000, #summary.problems)
    assert.is_true(#suite.stdout > 1000000 and #suite.stdout < 1100000)
  end)

  it("needs little memory for a large report", function()
    local uv = require("luv")
    local log = ("a line of a log that a test wrote\n"):rep(100)
    local template = '<testcase name="case %d" classname="c" time="0.01">'
      .. "<system-out>%s</system-out></testcase>"
    local suite = { '<testsuite name="s">' }
    for i = 1, 100 do suite[#suite + 1] = template:format(i, log) end
    suite[#suite + 1] = "</testsuite>"
    local block = table.concat(suite)
    local blocks, given = (48 << 20) // #block, -1
    collectgarbage()
    local before = uv.resident_set_memory()
    local summary = junit.read({ read = function()
      given = given + 1
      if given == 0 then return "<testsuites>" end
      if given <= blocks then return block end
      return given == blocks + 1 and "</testsuites>" or nil
    end }, function() end)
    assert.are.equal(100 * blocks, summary.passed)
    -- AddressSanitizer keeps freed memory.
    local limit = os.getenv("ASAN_OPTIONS") and 1 << 40 or 20 << 20
    assert.is_true(uv.resident_set_memory() - before < limit)
  end)

  it("survives random damage", function()
    local seed = tonumber(os.getenv("RUNNER_SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local pieces = {
      "<", ">", "&", "]]>", "<![CDATA[", "<!--", "-->", "<?", "?>", "\0", "\27[0m", "\xFF", "&#27;",
      "\xED\xA0\x80", "&#x10FE1B;", "\u{10FE1B}", '"', "'", "</testcase>", "<testcase>",
      "<failure/>", "<!DOCTYPE x>", "\r", "\xEF\xBB\xBF",
    }
    local samples = {}
    for i, name in ipairs(names) do samples[i] = project.read(folder .. name) end
    for round = 1, 1500 do
      local bytes = samples[math.random(#samples)]
      for _ = 1, math.random(6) do
        local at, what = math.random(#bytes), math.random(4)
        local piece = what == 1 and "" or what == 2 and string.char(math.random(0, 255))
          or what == 3 and pieces[math.random(#pieces)] or bytes:sub(at, at + math.random(200))
        bytes = bytes:sub(1, at - 1) .. piece .. bytes:sub(at + math.random(0, 3))
        if bytes == "" then bytes = " " end
      end
      local where = ("seed %d round %d"):format(seed, round)
      local ok, cases, summary = pcall(read_bytes, bytes)
      assert(ok, where .. ": " .. tostring(cases))
      assert.are.equal(#cases, summary.cases, where)
      local at, step = 1, math.random(1, 300)
      local again, other = read({ name = "r.xml", read = function()
        at = at + step
        local piece = bytes:sub(at - step, at - 1)
        return piece ~= "" and piece or nil
      end })
      assert.are.equal(summary.complete, other.complete, where)
      assert.are.equal(#cases, #again, where)
    end
  end)
end)
