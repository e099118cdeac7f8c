--- Whole runs over examples/cargo, compared with what cargo and cargo-nextest themselves report of it.

local async = require("spec.support.async")
local cargo = require("spec.support.cargo")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")

--- The example with other options for its group of tests, and without the doctests.
local function configure(dir, options, settings)
  project.write(dir, { ["runner.lua"] = ([[
    return {
      max_parallel = 2, test_timeout = "%s", retries = 1,
      framework = require "frameworks.cargo" { workspace = true, %s },
    }
  ]]):format(settings or "3s", options) })
end

--- What is expected without the doctests.
local function expected_tests()
  local expected = example.expected("cargo")
  for id in pairs(expected) do
    if id:find("::doc$", 1, true) then expected[id] = nil end
  end
  return expected
end

--- What `cargo test` says of one test when it is asked for that alone.
local function by_cargo(dir, id)
  local binary, name = id:match("^(.-)%$(.*)$")
  binary = binary or id
  local package, rest = binary:match("^(.-)::(.*)$")
  local kind, target = (rest or ""):match("^(%a+)/(.*)$")
  local select = rest and ("--%s=%s"):format(kind or "test", target or rest) or "--lib"
  local argv = { "timeout", "5", "cargo", "test", "--quiet", "--package=" .. (package or binary), select, "--" }
  for _, word in ipairs(name and { "--exact", "--", name } or {}) do argv[#argv + 1] = word end
  local result = process.run(argv, { cwd = dir })
  if result.code == 124 then return "timed_out" end
  if result.code == 0 then
    local nothing = name and (result.stdout:match("(%d+) passed") == "0" or not result.stdout:find("%S"))
    return nothing and "skipped" or "passed"
  end
  return result.stderr:find("(signal: ", 1, true) and "crashed" or "failed"
end

--- What `cargo test --doc` says of all doctests.
local function doctests_by_cargo(dir)
  local said = process.run({ "cargo", "test", "--workspace", "--doc" }, { cwd = dir }).stdout
  local states = {}
  for name, status in said:gmatch("\ntest ([^\n]-%)) ?[^\n]-%.%.%. (%a+)") do
    states["roman::doc$" .. name] = ({ ok = "passed", FAILED = "failed", ignored = "skipped" })[status]
  end
  return states
end

local NEXTEST = {
  PASS = "passed", FAIL = "failed", ABRT = "crashed", TMT = "timed_out", SKIP = "skipped",
  ["TRY 2 PASS"] = "flaky", ["TRY 2 FAIL"] = "failed", ["TRY 2 ABRT"] = "crashed", ["TRY 2 TMT"] = "timed_out",
}

--- What `cargo nextest run` says of all tests, in the last line about each.
local function by_nextest(dir)
  local said = process.run({
    "cargo", "nextest", "run", "--workspace", "--no-fail-fast", "--retries=1", "--color=never", "--run-ignored=default",
    "--show-progress=none", "--status-level=all", "--final-status-level=none", "--success-output=never",
    "--failure-output=never",
  }, { cwd = dir }).stderr
  local states = {}
  for line in said:gmatch("[^\n]+") do
    local words, binary, name = line:match("^ *(%u[%u%d ]-) %[.-%] (%S+) (.*)$")
    if NEXTEST[words] then states[binary .. "$" .. name] = NEXTEST[words] end
  end
  return states
end

describe("frameworks.cargo", function()
  local dir

  -- Compiled once for all of these; what a run leaves in test-results is the last one's.
  setup(async(function() if example.has("cargo", "cc") then dir = example.copy("cargo") end end))
  teardown(cargo.reset)

  it("ends every test of the example as expected, and as cargo itself reports it", async(function()
    cargo.need(pending)
    local expected = example.expected("cargo")
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
    assert.are.same({}, finished.events(dir, "problem"))

    local states = doctests_by_cargo(dir)
    for id in pairs(expected) do
      if not id:find("::doc$", 1, true) then states[id] = by_cargo(dir, id) end
    end
    states["roman$outcomes::is_flaky"] = "flaky" -- for cargo it is one that fails: it tries once
    assert.are.same(expected, states)
  end))

  it("says why a test failed, and keeps what each printed", async(function()
    cargo.need(pending)
    local function attempt(id) return finished.find(dir, "attempt_finished", { id = id }) end
    local failed = attempt("roman$outcomes::fails")
    assert.are.equal("panic", failed.type)
    assert.matches('^assertion `?.*left == right.*: nobody writes it like that; left: "IX"; right: "VIIII" '
      .. "%(roman/src/lib.rs:%d+:9%)$", failed.message)
    assert.matches("^thread 'outcomes::fails'", failed.trace)
    assert.are.equal(101, failed.exit_code)
    assert.are.equal('Error: "no Roman numeral: IIII"', attempt("roman$outcomes::fails_with_an_error").message)
    assert.matches("^test did not panic as expected", attempt("roman$outcomes::does_not_panic").message)
    assert.matches("^panic did not contain expected string", attempt("roman$outcomes::panics_with_other_words").message)
    assert.are.equal("ended by SIGABRT: thread 'outcomes::overflows_its_stack' has overflowed its stack",
      attempt("roman$outcomes::overflows_its_stack").message)
    assert.matches('assertion .*left: "V"; right: "IIIII"',
      attempt("roman::doc$roman/src/lib.rs - write (line 25)").message)
    assert.is_true(attempt("roman$tests::reads").memory > 0)

    assert.matches("latin-1: \xe9\xfc, NUL: \0, escape: \27[31m\n",
      finished.output(dir, "roman$outcomes::prints_odd_bytes"), 1, true)
    assert.are.equal("9: IX\n", finished.output(dir, "roman::table$-nine"))
    local test = finished.find(dir, "test", { id = "roman::example/clock$twelve_is_the_last" })
    assert.are.same({ "twelve_is_the_last", "roman/examples/clock.rs", { "example" } },
      { test.name, test.file, test.tags })
    test = finished.find(dir, "test", { id = "roman::doc$roman/src/lib.rs - write (line 11)" })
    assert.are.same({ "roman/src/lib.rs", 11 }, { test.file, test.line })
    assert.are.equal("roman::smoke has a harness of its own that lists no tests: the whole binary is one test",
      finished.find(dir, "log", { level = "warning" }).message)
  end))

  it("runs many tests in one process: crashes and time-outs are still one test's", async(function()
    cargo.need(pending)
    configure(dir, 'isolation = "binary"')
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(expected_tests(), finished.states(dir), text)
    local failed = finished.find(dir, "attempt_finished", { id = "roman$outcomes::fails" })
    assert.matches('left: "IX"; right: "VIIII" (roman/src/lib.rs:', failed.message, 1, true)
    assert.are.equal("latin-1: \xe9\xfc, NUL: \0, escape: \27[31m\n",
      finished.output(dir, "roman$outcomes::prints_odd_bytes"))
  end))

  it("runs ignored tests on top of the others", async(function()
    cargo.need(pending)
    for _, isolation in ipairs({ "process", "binary" }) do
      configure(dir, ('include_ignored = true, isolation = "%s"'):format(isolation), "20s")
      local result, text = cargo.run(dir, "all_numbers", "(row)", "tests::reads", "(line 19)")
      assert.are.equal(0, result.code, text)
      assert.are.same({
        ["roman$tests::all_numbers"] = "passed", ["roman::table$ignored (row)"] = "passed",
        ["roman$tests::reads"] = "passed",
      }, finished.states(dir), text)
    end
    configure(dir, "doc = true, include_ignored = true", "1m")
    local result, text = cargo.run(dir, "(line 19)", "(line 11)")
    assert.are.equal(1, result.code, text)
    assert.are.same({
      ["roman::doc$roman/src/lib.rs - write (line 11)"] = "passed",
      ["roman::doc$roman/src/lib.rs - write (line 19)"] = "failed",
    }, finished.states(dir), text)
  end))

  it("lets cargo-nextest run the tests, with the project's configuration for it", async(function()
    cargo.need_nextest(pending)
    local expected = expected_tests()
    expected["roman::smoke"] = nil -- nextest takes a harness that lists nothing for one without tests
    assert.are.same(expected, by_nextest(dir))

    configure(dir, 'via = "nextest"', "1m") -- it is nextest that stops the test that hangs
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
    local function attempt(id) return finished.find(dir, "attempt_finished", { id = id }) end
    assert.are.equal("stopped by nextest: its slow-timeout has passed", attempt("roman$outcomes::hangs").message)
    assert.are.equal("exit status 1", attempt("roman::table$wrong::row").message)
    assert.matches('left: "IX"; right: "VIIII"', attempt("roman$outcomes::fails").message, 1, true)
    assert.matches("11: XI\n", finished.output(dir, "roman::table$wrong::row"), 1, true)
    assert.matches("test tests::reads ... ok\n", finished.output(dir, "roman$tests::reads"), 1, true)

    -- Its own retries and test groups hold.
    project.write(dir, { [".config/nextest.toml"] = [==[
      [profile.default]
      retries = 2
      [test-groups]
      one = { max-threads = 1 }
      [[profile.default.overrides]]
      filter = "test(/e/)"
      test-group = "one"
      [profile.other]
      default-filter = "test(reads)"
    ]==] })
    project.write(dir, { ["runner.lua"] = [[
      return { max_parallel = 2, framework = require "frameworks.cargo" { workspace = true, via = "nextest" } }
    ]] })
    result, text = cargo.run(dir, "is_flaky", "tests::", "roman::table")
    assert.are.equal(1, result.code, text)
    assert.are.equal("flaky", finished.states(dir)["roman$outcomes::is_flaky"], text)
    assert.are.equal(1, finished.find(dir, "test_finished", { id = "roman$outcomes::is_flaky" }).attempts)

    configure(dir, 'via = "nextest", nextest_profile = "other"')
    result, text = cargo.run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({ passed = 1, skipped = 2 }, finished.counts(dir), text)
    assert.are.equal("passed", finished.states(dir)["roman$tests::reads"])
  end))
end)
