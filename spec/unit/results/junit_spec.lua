local cjson = require("cjson")
local async = require("spec.support.async")
local junit = require("runner.results.junit")
local process = require("runner.io.process")
local project = require("spec.support.project")

-- An independent reader: the whole document as JSON, { tag, attributes, text, children }.
local reader = [[
import json, sys, xml.etree.ElementTree as tree
def show(e):
    return {"tag": e.tag, "at": e.attrib, "text": e.text or "", "children": [show(c) for c in e]}
print(json.dumps(show(tree.parse(sys.argv[1]).getroot())))
]]

local function parse(path)
  local result = process.run({ "python3", "-c", reader, path }, {})
  assert(result.code == 0, result.stderr)
  return cjson.decode(result.stdout)
end

-- What Surefire's schema allows in a testcase, in this order.
local order = { failure = 1, rerunFailure = 2, flakyFailure = 3, skipped = 4, error = 5,
  ["system-out"] = 6,
  ["system-err"] = 7 }

local function check_schema(root)
  local sums = {}
  for _, suite in ipairs(root.children) do
    assert.are.equal("testsuite", suite.tag)
    local counts = { tests = #suite.children, failures = 0, errors = 0, skipped = 0 }
    assert.is_true(#suite.children > 0)
    for _, case in ipairs(suite.children) do
      assert.are.equal("testcase", case.tag)
      assert.is_truthy(case.at.name and case.at.classname and case.at.time:find("^%d+%.%d%d%d$"))
      local last, has = 0, {}
      for _, child in ipairs(case.children) do
        local place = assert(order[child.tag], child.tag)
        assert.is_true(place >= last, "order of " .. child.tag)
        last, has[child.tag] = place, true
        if child.tag == "rerunFailure" or child.tag == "flakyFailure" then
          assert.are.equal("stackTrace", child.children[1].tag)
          assert.is_truthy(child.at.type)
        end
      end
      assert.is_false((has.failure or has.rerunFailure)
        and (has.error or has.skipped or has.flakyFailure) or false)
      if has.failure then counts.failures = counts.failures + 1 end
      if has.error then counts.errors = counts.errors + 1 end
      if has.skipped then counts.skipped = counts.skipped + 1 end
    end
    for name, count in pairs(counts) do
      assert.are.equal(tostring(count), suite.at[name], name)
      sums[name] = (sums[name] or 0) + count
    end
  end
  for name, count in pairs(sums) do assert.are.equal(tostring(count), root.at[name], name) end
end

local function find(root, name)
  for _, suite in ipairs(root.children) do
    for _, case in ipairs(suite.children) do
      if case.at.name == name then return case, suite end
    end
  end
end

local function child(element, tag, nth)
  for _, c in ipairs(element.children) do
    if c.tag == tag then
      nth = (nth or 1) - 1
      if nth == 0 then return c end
    end
  end
end

describe("junit report", function()
  local path, report

  before_each(function()
    path = project.new() .. "/junit.xml"
    report = junit.new { path = path }
    report:event({ event = "run_started", time = 1767225600 })
  end)

  after_each(project.remove_all)

  local function test(id, fields)
    local event = { event = "test", id = id, group = "unit", framework = "pytest", name = id }
    for key, value in pairs(fields or {}) do event[key] = value end
    report:event(event)
  end

  local function attempt(id, number, status, fields)
    local event = { event = "attempt_finished", id = id, attempt = number, status = status,
      duration = 0.5,
      started = 1767225600 + number }
    for key, value in pairs(fields or {}) do event[key] = value end
    report:event(event)
  end

  local function finish(id, status, fields)
    local event = { event = "test_finished", id = id, status = status, attempts = 1,
      duration = 0.5 }
    for key, value in pairs(fields or {}) do event[key] = value end
    report:event(event)
  end

  local function close()
    report:event({ event = "run_finished", duration = 1.5, exit_code = 1 })
    report:close()
    local root = parse(path)
    check_schema(root)
    return root
  end

  it("gives each test one testcase with classname, name, file, line and time", async(function()
    test("tests/a/test_x.py::TestA::test_y[a::b]", {
      name = "tests/a/test_x.py::TestA::test_y[a::b]", file = "tests/a/test_x.py", line = 12,
    })
    test("plain", { file = "tests/a/test_x.py", name = "TestB::test_z" })
    test("no file", { framework = "command", group = "shell" })
    attempt("plain", 1, "passed")
    for _, id in ipairs({ "tests/a/test_x.py::TestA::test_y[a::b]", "plain",
      "no file" }) do finish(id, "passed") end
    local root = close()
    assert.are.equal("testsuites", root.tag)
    assert.are.equal("1.500", root.at.time)
    assert.are.equal("2026-01-01T00:00:00Z", root.at.timestamp)
    assert.are.equal(2, #root.children)
    local case, suite = find(root, "test_y[a::b]")
    assert.are.same({ name = "test_y[a::b]", classname = "tests.a.test_x.TestA",
      file = "tests/a/test_x.py",
      line = "12", time = "0.500" }, case.at)
    assert.are.equal("tests/a/test_x.py", suite.at.name)
    assert.are.equal("1.000", suite.at.time)
    assert.are.equal("tests.a.test_x.TestB", find(root, "test_z").at.classname)
    assert.are.equal("2026-01-01T00:00:01Z", find(root, "test_z").at.timestamp)
    assert.are.equal("shell", select(2, find(root, "no file")).at.name)
  end))

  it("tells a test that passed in the end by a flakyFailure for each failure", async(function()
    test("t")
    attempt("t", 1, "failed",
      { message = "m1", type = "E1", trace = "trace1", stdout = { head = "out1" }, retry = true })
    attempt("t", 2, "timed_out", { message = "m2", retry = true })
    attempt("t", 3, "passed", { stdout = { head = "not told" } })
    finish("t", "flaky", { attempts = 3 })
    local root = close()
    assert.are.equal("0", root.at.failures)
    assert.are.equal("1", root.children[1].at.flakes)
    local case = find(root, "t")
    assert.are.equal(2, #case.children)
    local flaky = child(case, "flakyFailure")
    assert.are.same({ message = "m1", type = "E1", time = "0.500" }, flaky.at)
    assert.are.equal("trace1", child(flaky, "stackTrace").text)
    assert.are.equal("out1", child(flaky, "system-out").text)
    assert.are.equal("timeout", child(case, "flakyFailure", 2).at.type)
  end))

  it("tells a test that never passed by its first failure and reruns", async(function()
    test("t")
    attempt("t", 1, "failed", { message = "first", type = "AssertionError", trace = "trace <1>",
      stdout = { head = "head", tail = "tail", dropped = 9 }, stderr = { head = "err" },
        log = "logs/t.log", retry = true })
    attempt("t", 2, "lost", { retry = true })
    attempt("t", 3, "crashed", { signal = 11 })
    finish("t", "crashed", { attempts = 3 })
    local case = find(close(), "t")
    local failure = child(case, "failure")
    assert.are.same({ message = "first", type = "AssertionError" }, failure.at)
    assert.are.equal("trace <1>", failure.text)
    assert.are.equal("head\n[9 bytes left out; whole output: logs/t.log]\ntail",
      child(case, "system-out").text)
    assert.are.equal("err", child(case, "system-err").text)
    assert.are.same({ message = "ended by SIGSEGV", type = "crash", time = "0.500" },
      child(case, "rerunFailure").at)
    assert.are.equal(4, #case.children)
  end))

  it("tells a failure in quarantine as a skip, with all that was wrong in its output", async(function()
    test("t", { quarantine = "ticket 12" })
    attempt("t", 1, "failed", { message = "first", type = "E1", trace = "trace <1>",
      stdout = { head = "out1" }, retry = true })
    attempt("t", 2, "crashed", { signal = 11, stderr = { head = "err2" } })
    finish("t", "crashed", { attempts = 2, quarantine = "ticket 12" })
    test("bare")
    finish("bare", "failed", { quarantine = true })
    test("flaky")
    attempt("flaky", 1, "failed", { message = "m", retry = true })
    attempt("flaky", 2, "passed")
    finish("flaky", "flaky", { quarantine = "ticket 12" })
    local root = close()
    assert.are.same({ "0", "0", "2" }, { root.at.failures, root.at.errors, root.at.skipped })
    local case = find(root, "t")
    assert.are.same({ message = "quarantined: ticket 12: first", type = "quarantine" }, child(case, "skipped").at)
    assert.are.equal("--- E1 ---\ntrace <1>\n\n--- standard output ---\nout1\n--- crash ---\nended by SIGSEGV\n",
      child(case, "system-out").text)
    assert.are.equal("err2", child(case, "system-err").text)
    assert.are.equal(3, #case.children)
    assert.are.equal("quarantined", child(find(root, "bare"), "skipped").at.message)
    assert.are.equal(1, #find(root, "bare").children)
    assert.is_truthy(child(find(root, "flaky"), "flakyFailure"))
    assert.is_nil(child(find(root, "flaky"), "skipped"))
  end))

  it("tells an ignored test, which has no attempt", async(function()
    test("t")
    finish("t", "skipped", { attempts = 0, duration = 0, reason = "#[ignore]" })
    local root = close()
    assert.are.equal("1", root.at.skipped)
    assert.are.equal("#[ignore]", child(find(root, "t"), "skipped").at.message)
  end))

  it("tells skips, what did not run, and problems outside of tests", async(function()
    test("skipped")
    attempt("skipped", 1, "skipped", { reason = "no network" })
    finish("skipped", "skipped")
    test("xfail")
    attempt("xfail", 1, "skipped", { reason = "known", xfail = true })
    finish("xfail", "skipped", { reason = "known" })
    test("waiting")
    finish("waiting", "not_run", { reason = "interrupted" })
    test("stopped")
    attempt("stopped", 1, "cancelled")
    finish("stopped", "not_run", { reason = "stopped while running: interrupted" })
    test("tried")
    attempt("tried", 1, "failed", { message = "m" })
    finish("tried", "not_run")
    test("open")
    test("failed without an attempt")
    finish("failed without an attempt", "failed", { reason = "blamed" })
    report:event({ event = "problem", kind = "collection", id = "tests/test_bad.py",
      message = "ImportError", text = "trace" })
    report:event({ event = "problem", kind = "teardown", id = "skipped", message = "fixture" })
    report:event({ event = "problem", kind = "infrastructure", sandbox = "local-1",
      message = "lost" })
    report:event({ event = "problem", kind = "leak", message = "not an error" })
    local root = close()
    assert.are.equal("no network", child(find(root, "skipped"), "skipped").at.message)
    assert.are.equal("xfail", child(find(root, "xfail"), "skipped").at.type)
    assert.are.same({ type = "not run", message = "interrupted" },
      child(find(root, "waiting"), "error").at)
    assert.are.same({ type = "cancelled", message = "stopped while running: interrupted" },
      child(find(root, "stopped"), "error").at)
    assert.are.equal("error", find(root, "tried").children[1].tag)
    assert.are.equal(1, #find(root, "tried").children)
    assert.are.equal("error", find(root, "open").children[1].tag)
    assert.are.equal("blamed", child(find(root, "failed without an attempt"), "failure").at.message)
    local case, suite = find(root, "collection")
    assert.are.equal("tests/test_bad.py", suite.at.name)
    assert.are.equal("trace", child(case, "error").text)
    assert.is_truthy(find(root, "teardown of skipped"))
    assert.are.equal("local-1", select(2, find(root, "infrastructure")).at.name)
    assert.are.equal("7", root.at.errors)
  end))

  it("keeps tests of one name apart", async(function()
    for _, id in ipairs({ "a", "b", "c" }) do test(id, { name = "same", file = "x.py" }) end
    test("d", { name = "same (2)", file = "x.py" })
    local names = {}
    for _, case in ipairs(close().children[1].children) do names[case.at.name] = true end
    assert.are.same({ same = true, ["same (2)"] = true, ["same (3)"] = true,
      ["same (2) (2)"] = true }, names)
  end))

  it("stays well-formed on hostile names and output", async(function()
    local seed = tonumber(os.getenv("SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local function noise()
      local bytes = {}
      for i = 1, math.random(60) do
        bytes[i] = math.random(3) == 1
          and ("<>&\"']]>\27[31m\n\t\r\0"):sub(math.random(18)):sub(1, 4)
          or string.char(math.random(0, 255))
      end
      return table.concat(bytes)
    end
    local statuses = { "passed", "failed", "flaky", "skipped", "timed_out", "crashed", "not_run" }
    for i = 1, 200 do
      local id = noise() .. i
      test(id, { name = noise(), file = math.random(2) == 1 and noise() or nil,
        line = math.random(2) == 1 and "x" or 3 })
      for n = 1, math.random(3) do
        attempt(id, n, math.random(2) == 1 and "failed" or "crashed",
          { message = noise(), type = noise(), trace = noise(),
          stdout = { head = noise() }, stderr = { head = noise(), dropped = 3, tail = noise() },
            log = noise(),
          reason = noise() })
      end
      finish(id, statuses[math.random(#statuses)], { reason = noise() })
      report:event({ event = "problem", kind = "collection", id = noise(), message = noise(),
        text = noise() })
    end
    local ok, err = pcall(close)
    assert(ok, ("seed %d: %s"):format(seed, tostring(err)))
  end))

  it("takes what a careless plug-in reports", async(function()
    test("t", { line = 1e300 })
    attempt("t", 1, "failed",
      { message = 42, trace = { "a" }, type = true, sections = { { "log", "record" }, { 1 } } })
    finish("t", "failed", { duration = 0 / 0, reason = 3 })
    report:event({ event = "attempt_finished", id = "unknown", status = "failed" })
    report:event({ event = "test_finished", id = "unknown", status = "failed" })
    local case = find(close(), "t")
    assert.are.equal("42", child(case, "failure").at.message)
    assert.matches("--- log ---\nrecord", child(case, "system-out").text)
  end))

  it("holds the details of thousands of failures on disk", async(function()
    local big = ("x"):rep(8000)
    collectgarbage()
    local before = collectgarbage("count")
    for i = 1, 2000 do
      test("t" .. i)
      attempt("t" .. i, 1, "failed",
        { message = "m" .. i, trace = big, stdout = { head = big, tail = big } })
      finish("t" .. i, "failed")
    end
    collectgarbage()
    assert.is_true(collectgarbage("count") - before < 8000) -- 48 MB of details
    report:close()
    local result = process.run({ "python3", "-c", [[
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
last = root[0][-1]
print(root.get("failures"), len(last.find("system-out").text), last.find("failure").get("message"))
]], path }, {})
    assert.are.equal("2000 16000 m2000\n", result.stdout, result.stderr)
  end))

  it("writes beside its path and renames; a refusal keeps the older report", async(function()
    local file = assert(io.open(path, "wb"))
    file:write("older")
    file:close()
    test("t")
    assert(os.rename(path, path .. ".kept"))
    require("luv").fs_mkdir(path, 493) -- nothing can be renamed onto a folder
    local ok, message = pcall(report.close, report)
    assert.is_false(ok)
    assert.matches("cannot write .*junit.xml", message)
    assert.is_nil(io.open(path .. ".tmp"))
  end))

  it("says so when the disk is full", async(function()
    report.path = "/dev/full"
    local tmp = io.open
    io.open = function(_, mode) return tmp("/dev/full", mode) end -- luacheck: ignore 122
    test("t")
    local ok, message = pcall(report.close, report)
    io.open = tmp -- luacheck: ignore 122
    assert.is_false(ok)
    assert.matches("No space left", message)
  end))

  it("makes the folders above it", async(function()
    report.path = path:gsub("[^/]*$", "a/b/report.xml")
    path = report.path
    test("t")
    finish("t", "passed")
    assert.are.equal("1", close().at.tests)
  end))
end)
