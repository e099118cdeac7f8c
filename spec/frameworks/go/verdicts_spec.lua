--- Verdicts on odd packages: what Go itself calls a failure is one here, and nobody else is blamed for it.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local go = require("spec.support.go")
local project = require("spec.support.project")

local TWO = "\nfunc TestFirst(t *testing.T) { t.Error(\"broken\") }\n\nfunc TestSecond(t *testing.T) {}\n"

--- A package with one file: its name, imports and body.
local function package(name, imports, body)
  return ("package %s\n\nimport (\n\t\"testing\"\n%s)\n\n%s"):format(name,
    imports:gsub("%S+", "\t%0\n"):gsub(" ", ""), body)
end

local function states(dir)
  local short = {}
  for id, state in pairs(finished.states(dir)) do short[id:gsub("^example.com/m/", "")] = state end
  return short
end

--- Runs in batches and alone; `expected` by isolation, or for both.
local function check(files, expected, code)
  for _, isolation in ipairs({ "batch", "test" }) do
    local dir = go.project(files, ("isolation = %q"):format(isolation))
    local result, text = go.run(dir)
    assert.are.same(expected[isolation] or expected, states(dir), isolation .. "\n" .. text)
    assert.are.equal(code, result.code, isolation .. "\n" .. text)
  end
end

