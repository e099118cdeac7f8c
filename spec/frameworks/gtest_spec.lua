--- Whole runs over real GoogleTest programs (examples/gtest), and over programs that only look like some.

local cjson = require("cjson.safe")
local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

local CONFIG = [[
local gtest = require "frameworks.gtest"
return { max_parallel = 2, test_timeout = "%s", grace = "1s", retries = %d, framework = gtest { %s } }
]]

local function needs_gtest()
  if not example.has("cmake", "g++") or not require("luv").fs_stat("/usr/include/gtest/gtest.h") then
    pending("GoogleTest, CMake or a C++ compiler is missing")
    return false
  end
  return true
end

--- How GoogleTest itself reports a test that has a process to itself; nil while the test hangs.
local function reported(dir, id, env)
  local program, name = id:match("^(.-)::(.*)$")
  local json = dir .. "/report.json"
  project.remove(json)
  local result
  local ended = task.deadline(1, function()
    result = process.run({
      dir .. "/build/" .. program, "--gtest_filter=" .. name:gsub("[:%-%*]", "?"), "--gtest_output=json:" .. json,
    }, { cwd = dir, env = env })
  end)
  if not ended then return "timed_out" end
  if result.signal ~= 0 then return "crashed" end
  local report = cjson.decode(project.read(json) or "")
  if not report then return "failed" end -- it ended before it could write
  local test = report.testsuites[1].testsuite[1]
  if test.failures then return "failed" end
  return test.result == "COMPLETED" and "passed" or "skipped" -- also SUPPRESSED: disabled
end

--- A program that only looks like one of GoogleTest's: `list` is what it does when it is asked, `run` otherwise.
local function fake(list, run)
  return ("#!/bin/sh\ncase \"$*\" in *--gtest_list_tests*)\n%s\n;; *)\n%s\n;; esac\n"):format(list, run or "exit 9")
end

local function new(programs, options, retries)
  local files = { ["runner.lua"] = CONFIG:format("20s", retries or 0, options or 'binaries = { "bin/*_test" }') }
  for name, text in pairs(programs) do files["bin/" .. name] = text end
  local dir = project.new(files)
  for name in pairs(programs) do assert.are.equal(0, process.run({ "chmod", "+x", dir .. "/bin/" .. name }).code) end
  return dir
end

local function run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return result, result.stdout .. result.stderr
end

local ONE = "printf 'S.\\n  A\\n  B\\n'"

--- Shell that runs the tests of a filter one by one; `each` is what happens in a test.
local function runs(each)
  return [[for flag; do case $flag in --gtest_filter=*) filter=${flag#*=};; esac; done
IFS=:; for name in $filter; do echo "[ RUN      ] $name"; ]] .. each .. [[; echo "[       OK ] $name (0 ms)"; done]]
end

