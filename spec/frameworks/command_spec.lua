--- examples/command: tools that nothing is known of but their command lines and results, beside what `prove` and pytest
--- say of the same tests. More in spec/frameworks/command/.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local junit = require("runner.worker.formats.junit")
local nodeid = require("runner.worker.formats.junit.nodeid")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

--- What prove says of a file; nil: it hangs.
local function proved(dir, file)
  local result
  local ended = task.deadline(1.5, function() result = process.run({ "prove", "./" .. file }, { cwd = dir }) end)
  if not ended then return nil end
  return result.code ~= 0 and "failed" or result.stdout:find("skipped:") and "skipped" or "passed", result.stdout
end

--- What pytest says of the tests that neither crash nor hang.
local function tested(dir)
  local report = dir .. "/own.xml"
  process.run({ "python3", "-m", "pytest", "-q", "tests", "-k", "not crash and not hang", "--junitxml=" .. report },
    { cwd = dir })
  local found = {}
  junit.read(report, function(case)
    found[nodeid.joined(case.classname, case.name)] = case.status == "error" and "failed" or case.status
  end)
  return found
end

describe("command", function()
  after_each(project.remove_all)

  it("runs examples/command as prove and pytest do, test by test", async(function()
    if not example.has("prove") or process.run({ "python3", "-c", "import pytest" }).code ~= 0 then
      return pending("Perl's prove or pytest is missing")
    end
    local dir, expected = example.copy("command"), example.expected("command")
    local result = runner(dir, "run")
    assert.are.same(expected, finished.states(dir), result.stdout)
    assert.are.equal(1, result.code)

    local first, pytest, count = {}, tested(dir), 0
    for _, event in ipairs(finished.events(dir, "attempt_finished")) do
      if event.attempt == 1 then first[event.id] = event.status end
    end
    for id, status in pairs(first) do
      local theirs = pytest[nodeid.key(id) or ""]
      if id:find("^t/") then
        local text
        theirs, text = proved(dir, id)
        if status == "crashed" then
          assert.matches("Signal: SEGV", text)
          theirs = theirs == "failed" and "crashed"
        end
        assert.are.equal(theirs or "timed_out", status, id)
      elseif not id:find("crash") and not id:find("hang") then
        assert.are.equal(theirs, status, id)
      end
      count = count + 1
    end
    assert.are.equal(25, count)

    assert.matches("caf.* end\n", finished.output(dir, "tests/test_cart.py::test_output")) -- as pytest writes it
    assert.matches("caf\xE9 \0\nok 2 %- \27%[31mred", finished.output(dir, "t/odd näme [1] 'x' $HOME.t"))
    assert.are.equal("a tenth less", finished.find(dir, "attempt_finished", { id = "t/discount.t" }).message)
    assert.matches("^stdout: 3 planned, 1 ran", finished.find(dir, "attempt_finished", { id = "t/short.t" }).message)
    assert.matches("the till is open", finished.find(dir, "attempt_finished", {
      id = "tests/test_cart.py::test_closes" }).message)
    assert.is_nil(finished.find(dir, "problem"))
  end))
end)