describe("frameworks.go, verdicts on odd packages:", function()
  after_each(project.remove_all)

  it("a TestMain that prints without a line break, looks like a list, or writes to both streams", async(function()
    if not go.is_here() then return end
    local main = "func TestMain(m *testing.M) { fmt.Print(%s); os.Exit(m.Run()) }\n"
    check({
      ["a/a_test.go"] = package("a", '"fmt" "os"', main:format('"connecting... "') .. TWO),
      ["b/a_test.go"] = package("b", '"fmt" "os"', main:format('"TestThird\\nTestFourth\\nExampleOf"') .. TWO),
      ["c/a_test.go"] = package("c", '"os"',
        "func TestMain(m *testing.M) { print(\"Test\"); os.Exit(m.Run()) }\n" .. TWO),
    }, {
      ["a.TestFirst"] = "failed", ["a.TestSecond"] = "passed", ["b.TestFirst"] = "failed",
      ["b.TestSecond"] = "passed", ["c.TestFirst"] = "failed", ["c.TestSecond"] = "passed",
    }, 1)
  end))

  it("tests that no search of the source would find", async(function()
    if not go.is_here() then return end
    check({
      ["a/a_test.go"] = "package a; import \"testing\"; func TestFirst(t *testing.T) { t.Error() }; func \n"
        .. "TestSecond(t *testing.T) {}; /* and */ func TestThird(\n\tt *testing.T) { t.FailNow() }\n"
        .. "func/**/TestFourth(t *testing.T) {}\n",
      ["b/b_test.go"] = package("b", "", "// func TestGone(t *testing.T) {}\n\nconst _ = `\n"
        .. "func TestQuoted(t *testing.T) {}\n`\n\nfunc Test_(t *testing.T) {}\n"),
    }, {
      ["a.TestFirst"] = "failed", ["a.TestSecond"] = "passed", ["a.TestThird"] = "failed",
      ["a.TestFourth"] = "passed", ["b.Test_"] = "passed",
    }, 1)
  end))

  it("a TestMain that ends when no test is to run, or that runs them twice", async(function()
    if not go.is_here() then return end
    check({
      ["lists/a_test.go"] = package("lists", '"flag" "os"', [[
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		panic("no list")
	}
	os.Exit(m.Run())
}
]] .. TWO),
      ["twice/a_test.go"] = package("twice", '"os"', [[
var runs int

func TestMain(m *testing.M) {
	m.Run()
	runs++
	os.Exit(m.Run())
}

func TestOnce(t *testing.T) {
	if runs > 0 {
		t.Fatal("no second time")
	}
}

func TestTwice(t *testing.T) {}
]]),
    }, {
      batch = {
        ["lists.TestFirst"] = "failed", ["lists.TestSecond"] = "passed", ["twice.TestOnce"] = "passed",
        ["twice.TestTwice"] = "passed",
      },
      test = {
        ["lists.TestFirst"] = "failed", ["lists.TestSecond"] = "passed", ["twice.TestOnce"] = "failed",
        ["twice.TestTwice"] = "passed",
      },
    }, 1)
    local dir = go.project({ ["a_test.go"] = package("a", '"os"', [[
var runs int

func TestMain(m *testing.M) { m.Run(); runs++; os.Exit(m.Run()) }

func TestOnce(t *testing.T) { if runs > 0 { t.Fatal("no second time") } }
]]) })
    local result, text = go.run(dir)
    assert.are.equal(1, result.code, text)
    if go.is_framed() then assert.matches("example.com/m: failed when run once more: TestOnce", text, 1, true) end
  end))

  it("a TestMain that fails before its tests, and one that ends well without them", async(function()
    if not go.is_here() then return end
    local main = "func TestMain(m *testing.M) {\n\tprintln(\"setting up\")\n\t%s\n}\n" .. TWO
    local files = {
      ["exits/a_test.go"] = package("exits", '"os"', main:format("os.Exit(3)")),
      ["panics/a_test.go"] = package("panics", "", main:format("panic(\"no database\")")),
      ["silent/a_test.go"] = package("silent", '"os"', main:format("os.Exit(0)")),
    }
    check(files, {
      ["exits.TestFirst"] = "failed", ["exits.TestSecond"] = "failed", ["panics.TestFirst"] = "failed",
      ["panics.TestSecond"] = "failed", ["silent.TestFirst"] = "skipped", ["silent.TestSecond"] = "skipped",
    }, 1)
    local dir = go.project(files)
    go.run(dir)
    local function attempt(name) return finished.find(dir, "attempt_finished", { id = "example.com/m/" .. name }) end
    assert.are.equal("example.com/m/exits ended before its tests: exit status 3\nsetting up",
      attempt("exits.TestFirst").message)
    assert.are.equal("example.com/m/panics ended before its tests: exit status 2\npanic: no database",
      attempt("panics.TestSecond").message)
    assert.are.equal("example.com/m/silent ended well without running it: setting up",
      finished.find(dir, "test_finished", { id = "example.com/m/silent.TestFirst" }).reason)
  end))

  it("cleanups that end the goroutine of a test with parallel subtests", async(function()
    if not go.is_here() or not go.is_framed() then return end
    local sub = "\tt.Run(\"sub\", func(t *testing.T) {\n\t\tt.Parallel()\n\t\tt.Cleanup(func() { %s })\n"
      .. "\t\tt.Run(\"deep\", func(t *testing.T) { t.Parallel() })\n\t})\n"
    local top = "\tt.Cleanup(func() { %s })\n\tt.Run(\"sub\", func(t *testing.T) { t.Parallel() })\n"
    local function test(name, body) return ("func Test%s(t *testing.T) {\n%s}\n\n"):format(name, body) end
    local files = {
      ["well/a_test.go"] = package("well", '"runtime"', "var _ = runtime.Goexit\n\n"
        .. test("SubSkips", sub:format("t.SkipNow()")) .. test("SubExits", sub:format("runtime.Goexit()"))
        .. test("Skips", top:format("t.SkipNow()")) .. test("Exits", top:format("runtime.Goexit()"))
        .. test("Calm", "") .. test("Parallel", "\tt.Parallel()\n" .. top:format("t.SkipNow()"))
        .. test("Beside", "\tt.Parallel()\n")),
    }
    local dir = go.project(files)
    assert.are.equal(0, (go.own_verdicts(dir)))
    local expected = {
      ["well.TestSubSkips"] = "passed", ["well.TestSubExits"] = "passed", ["well.TestSkips"] = "passed",
      ["well.TestExits"] = "passed", ["well.TestCalm"] = "passed", ["well.TestParallel"] = "passed",
      ["well.TestBeside"] = "passed",
    }
    check(files, expected, 0)

    files["bad/a_test.go"] = package("bad", "", test("SubFails", sub:format("t.FailNow()"))
      .. test("Fails", top:format("t.FailNow()")) .. test("Skips", top:format("t.SkipNow()"))
      .. test("Calm", ""))
    expected["bad.TestSubFails"], expected["bad.TestFails"] = "failed", "failed"
    expected["bad.TestSkips"], expected["bad.TestCalm"] = "passed", "passed"
    assert.are.equal(1, (go.own_verdicts(go.project(files))))
    check(files, expected, 1)
  end))

  it("runtime.Goexit in a test beside innocent ones", async(function()
    if not go.is_here() then return end
    local body = [[
var begun = make(chan bool)

func TestInnocent(t *testing.T) { t.Parallel(); <-begun; time.Sleep(50 * time.Millisecond) }

func TestExits(t *testing.T) { t.Parallel(); close(begun); runtime.Goexit() }

func TestCalm(t *testing.T) {}
]]
    -- Alone the innocent one would wait for ever.
    local dir = go.project({ ["p/a_test.go"] = package("p", '"runtime" "time"', body:gsub("<%-begun; ", "")) })
    local result, text = go.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ ["p.TestInnocent"] = "passed", ["p.TestExits"] = "failed", ["p.TestCalm"] = "passed" },
      states(dir), text)
  end))

  it("a process that ends between two tests, or badly after well-ended ones", async(function()
    if not go.is_here() then return end
    local dir = go.project({
      ["between/a_test.go"] = package("between", '"os"', [[
func TestFirst(t *testing.T) {}

func TestSecond(t *testing.T) { t.Cleanup(func() {}) }

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && m.Run() == 0 {
		os.Exit(4)
	}
}
]]),
      ["swallows/a_test.go"] = package("swallows", '"os"',
        "func TestMain(m *testing.M) { m.Run(); os.Exit(0) }\n" .. TWO),
    })
    local result, text = go.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({
      ["between.TestFirst"] = "passed", ["between.TestSecond"] = "passed", ["swallows.TestFirst"] = "failed",
      ["swallows.TestSecond"] = "passed",
    }, states(dir), text)
    assert.matches("example.com/m/between failed outside of its tests: exit status 4", text, 1, true)
  end))

  it("a TestMain that chooses the tests itself", async(function()
    if not go.is_here() then return end
    local dir = go.project({ ["a_test.go"] = package("a", '"flag" "os"', [[
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.run", "TestOther")
	os.Exit(m.Run())
}

func TestMine(t *testing.T) {}
func TestOther(t *testing.T) { t.Fatal("chosen") }
]]) })
    local result, text = go.run(dir, "TestMine")
    assert.are.equal(1, result.code, text)
    if go.is_framed() then assert.matches("failed, and not asked for: TestOther", text, 1, true) end
  end))
end)
