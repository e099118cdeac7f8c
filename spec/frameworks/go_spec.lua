--- Whole runs over real Go packages: examples/go, and small ones for what may go wrong.

local cjson = require("cjson.safe")
local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local go = require("spec.support.go")
local process = require("runner.io.process")
local project = require("spec.support.project")

local GO, CONFIG, is_framed, run = go.GO, go.CONFIG, go.is_framed, go.run

--- What `go test -json` says of a test that has a process to itself (its binary and test2json are its two halves), and
--- of its subtests; "hangs" when it does not end.
local function reported(binary, folder, name, env)
  -- The time limit is for all of its processes.
  local argv = {
    "timeout", "4", GO, "tool", "test2json", binary, "-test.v=" .. (is_framed() and "test2json" or "true"),
    "-test.paniconexit0", "-test.run=^" .. name .. "$",
  }
  local result = process.run(argv, { cwd = folder, env = env })
  if result.code == 124 then return "hangs", {} end
  local status, subtests = "fail", {} -- nothing is said of a test that ends its process
  for line in result.stdout:gmatch("[^\n]+") do
    local event = assert(cjson.decode(line))
    local action = event.Action
    if action == "pass" or action == "fail" or action == "skip" then
      if event.Test == name then status = action end
      if event.Test and event.Test:find("/", 1, true) then
        subtests[#subtests + 1] = action:upper() .. " " .. event.Test
      end
    end
  end
  table.sort(subtests)
  return status, subtests
end

local GO_STATUS = {
  passed = "pass", failed = "fail", crashed = "fail", skipped = "skip", timed_out = "hangs",
}

--- Every test that `go test -list` lists, apart from benchmarks, as an id.
local function listed(dir)
  local ids, names = {}, {}
  local text = process.run({ GO, "test", "-list", ".", "./..." }, { cwd = dir }).stdout
  for line in text:gmatch("[^\n]+") do
    local package = line:match("^ok%s+(%S+)")
    if package then
      for _, name in ipairs(names) do ids[package .. "." .. name] = true end
      names = {}
    elseif not line:find("^Benchmark") and not line:find("[ \t]") and line ~= "TestNothing" then
      names[#names + 1] = line
    end
  end
  return ids
end

describe("frameworks.go", function()
  after_each(project.remove_all)

  it("ends every test of the example as go test -json reports it, in batches and alone", async(function()
    if not go.is_here() then return end
    local dir = example.copy("go")
    project.write(dir, { ["runner.lua"] = CONFIG:format("3s", 1, GO, "") })
    local expected = example.expected("go")
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
    assert.are.same({}, finished.events(dir, "problem"))

    local ids = listed(dir)
    for id in pairs(expected) do assert.is_true(ids[id], id) end
    for id in pairs(ids) do assert.is_string(expected[id], id) end

    local binaries = {}
    for id, state in pairs(expected) do
      local package, name = id:match("^example.com/shop/(.*)%.([^.]+)$")
      local folder = dir .. "/" .. package
      if not binaries[package] then
        binaries[package] = dir .. "/" .. package:gsub("/", "-") .. ".test"
        local built = process.run({ GO, "test", "-c", "-o", binaries[package], "./" .. package }, { cwd = dir })
        assert.are.equal(0, built.code, built.stderr)
      end
      local attempt = finished.find(dir, "attempt_finished", { id = id })
      local status, subtests = reported(binaries[package], folder, name, { RUNNER_ATTEMPT = "1" })
      if (name == "TestLooksLikeAResult" or name == "TestOddBytes") and not is_framed() then status = "pass" end
      assert.are.equal(status, GO_STATUS[attempt.status], id)
      local told = {}
      for line in (attempt.sections and attempt.sections[1][2] or ""):gmatch("[^\n]+") do told[#told + 1] = line end
      table.sort(told)
      assert.are.same(subtests, told, id)
      if state == "flaky" then
        assert.are.equal("pass", (reported(binaries[package], folder, name, { RUNNER_ATTEMPT = "2" })))
      end
    end

    local function output(name) return finished.output(dir, "example.com/shop/" .. name) end
    assert.are.equal("said by the test that passes\n", output("outcome.TestPasses"))
    assert.matches("^before the failure    outcome_test.go:%d+: got 4,\n        want 5\n$", output("outcome.TestFails"))
    assert.are.equal("caf\xe9 \0 \xff\xfe \27[31mred", output("names.TestOddBytes"))
    assert.are.equal("=== RUN   TestReverse\n--- FAIL: TestReverse (0.00s)\nPASS\nok  \texample.com/shop/names\t0.001s",
      output("names.TestLooksLikeAResult"))
    local _, lines = output("names.TestMuch"):gsub("line %d+ of many %-%-%- with dashes === and such\n", "")
    assert.are.equal(20000, lines)
    assert.matches("SIGQUIT.*outcome.sleepForever", output("outcome.TestHangs"))
    local function message(name)
      return finished.find(dir, "attempt_finished", { id = "example.com/shop/" .. name }).message
    end
    assert.matches("^outcome_test.go:%d+: got 4,\nwant 5$", message("outcome.TestFails"))
    assert.matches("^panic: out of stock", message("outcome.TestPanics"))
    assert.are.equal("panic: out of sight", message("outcome.TestPanicsInAGoroutine"))
    assert.matches("^TestSubtestsFail/outer/bad: names_test.go:%d+: this one is to blame$",
      message("names.TestSubtestsFail"))
    assert.are.equal("got:\ncba\nwant:\nabc", message("names.ExampleReverse_wrong"))
    assert.matches("all goroutines are asleep", message("outcome.TestDeadlocks"))
    local test = finished.find(dir, "test", { id = "example.com/shop/names.TestReverse" })
    assert.are.same({ "names/names_test.go", 14, "TestReverse" }, { test.file, test.line, test.name })

    project.write(dir, { ["alone.lua"] = CONFIG:format("3s", 1, GO, 'isolation = "test"') })
    result, text = run(dir, "alone.lua")
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
  end))

  it("shows whole what does not build or is refused by vet, once, and runs the rest", async(function()
    if not go.is_here() then return end
    local dir = go.project({
      ["broken/broken.go"] = "package broken\n\nvar X int = \"no number\"\n",
      ["broken/broken_test.go"] = "package broken\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) {}\n",
      ["user/user_test.go"] = "package user\n\nimport (\n\t\"testing\"\n\n\t_ \"example.com/m/broken\"\n)\n\n"
        .. "func TestB(t *testing.T) {}\n",
      ["vetted/vetted_test.go"] = "package vetted\n\nimport (\n\t\"fmt\"\n\t\"testing\"\n)\n\n"
        .. "func TestC(t *testing.T) { fmt.Printf(\"%d\\n\", \"text\") }\n",
      ["syntax/syntax_test.go"] = "package syntax\n\nfunc TestD(t *testing.T) {\n",
      ["good/good_test.go"] = "package good\n\nimport \"testing\"\n\nfunc TestE(t *testing.T) {}\n",
    }, nil, { retries = 2 })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ ["example.com/m/good.TestE"] = "passed" }, finished.states(dir))
    local said = {}
    for _, problem in ipairs(finished.events(dir, "problem")) do
      assert.are.equal("collection", problem.kind)
      said[#said + 1] = problem.message .. "\n" .. problem.text
    end
    said = table.concat(said, "\n")
    for _, words in ipairs({ "broken/broken.go:3:13: ", "Printf format %d", "syntax/syntax_test.go:", "m/user" }) do
      assert.matches(words, said, 1, true)
      assert.matches(words, text, 1, true)
    end
    -- Not once for everybody who needs it; before Go 1.24 go itself says it twice.
    assert.is_true(select(2, said:gsub("broken.go:3:13", "")) <= 2)
  end))

  it("fails with the reason where nothing can be built at all", async(function()
    if not go.is_here() then return end
    local dir = project.new({ ["runner.lua"] = CONFIG:format("9s", 0, GO, "") })
    local result, text = run(dir)
    assert.is_true(result.code == 1 or result.code == 78, text) -- Go itself says it in two ways
    assert.matches("main module", text)

    result, text = run(go.project({ ["nothing/notes.txt"] = "" }, 'packages = { "./nothing/..." }'))
    assert.are.equal(78, result.code, text)
    assert.matches("no packages to test", text)

    result, text = run(go.project({}, 'flags = { "-count=3" }'))
    assert.are.equal(78, result.code, text)
    assert.matches("-count is not for here", text, 1, true)

    dir = go.project({})
    project.write(dir, { ["runner.lua"] = CONFIG:format("9s", 0, "/nonexistent/go", "") })
    result, text = run(dir)
    assert.are.equal(78, result.code, text)
    assert.matches("/nonexistent/go", text, 1, true)
  end))

  it("passes tags, -short, flags, arguments and environment on", async(function()
    if not go.is_here() then return end
    local dir = go.project({
      ["a_test.go"] = [[
package a

import (
	"flag"
	"os"
	"testing"
)

var own = flag.String("own", "", "")

func TestAll(t *testing.T) {
	if !testing.Short() || *own != "a b" || os.Getenv("COLOUR") != "red" {
		t.Fatal(testing.Short(), *own, os.Getenv("COLOUR"))
	}
	if dir, _ := os.Getwd(); os.Getenv("PWD") != dir {
		t.Fatal(dir, os.Getenv("PWD"))
	}
}
]],
      ["tagged_test.go"] = "//go:build special && extra\n\npackage a\n\nimport \"testing\"\n\n"
        .. "func TestTagged(t *testing.T) {}\n",
      ["vet_test.go"] = "package a\n\nimport (\n\t\"fmt\"\n\t\"testing\"\n)\n\n"
        .. "func TestUnvetted(t *testing.T) { fmt.Printf(\"%d\\n\", \"text\") }\n",
    }, 'tags = { "special", "extra" }, short = true, flags = { "-vet=off" }, args = { "-own", "a b" }, '
      .. 'env = { COLOUR = "red" }')
    local result, text = run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({
      ["example.com/m.TestAll"] = "passed", ["example.com/m.TestTagged"] = "passed",
      ["example.com/m.TestUnvetted"] = "passed",
    }, finished.states(dir))
  end))

  it("attributes the reports of the race detector to the test that raced", async(function()
    if not go.is_here() or not example.has("gcc") then return end
    local dir = go.project({ ["a_test.go"] = [[
package a

import (
	"sync"
	"testing"
)

func TestCalm(t *testing.T) {}

func TestRaces(t *testing.T) {
	var wait sync.WaitGroup
	n := 0
	for i := 0; i < 2; i++ {
		wait.Add(1)
		go func() { n++; wait.Done() }()
	}
	wait.Wait()
}

func TestCalmToo(t *testing.T) {}
]] }, "race = true")
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({
      ["example.com/m.TestCalm"] = "passed", ["example.com/m.TestRaces"] = "failed",
      ["example.com/m.TestCalmToo"] = "passed",
    }, finished.states(dir))
    assert.matches("WARNING: DATA RACE.*TestRaces", finished.output(dir, "example.com/m.TestRaces"))
    assert.matches("race detected", finished.find(dir, "attempt_finished", { status = "failed" }).message)
  end))

  it("does not let a process that fails after its tests pass for one that passed", async(function()
    if not go.is_here() then return end
    local dir = go.project({ ["a_test.go"] = [[
package a

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	m.Run()
	if flag.Lookup("test.list").Value.String() == "" {
		fmt.Println("a goroutine is left")
		os.Exit(7)
	}
}

func TestA(t *testing.T) {}
]] })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ ["example.com/m.TestA"] = "passed" }, finished.states(dir))
    local problem = finished.find(dir, "problem")
    assert.are.equal("example.com/m failed outside of its tests: exit status 7", problem.message)
    assert.are.equal("a goroutine is left\n", problem.text)

    project.write(dir, { ["runner.lua"] = CONFIG:format("9s", 0, GO, 'isolation = "test"') })
    run(dir)
    assert.are.same({ ["example.com/m.TestA"] = "failed" }, finished.states(dir))
  end))

  it("gives a parallel test its own time, whatever the others do meanwhile", async(function()
    if not go.is_here() then return end
    local dir = go.project({ ["a_test.go"] = [[
package m

import ("fmt"; "testing"; "time")

func TestHangs(t *testing.T) { t.Parallel(); time.Sleep(time.Hour) }
]] .. ("func TestN%d(t *testing.T) { t.Parallel(); time.Sleep(400 * time.Millisecond); fmt.Println() }\n")
        :rep(60):gsub("N%%d", (function()
          local n = 0
          return function()
            n = n + 1
            return "N" .. n
          end
        end)()) }, "flags = { '-parallel=2' }", { test_timeout = "2s" })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    local hanging = finished.find(dir, "attempt_finished", { status = "timed_out" })
    assert.matches("TestHangs", hanging.id)
    assert.is_true(hanging.duration < 5, text) -- the others of its batch take longer
  end))

  it("lets parallel tests meet, and does not forget an end that nobody can be blamed for", async(function()
    if not go.is_here() then return end
    local dir = go.project({ ["a_test.go"] = [[
package a

import (
	"os"
	"sync"
	"testing"
)

var meeting sync.WaitGroup

func init() { meeting.Add(2) }

// Both end the process, but only when they run at once.
func meet(t *testing.T) {
	t.Parallel()
	if os.Getenv("RUNNER_TEST_ID") != "" {
		return
	}
	meeting.Done()
	meeting.Wait()
	os.Exit(5)
}

func TestOne(t *testing.T)   { meet(t) }
func TestOther(t *testing.T) { meet(t) }
func TestA(t *testing.T)     {}
func TestB(t *testing.T)     {}
func TestC(t *testing.T)     {}
func TestD(t *testing.T)     {}
]] })
    -- The first hand-out holds both.
    project.write(dir, { ["runner.lua"] = "local go = require 'frameworks.go' return { max_parallel = 1, "
      .. "framework = go { go = '" .. GO .. "', flags = { '-parallel=2' } } }" })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ passed = 6 }, finished.counts(dir))
    local message = finished.find(dir, "problem").message
    assert.matches("^example.com/m ended while Test%u%l+, Test%u%l+ ran at once, and each of them passes alone: "
      .. "exit status 5$", message)
  end))

  it("says how to mend it where Go is missing", async(function()
    local dir = project.new({ ["runner.lua"] = CONFIG:format("30s", 0, "no-such-go", "") })
    local result, text = run(dir)
    assert.are.equal(78, result.code, text)
    assert.matches("cannot run no%-such%-go %(.*No such file.*%): install Go, or set go = ", text)
  end))
end)
