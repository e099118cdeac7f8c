--- Commands as the documentation of shotgun and offload shows them, to the letter, over stand-ins for the tools.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")

--- A project whose tools are shell scripts in bin/.
local function new(framework, tools, files)
  files = files or {}
  files["runner.lua"] = ([[return {
    max_parallel = 2, retries = 2, env = { PATH = "${PATH}" }, framework = require "frameworks.command" { %s },
  }]]):format(framework)
  for name, text in pairs(tools) do files["bin/" .. name] = "#!/bin/sh\n" .. text end
  local dir = project.new(files)
  for name in pairs(tools) do assert.are.equal(0, process.run({ "chmod", "+x", dir .. "/bin/" .. name }).code) end
  return dir
end

local function run(dir)
  local result = process.run({ require("luv").exepath(), "run" },
    { cwd = dir, env = { PATH = dir .. "/bin:" .. os.getenv("PATH") } })
  return finished.states(dir), result.code, result.stdout .. result.stderr
end

--- Takes what `jest FILE… --ci --reporters=jest-junit` does, and writes what jest-junit writes: cases that name neither
--- their file nor, in a way that could be known, the test that was asked for.
local JEST = [[
if [ "$1" = --listTests ]; then
  printf '["%s/tests/cart.test.js","%s/tests/stock.test.js","%s/tests/my shop.test.js"]\n' "$PWD" "$PWD" "$PWD"
  exit 0
fi
echo "$*" >> calls
mkdir lock || exit 9
status=0
{
  echo '<?xml version="1.0" encoding="UTF-8"?><testsuites name="jest tests"><testsuite name="cart">'
  for file; do
    case $file in
      --*) ;;
      */stock.test.js) status=1
        echo '<testcase classname="stock counts" name="stock counts" time="0.002"><failure>Error: 1</failure>'
        echo '</testcase>'
        echo '<testcase classname="stock is shown" name="stock is shown" time="0.001"></testcase>' ;;
      *) echo '<testcase classname="cart adds" name="cart adds" time="0.003"></testcase>' ;;
    esac
  done
  echo '</testsuite></testsuites>'
} > junit.xml
rmdir lock
exit $status
]]

