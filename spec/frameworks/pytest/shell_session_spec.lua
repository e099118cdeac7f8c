--- pytest where no agent can run: one command a batch, through calls that pass its output on, or keep it to the end.

local uv = require("luv")
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local listener = require("spec.support.listener")
local shell_client = require("runner.agent.shell_client")
local project = require("spec.support.project")
local pytest = require("frameworks.pytest.shell_session")
local runner = require("spec.support.command_line")
local shell = require("runner.io.shell")

local PYTHON = "/usr/bin/python3"
local PASSES, DIES, HANGS = "pass", "os.abort()", "time.sleep(1000)"
-- pytest that does not say which test runs.
local SILENT = PYTHON .. " -m pytest >/dev/null"

--- Tests called a, b, c …; each notes that it ran.
local function source(bodies)
  local text = { "import os, sys, time\n" }
  for i, body in ipairs(bodies) do
    local name = string.char(96 + i)
    text[#text + 1] = ("def test_%s():\n    open('ran', 'a').write('%s')\n    %s\n"):format(name, name, body)
  end
  return table.concat(text)
end

--- A worker for these tests. `calls` are the batches that it made: "abc"; `heard.said` is what they print.
---@param through (fun(line: string): string)? what the provider makes of a call
local function open(bodies, options, limit, through)
  local dir, heard, calls, items = project.new({ ["test_x.py"] = source(bodies) }), listener(), {}, {}
  heard.said = ""
  local agent = shell_client.connect({ stateless = true, timeout = limit, start = function(line, handlers)
    local process = shell.start(through and through(line) or line, { cwd = dir, on_exit = handlers.on_exit,
      on_output = function(stream, bytes)
        handlers.on_output(stream, bytes)
        heard.said = heard.said .. bytes
      end })
    process:shutdown()
    return process
  end }, {})
  options = options or {}
  if not options.command then options.python = PYTHON end
  local session = pytest.open(options, {
    agent = agent, run_id = "spec", settings = { grace = 0.2, max_parallel = 1 }, spawn = function(spec)
      calls[#calls + 1] = table.concat(spec.argv, " "):gsub("^.*%-%-junit%-prefix=", ""):gsub(" test_x.py::test_", "")
      calls.deadline = spec.deadline
      return agent:spawn(spec)
    end,
  })
  for i in ipairs(bodies) do
    local name = string.char(96 + i)
    local nodeid = "test_x.py::test_" .. name
    items[i] = { id = name, attempt = 1, policy = {}, test = { id = name, nodeid = nodeid, argument = nodeid } }
  end
  return session.worker(session, { index = 0 }, heard.report), items, heard, calls, dir
end

local function run(...)
  local worker, items, heard, calls, dir = open(...)
  worker:push(items)
  worker:close()
  return heard, calls, dir
end

--- What was heard of the ends of tests.
local function ends(heard)
  local list = {}
  for _, word in ipairs(heard.words) do
    if not word:find("^start ") then list[#list + 1] = word end
  end
  return table.concat(list, ", ")
end

describe("frameworks.pytest, by plain commands,", function()
  after_each(function()
    runner.kill_all()
    project.remove_all()
  end)

  it("takes the results from the report", async(function()
    local heard, calls = run({ "print('said')", "assert 0", "import pytest; pytest.skip('later')" })
    assert.are.equal("passed a, failed b, skipped c", ends(heard))
    assert.are.same({ "abc" }, calls)
    assert.are.equal("said\n\n", heard.output.a)
    assert.are.equal("assert 0", heard.results.b.message)
    assert.are.equal("later", heard.results.c.reason)
  end))

  it("blames the one that ran when the process dies; what ended before counts", async(function()
    local heard, calls, dir = run({ PASSES, "assert 0", DIES, PASSES, PASSES })
    assert.are.equal("passed a, failed b, crashed c, passed d, passed e", ends(heard))
    assert.are.same({ "abcde", "de" }, calls)
    assert.are.equal("abcde", project.read(dir .. "/ran"))
    assert.matches("does not say why", heard.results.b.message, 1, true)
    assert.are.equal(6, heard.results.c.signal)
    assert.matches("Fatal Python error: Aborted", heard.results.c.trace, 1, true)
  end))

  it("runs each alone where nobody can say which ran", async(function()
    local heard, calls = run({ PASSES, DIES, PASSES }, { command = SILENT })
    assert.are.equal("passed a, crashed b, passed c", ends(heard))
    assert.are.same({ "abc", "a", "b", "c" }, calls)
  end))

  it("tells what tests print although no line told of them", async(function()
    local worker, items, heard = open({ "print('said')", "print('this')" }, { command = SILENT })
    local output = heard.report.output
    function heard.report.output(item, ...)
      heard.words[#heard.words + 1] = "output " .. item.id
      output(item, ...)
    end
    worker:push(items)
    worker:close()
    assert.are.same({ "start a", "output a", "passed a", "start b", "output b", "passed b" }, heard.words)
    assert.are.equal("this\n\n", heard.output.b)
  end))

  it("believes no status of a batch", async(function()
    local heard, calls = run({ PASSES, "os._exit(3)", "os._exit(0)" })
    assert.are.equal("passed a, failed b, failed c", ends(heard))
    assert.are.same({ "abc", "bc", "b", "c" }, calls)
    assert.are.equal(3, heard.results.b.exit_code)
    assert.matches("test_x.py::test_b", heard.results.b.trace, 1, true)
    assert.is_nil(heard.results.b.trace:find("%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x")) -- our mark
    assert.matches("gave no result", heard.results.c.message)
  end))

  it("says what is wrong with pytest there", async(function()
    local heard = run({ PASSES, PASSES }, { command = "exit 127;" })
    assert.are.equal("failed a, failed b", ends(heard))
    assert.matches("cannot run exit 127;: set python", heard.results.a.message, 1, true)
    heard = run({ PASSES }, { extra_args = { "--nonsense" } })
    assert.matches("does not accept how it is called", heard.results.a.message, 1, true)
  end))

  it("has the limit of the provider, which no test has in company", async(function()
    local heard, calls = run({ PASSES, HANGS, PASSES }, nil, 3)
    assert.are.equal("passed a, timed_out b, passed c", ends(heard))
    assert.are.same({ "abc", "b", "c" }, calls)
    assert.matches("the provider's limit of time has passed", heard.results.b.message, 1, true)
  end))

  it("stops the test that runs, and runs the rest again", async(function()
    local worker, items, heard, calls = open({ PASSES, HANGS, PASSES })
    worker:push(items)
    heard.wait("start b")
    worker:stop(items[2], "timeout")
    worker:close()
    assert.are.equal("passed a, failed b, passed c", ends(heard))
    assert.are.same({ "abc", "c" }, calls)
    assert.are.same({ "start a", "start b", "passed a" }, { table.unpack(heard.words, 1, 3) }) -- started once
  end))

  it("knows that the last test of which lines tell is over where only whole ones come", async(function()
    local worker, items, heard = open({ PASSES, PASSES, HANGS, PASSES }, nil, nil, function(line)
      return line .. " | sed -u ''"
    end)
    worker:push(items)
    eventually(function() return heard.said:find("test_b PASSED", 1, true) end)
    assert.are.same({}, heard.words) -- the time of none of them has begun
    worker:cancel()
    worker:close()
    assert.are.equal("passed a, returned b c d", ends(heard))
  end))

  it("finds the report behind a terminal", async(function()
    local heard, calls = run({ PASSES, "assert 0" }, nil, nil, function(line)
      return "script -qec " .. shell.quote(line) .. " /dev/null"
    end)
    assert.are.equal("passed a, failed b", ends(heard))
    assert.are.same({ "ab" }, calls)
    assert.are.equal("assert 0", heard.results.b.message)
  end))

  it("takes nothing that a test prints for its result", async(function()
    local heard = run({ "print('ERROR: said')", DIES, PASSES }, { extra_args = { "-s" } })
    assert.are.equal("crashed b, passed a, passed c", ends(heard))
  end))

  it("gives back what has not started when it is cancelled, and what waits when it is asked", async(function()
    local worker, items, heard, calls = open({ PASSES, HANGS, PASSES, PASSES })
    worker:push({ items[1], items[2], items[3] })
    worker:push({ items[4] })
    worker:take(2)
    worker:take(1) -- answered at the end: there is nothing now
    heard.wait("start b")
    worker:stop(items[2], "cancelled")
    worker:close()
    assert.are.equal("returned d, passed a, failed b, returned c, returned", ends(heard))
    assert.are.same({ "abc" }, calls)
  end))

  it("gives a batch the time of all its tests: some calls print nothing before their end", async(function()
    local worker, items, heard, calls = open({ PASSES, PASSES, PASSES }, { command = SILENT })
    for _, item in ipairs(items) do item.policy.test_timeout = 60 end
    worker:push(items)
    assert.are.same({}, heard.words) -- the time of none of them has begun
    assert.are.equal(180, calls.deadline)
    worker:close()
    assert.are.equal("passed a, passed b, passed c", ends(heard))
  end))

  it("finds its tests wherever their ids start from, and whatever verbosity is asked for", async(function()
    local function try(folder, ini, id, extra)
      local dir = project.new({
        [ini] = "[pytest]\n", [folder .. "/tests/test_x.py"] = source({ PASSES, "assert 0" }),
        [folder .. "/runner.lua"] = ([[return {
          framework = require "frameworks.pytest" { python = %q, paths = { "tests" }, extra_args = { %q } },
          provider = require "providers.remote" { execute_command = "sh -c" } }]]):format(PYTHON, extra) })
      assert.are.equal(1, runner(dir .. "/" .. folder, "run").code)
      folder = dir .. "/" .. folder
      assert.are.same({ [id .. "::test_a"] = "passed", [id .. "::test_b"] = "failed" }, finished.states(folder))
      assert.is_not_nil(finished.find(folder, "attempt_finished", { message = "assert 0" }))
    end
    try("a b/sub", "pytest.ini", "a b/sub/tests/test_x.py", "-v")
    try("sub", "sub/pytest.ini", "tests/test_x.py", "-q")
    try("sub", "sub/tests/pytest.ini", "test_x.py", "--color=yes")
  end))

  it("keeps what has ended when the run is interrupted", async(function()
    local dir = project.new({ ["test_x.py"] = source({ PASSES, HANGS, PASSES, PASSES }), ["runner.lua"] = ([[return {
      max_parallel = 1, grace = 0.2, framework = require "frameworks.pytest" { python = %q },
      provider = require "providers.remote" { execute_command = "sh -c" } }]]):format(PYTHON) })
    local pid, done = runner.start(dir, "run")
    eventually(function()
      return project.read(dir .. "/ran") == "ab" and finished.find(dir, "attempt_started", { id = "test_x.py::test_b" })
    end)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    assert.are.equal("ab", project.read(dir .. "/ran"))
    assert.are.same({ passed = 1, not_run = 3 }, finished.counts(dir))
  end))

  --- The states that a run of the project ends with, by the end of a test's id.
  local function states_of(sources)
    sources["runner.lua"] = ([[return {
      max_parallel = 1, framework = require "frameworks.pytest" { python = %q },
      provider = require "providers.remote" { execute_command = "sh -c" } }]]):format(PYTHON)
    local dir = project.new(sources)
    local code = runner(dir, "run").code
    return finished.states(dir), code, dir
  end

  it("gives each of two tests that the report calls the same its own result", async(function()
    local states, code = states_of({
      ["pytest.ini"] = "[pytest]\npython_classes = test_*\n",
      ["t/test_a.py"] = "class test_b:\n  def test_c(self): assert 0\n  def test_d(self): pass\n",
      ["t/test_a/test_b.py"] = "def test_c(): pass\ndef test_d(): assert 0\n",
    })
    assert.are.equal(1, code)
    assert.are.same({
      ["t/test_a.py::test_b::test_c"] = "failed", ["t/test_a.py::test_b::test_d"] = "passed",
      ["t/test_a/test_b.py::test_c"] = "passed", ["t/test_a/test_b.py::test_d"] = "failed",
    }, states)
  end))

  it("finds the failure of a test that renames itself in the report", async(function()
    local states, code, dir = states_of({ ["test_x.py"] = [[
import pytest
pytestmark = pytest.mark.filterwarnings("ignore")
def test_a(record_xml_attribute):
    record_xml_attribute("name", "test_b")
def test_b(record_xml_attribute):
    record_xml_attribute("name", "test_c")
    assert 0, "of b"
def test_d(record_xml_attribute):
    record_xml_attribute("name", "elsewhere")
    assert 0, "of d"
]] , ["pytest.ini"] = "[pytest]\njunit_family = xunit1\n" })
    assert.are.equal(1, code)
    assert.are.same({ ["test_x.py::test_a"] = "passed", ["test_x.py::test_b"] = "failed",
      ["test_x.py::test_d"] = "failed" }, states)
    local said = { finished.find(dir, "problem", {}) and finished.find(dir, "problem", {}).message or "" }
    for _, id in ipairs({ "test_x.py::test_b", "test_x.py::test_d" }) do
      said[#said + 1] = finished.find(dir, "attempt_finished", { id = id }).message
    end
    assert.matches("does not say why", said[2], 1, true)
  end))

  it("fails a test whose teardown fails after a pass, a skip or a failure", async(function()
    local states = states_of({ ["test_x.py"] = [[
import pytest
@pytest.fixture
def bad():
    yield
    assert 0, "teardown"
def test_a(bad): pass
def test_b(bad): pytest.skip("x")
def test_c(bad): assert 0, "call"
]] })
    assert.are.same({ ["test_x.py::test_a"] = "failed", ["test_x.py::test_b"] = "failed",
      ["test_x.py::test_c"] = "failed" }, states)
  end))

  it("is red when pytest is though its tests are not", async(function()
    local states, code, dir = states_of({
      ["conftest.py"] = "def pytest_sessionfinish(session): session.exitstatus = 7\n",
      ["test_x.py"] = source({ PASSES, PASSES }),
    })
    assert.are.equal(1, code)
    assert.are.same({ ["test_x.py::test_a"] = "passed", ["test_x.py::test_b"] = "passed" }, states)
    assert.matches("exit status 7, though none", finished.find(dir, "problem", {}).message, 1, true)
  end))

  it("tells tests which attempt it is", async(function()
    local worker, items, heard, calls = open({ "assert os.environ['RUNNER_ATTEMPT'] == '2'", PASSES })
    items[1].attempt = 2
    worker:push(items)
    worker:close()
    assert.are.equal("passed a, passed b", ends(heard))
    assert.are.same({ "a", "b" }, calls)
  end))
end)