describe("frameworks.gtest", function()
  after_each(project.remove_all)

  it("ends every test of the example as GoogleTest itself reports it, in batches and alone", async(function()
    if not needs_gtest() then return end
    local dir = example.copy("gtest")
    local expected = example.expected("gtest")
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
    assert.are.same({}, finished.events(dir, "problem"))

    for id, state in pairs(expected) do
      local attempt = finished.find(dir, "attempt_finished", { id = id })
      local alone = reported(dir, id, { RUNNER_ATTEMPT = "1" })
      assert.are.equal(alone, attempt and attempt.status or state, id)
      if state == "flaky" then assert.are.equal("passed", reported(dir, id, { RUNNER_ATTEMPT = "2" })) end
    end

    -- What each printed is its own, whole and in order, without GoogleTest's lines.
    local function output(name) return finished.output(dir, name) end
    assert.are.equal("last words", output("outcome_test::Outcome.Crashes"))
    assert.matches("^before the failure.-outcome_test.cc:16: Failure\n.*Expected: true\n$",
      output("outcome_test::Outcome.Fails"))
    assert.matches("of the first\n$", output("outcome_test::Shared.First"))
    assert.matches("of the second\n$", output("outcome_test::Shared.Second"))
    assert.are.equal("caf\xe9 \0 \xff\xfe \27[31mred\0", output("name_test::Output.OddBytes"))
    assert.matches("[ RUN      ] Prefix.Is\n[  PASSED  ] 1 test.\n[", output("name_test::Output.LooksLikeAResult"),
      1, true)
    local much = output("name_test::Output.Much")
    assert.are.equal(20000, select(2, much:gsub("line %d+ of many %[ with brackets %]\n", "")))
    assert.are.equal("", (much:gsub("line %d+ of many %[ with brackets %]\n", "")))

    local function attempt(name) return finished.find(dir, "attempt_finished", { id = name }) end
    assert.matches("^tests/outcome_test.cc:16: Expected equality", attempt("outcome_test::Outcome.Fails").message)
    assert.are.equal("needs a network", attempt("outcome_test::Outcome.IsSkipped").reason)
    assert.are.equal("the test ended the program: exit status 3",
      attempt("outcome_test::Outcome.EndsTheProgram").message)
    local test = finished.find(dir, "test", { id = "name_test::Plain/Word.IsShort/1" })
    assert.are.equal('Plain/Word.IsShort/1 (GetParam() = "two words")', test.name)
    assert.are.equal("tests/name_test.cc", test.file)
    assert.are.equal("Typed/0.IsEmpty (TypeParam = int)",
      finished.find(dir, "test", { id = "name_test::Typed/0.IsEmpty" }).name)

    project.write(dir, { ["alone.lua"] = CONFIG:format("3s", 1, 'binaries = { "build/*_test" }, isolation = "test"') })
    result, text = run(dir, "alone.lua")
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
    assert.is_true(finished.find(dir, "attempt_finished", { id = "name_test::Prefix.Is" }).memory > 0)

    project.write(dir, { ["disabled.lua"] = CONFIG:format("3s", 0, 'binaries = { "build/*_test" }, disabled = true') })
    run(dir, "disabled.lua", "IsDisabled", "Passes")
    assert.are.same({ failed = 1, passed = 1 }, finished.counts(dir))
  end))

  it("tells what fails around tests, and blames nobody for it", async(function()
    if not needs_gtest() then return end
    local dir = project.new({ ["a.cc"] = [[
#include <gtest/gtest.h>
#include <cstdlib>
struct Teardown : testing::Test { static void TearDownTestSuite() { if (getenv("ABORT")) abort(); FAIL() << "left"; } };
TEST_F(Teardown, One) {}
struct Setup : testing::Test { static void SetUpTestSuite() { if (getenv("ABORT")) abort(); } };
TEST_F(Setup, One) {}
TEST_F(Setup, Two) {}
TEST(Other, One) {}
]], ["runner.lua"] = CONFIG:format("20s", 0, 'binaries = { "a" }, build_command = '
      .. '"g++ -O0 a.cc -o a -lgtest -lgtest_main -lpthread"') })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ passed = 4 }, finished.counts(dir))
    local problem = finished.find(dir, "problem")
    assert.are.equal("a failed outside of its tests: exit status 1", problem.message)
    assert.matches("a.cc:3: Failure\nFailed\nleft", problem.text, 1, true)

    result, text = run(dir, "--env", "ABORT=1")
    assert.are.equal(1, result.code, text)
    assert.are.same({
      ["a::Teardown.One"] = "passed", ["a::Setup.One"] = "crashed", ["a::Setup.Two"] = "crashed",
      ["a::Other.One"] = "passed",
    }, finished.states(dir), text)
    assert.are.equal("a failed outside of its tests: ended by SIGABRT", finished.find(dir, "problem").message)

    project.write(dir, { ["runner.lua"] = CONFIG:format("20s", 0, 'binaries = { "a" }, isolation = "test"') })
    run(dir)
    assert.are.same({
      ["a::Teardown.One"] = "failed", ["a::Setup.One"] = "passed", ["a::Setup.Two"] = "passed",
      ["a::Other.One"] = "passed",
    }, finished.states(dir), text)
    assert.are.equal("the test passed, but then its process ended badly: exit status 1",
      finished.find(dir, "attempt_finished", { id = "a::Teardown.One" }).message)
  end))

  it("shows a build that fails whole, exits 1 and runs nothing", async(function()
    local dir = new({ ["a_test"] = fake(ONE) },
      [[binaries = { "bin/*" }, build_command = "seq 3000; echo a.cc:1: oops >&2; exit 2"]], 3)
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    local problem = finished.find(dir, "problem")
    assert.are.same({ "collection", "build_command failed: exit status 2" }, { problem.kind, problem.message })
    assert.matches("^1\n2\n.*\n3000\na.cc:1: oops\n$", problem.text)
    assert.are.same({}, finished.states(dir))
  end))

  it("says which programs list nothing useful, and runs the others", async(function()
    local dir = new({
      good_test = fake(ONE, runs("echo ran $name")),
      garbage_test = fake("echo 'usage: garbage [-h]'; head -c 1000 /dev/urandom"),
      failing_test = fake("echo cannot start >&2; exit 3"),
      dying_test = fake("kill -SEGV $$"),
      silent_test = fake(":"),
      hanging_test = fake("exec sleep 60"),
      loud_test = fake("head -c 100000000 /dev/zero | tr '\\0' x"),
      twice_test = fake("printf 'S.\\n  A\\n  A\\n'"),
    }, 'binaries = { "bin/*_test" }, list_timeout = "1s"')
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ ["good_test::S.A"] = "passed", ["good_test::S.B"] = "passed" }, finished.states(dir))
    local messages = {}
    for _, problem in ipairs(finished.events(dir, "problem")) do
      assert.are.equal("collection", problem.kind)
      messages[#messages + 1] = problem.message
      if problem.message:find("failing") then assert.are.equal("cannot start\n", problem.text) end
    end
    table.sort(messages)
    assert.are.same({
      "bin/dying_test --gtest_list_tests failed: exit status 139",
      "bin/failing_test --gtest_list_tests failed: exit status 3",
      "bin/garbage_test --gtest_list_tests printed no list of tests",
      "bin/hanging_test --gtest_list_tests did not answer within 1 s",
      "bin/loud_test --gtest_list_tests printed more than 64 MiB",
      "bin/silent_test --gtest_list_tests printed no list of tests",
      "bin/twice_test has 2 tests named S.A: GoogleTest cannot run one of them alone",
    }, messages, text)
  end))

  it("refuses globs that match no program", async(function()
    local dir = new({ ["a_test"] = fake(ONE) }, [[binaries = { "bin/*_test", "bin/**/missing*" }]])
    local result, text = run(dir)
    assert.are.equal(78, result.code, text)
    assert.matches('no program matches "bin/**/missing*"', text, 1, true)
    dir = new({ ["a_test"] = fake(ONE) }, [[binaries = { "build/*" }]])
    result, text = run(dir)
    assert.are.equal(78, result.code, text)
    assert.matches('no program matches "build/*"', text, 1, true)
  end))

  it("tells programs of one name apart by as much of their paths as it takes", async(function()
    local program = fake(ONE, runs("pwd"))
    local dir = new({ ["a/x_test"] = program, ["b/x_test"] = program, ["y_test"] = program, ["z_test.txt"] = "no" },
      'binaries = { "./bin//**/*_test", "bin/y_tes[s-u]" }, working_dir = "{dir}"')
    local result, text = run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({
      ["a/x_test::S.A"] = "passed", ["a/x_test::S.B"] = "passed", ["b/x_test::S.A"] = "passed",
      ["b/x_test::S.B"] = "passed", ["y_test::S.A"] = "passed", ["y_test::S.B"] = "passed",
    }, finished.states(dir))
    assert.are.equal(dir .. "/bin/b\n", finished.output(dir, "b/x_test::S.A"))
  end))

  it("gives programs their arguments and environment, and none of GoogleTest's variables", async(function()
    local dir = new({ ["-a_test"] = fake(ONE, "echo \"$1 $2 $3 $COLOUR ${GTEST_REPEAT-unset}\" >> seen; "
      .. runs(":")) }, 'binaries = { "bin/-a_test" }, args = { "--own", "a b" }, env = { COLOUR = "red" }')
    local result, text = run(dir, "--env", "GTEST_REPEAT=2")
    assert.are.equal(0, result.code, text)
    for line in project.read(dir .. "/seen"):gmatch("[^\n]+") do
      assert.matches("^%-%-own a b %-%-gtest_filter=[S.AB:]+ red unset$", line)
    end
  end))

  it("runs a test of which the program said nothing once more, alone, and then fails it", async(function()
    local dir = new({ a_test = fake("printf 'S.\\n  A\\n  B\\n  C\\n'",
      "echo \"$*\" >> seen; case \"$*\" in *S.B*) exit 0;; esac; " .. runs(":")) })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ ["a_test::S.A"] = "passed", ["a_test::S.B"] = "failed", ["a_test::S.C"] = "passed" },
      finished.states(dir))
    assert.matches("did not run this test",
      finished.find(dir, "attempt_finished", { id = "a_test::S.B" }).message)
  end))

  it("runs hundreds of tests in few processes, crashes among them, to one state each", async(function()
    local names = {}
    for i = 1, 300 do names[i] = "  T" .. i end
    local dir = new({ a_test = fake("printf 'S.\\n" .. table.concat(names, "\\n") .. "\\n'",
      "echo started >> seen; " .. runs("case $name in *00) kill -9 $$;; esac")) })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    local states = finished.states(dir)
    for i = 1, 300 do assert.are.equal(i % 100 == 0 and "crashed" or "passed", states["a_test::S.T" .. i]) end
    assert.is_true(select(2, project.read(dir .. "/seen"):gsub("\n", "")) < 60)
  end))
end)