describe("command, as documented elsewhere:", function()
  after_each(project.remove_all)

  it("shotgun's generic framework", async(function()
    local dir = new([[
      discover_command = "find tests -name 'test_*.py' | xargs -I {} basename {}",
      run_command = "pytest {tests} -v",
    ]], { pytest = 'cd tests && exec /usr/bin/python3 -m pytest -p no:cacheprovider "$@"' }, {
      ["tests/test_math.py"] = "def test_add(): assert 1 + 1 == 2\n",
      ["tests/test_odd.py"] = "def test_odd(): assert 1 % 2 == 0\n",
    })
    local states, code, text = run(dir)
    assert.are.same({ ["test_math.py"] = "passed", ["test_odd.py"] = "failed" }, states, text)
    assert.are.equal(1, code)
    assert.matches("assert %(1 %% 2%) == 0", finished.output(dir, "test_odd.py"))
  end))

  it("offload's default framework", async(function()
    if not example.has("jq") then return pending("jq is missing") end
    local dir = new([[
      discover_command = "jest --listTests --json | jq -r '.[]'",
      run_command = "jest {tests} --ci --reporters=jest-junit",
      result_file = "junit.xml",
      working_dir = ".",
    ]], { jest = JEST }, { ["tests/cart.test.js"] = "", ["tests/stock.test.js"] = "", ["tests/my shop.test.js"] = "" })
    local states, code, text = run(dir)
    assert.are.same({
      ["tests/cart.test.js"] = "passed", ["tests/stock.test.js"] = "failed", ["tests/my shop.test.js"] = "passed",
    }, states, text)
    assert.are.equal(1, code)
    local failed = finished.find(dir, "attempt_finished", { id = "tests/stock.test.js" })
    assert.are.equal("stock counts: Error: 1", failed.message)
    assert.is_true(math.abs(failed.duration - 0.003) < 1e-9)
    assert.is_nil(finished.find(dir, "problem"))
  end))

  it("offload's default framework of today, with {filters}, {result_file} and pytest's node ids", async(function()
    local dir = new([[
      discover_command = "pytest --collect-only -q {filters} 2>/dev/null | grep '::'",
      run_command = "pytest -v --tb=short -p no:xdist -o addopts= --junitxml={result_file} {tests}",
      test_id_format = "{name}",
      filters = "-m 'not slow' -k 'not test_c'",
    ]], { pytest = 'echo "$*" >> calls; exec /usr/bin/python3 -m pytest -p no:cacheprovider "$@"' }, {
      ["tests/sub/test_a.py"] = [[
import os, pytest
def test_a(): pass
class TestB:
    def test_a(self): assert 0, "no"
    @pytest.mark.parametrize("p", ["x y", "ü", "a::b", "q'q"])
    def test_p(self, p): pass
def test_flaky(): assert os.environ["RUNNER_ATTEMPT"] == "3"
@pytest.mark.slow
def test_slow(): assert 0
def test_c(): assert 0
@pytest.fixture
def broken():
    yield
    assert 0, "in teardown"
def test_teardown(broken): pass
]],
      ["tests/test_other.py"] = "def test_a(): pass\n",
    })
    local states, code, text = run(dir)
    local file = "tests/sub/test_a.py::"
    assert.are.same({
      [file .. "test_a"] = "passed", [file .. "TestB::test_a"] = "failed", [file .. "TestB::test_p[x y]"] = "passed",
      [file .. "TestB::test_p[\\xfc]"] = "passed", [file .. "TestB::test_p[a::b]"] = "passed",
      [file .. "TestB::test_p[q'q]"] = "passed", [file .. "test_flaky"] = "flaky", [file .. "test_teardown"] = "failed",
      ["tests/test_other.py::test_a"] = "passed",
    }, states, text)
    assert.are.equal(1, code)
    assert.is_nil(finished.find(dir, "problem"))
  end))

  it("says what does not fit together", async(function()
    for framework, message in pairs({
      ["run_command = 'x'"] = "set tests or discover_command",
      ["tests = { 'a' }, run_command = 'x', filters = '-m x'"] = "filters is set, but no command has {filters}",
      ["tests = { 'a' }, run_command = 'x', test_id_format = '{name}'"] = "test_id_format says how results are read",
      ["tests = { 'a' }, run_command = 'x', result_format = 'tap'"] = "result_format says how results are read",
      ["tests = { 'a' }, run_command = 'x {tests}', result_file = 'r', test_id_format = '{nam}'"] = "did you mean",
      ["tests = { 'a' }, run_command = 'x', batch = true"] = "takes no list of tests",
      ["tests = { 'a' }, run_command = { 'x', '--only={tests}' }, batch = true"] = "takes no list of tests",
      ["tests = { 'a' }, run_command = 'x {result_file}', result_file = 'a*.xml'"] = "needs a result_file that is one",
      ["tests = { 'a' }, run_command = 'x', result_file = 'r', result_format = 'json'"] = '"junit" or "tap"',
      ["tests = { '' }, run_command = 'x'"] = "no name for a test",
      ["tests = { 'a' }, run_command = 'x {test}'"] = "run_command: unknown placeholder {test}; did you mean {tests}?",
      ["tests = { 'a' }, run_command = { 'x', '--to={result-file}' }"] = "{result-file}; did you mean {result_file}?",
      ["tests = { 'a' }, run_command = 'x {tests}', env = { TO = '{results_file}' }"] = "env: unknown placeholder",
      ["discover_command = 'x {filter}', run_command = 'x {tests}'"] = "discover_command: unknown placeholder {filter}",
      ["discover_command = 'x {tests}', run_command = 'x {tests}'"] = "{tests} is not filled in there",
      ["tests = { 'a', 'b' }, run_command = 'true'"] = "has no {tests}: it would be the same for all 2 tests",
      ["discover_command = 'echo a; echo b', run_command = { 'true' }"] = "has no {tests}: it would be the same",
    }) do
      local _, code, text = run(new(framework, {}))
      assert.are.equal(78, code, framework .. text)
      assert.is_truthy(text:find(message, 1, true), framework .. ": " .. text)
    end
    local dir = new("tests = { 'a' }, run_command = 'x {test}'", {})
    local checked = process.run({ require("luv").exepath(), "validate" }, { cwd = dir })
    assert.are.equal(78, checked.code)
    assert.is_truthy(checked.stderr:find("did you mean {tests}?", 1, true), checked.stderr)
  end))

  it("leaves braces alone that are the command's own", async(function()
    local dir = new([=[
      tests = { "a b", "c" },
      run_command = "x=1; echo ${x} ${tests} {} {a,b} { test } {print} %{tests_} '{{filter}}' {tests} >> said",
    ]=], {})
    local _, code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.matches("1  ?{} [^ ]+ ?[^ ]* { test } {print} %%{tests_} {{filter}} c\n", project.read(dir .. "/said"))
  end))

  it("needs no {tests} where the command asks its environment", async(function()
    local dir = new([[tests = { "a", "b" }, run_command = "test $RUNNER_TEST_ID = a"]], {})
    assert.are.same({ a = "passed", b = "failed" }, (run(dir)))
  end))

  it("says what a discovery command did wrong", async(function()
    for command, message in pairs({
      ["echo half; echo oops >&2; exit 7"] = "discover_command failed: exit status 7\noops",
      ["kill -9 $$"] = "ended by SIGKILL", ["no-such-tool"] = "no-such-tool: No such file or directory (searched PATH)",
      ["yes | head -c 70000000"] = "printed too much",
    }) do
      local _, code, text = run(new(("discover_command = %q, run_command = 'true'"):format(command), {}))
      assert.are.equal(78, code, text)
      assert.is_truthy(text:find(message, 1, true), text)
    end
    local dir = new([[discover_command = "printf 'b\\n\\n  # no\\n\\ta \\r\\nb\\n\\0\\1\\377garbage\\n' | tr -d '\\0'",
      run_command = "test {tests} != b"]], {})
    local states = run(dir)
    assert.are.same({ "failed", "passed", "failed" }, { states.b, states.a, states["b#2"] })
    local count = 0
    for _ in pairs(states) do count = count + 1 end
    assert.are.equal(4, count) -- and the garbage, whose bytes JSON cannot hold
  end))

  it("takes words of a list for what they are", async(function()
    local dir = new([[
      tests = { "a b", "c" }, filters = { "-x", "y z" }, batch = true,
      run_command = { "bin/tool", "{filters}", "--", "{tests}", "{other}" },
    ]], { tool = 'echo "$(printf "<%s>" "$@")" >> calls' })
    local _, code = run(dir)
    assert.are.equal(0, code)
    local calls = project.read(dir .. "/calls")
    assert.matches("<%-x><y z><%-%-><a b><{other}>", calls)
  end))

  it("lets the exit status of a batch decide, and blames tests alone when it is bad", async(function()
    local dir = new(
      [[tests = { "a", "b", "c", "d", "e", "bad", "f", "g" }, batch = true, run_command = "tool {tests}"]],
      { tool = 'echo "$*" >> calls; for name; do [ "$name" != bad ] || { echo "it was $name"; exit 5; }; done' })
    local states, code = run(dir)
    assert.are.equal(1, code)
    for id, state in pairs(states) do assert.are.equal(id == "bad" and "failed" or "passed", state) end
    local attempt = finished.find(dir, "attempt_finished", { id = "bad" })
    assert.are.same({ "exit status 5", 5 }, { attempt.message, attempt.exit_code })
    assert.matches("it was bad", finished.output(dir, "bad"))
    assert.matches("a b", project.read(dir .. "/calls")) -- together
  end))
end)

