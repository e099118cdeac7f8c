--- Beside other people's plug-ins and hooks.

local agents = require("spec.support.agent_process")
local session = require("spec.support.pytest.session")
local task = require("runner.base.task")

local collected, contains = session.collected, session.contains

local NODES = {
  ["conftest.py"] = [[
import pytest

@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["port"] = 80 + len(node.gateway.id)
]],
  ["test_a.py"] = "def test_1(request): print(request.config.workerinput['port'])\n",
}
local MEASURED = {
  ["mod.py"] = [[
def f(x):
    if x == 1:
        return "one"
    if x == 2:
        return "two"
    return "many"
]],
  ["test_m.py"] = [[
import mod
def test_1(): assert mod.f(1) == "one"
def test_2(): assert mod.f(2) == "two"
]],
}
local COVERAGE = "--cov=mod --cov-report=term-missing --cov-fail-under=100"

describe("pytest", function()
  describe("beside pytest-cov", function()
    for _, isolation in ipairs({ "worker", "test", "process" }) do
      local has_coverage = task.main(function() return session.has("pytest_cov") end)
      it("keeps what workers measured, with isolation = " .. isolation, collected(MEASURED, {
        isolation = isolation,
        extra_args = { "-o", "addopts=" .. (has_coverage and COVERAGE or "") },
      }, function(bench)
        if not has_coverage then pending("pytest-cov is not installed") end
        local one, two = bench:worker(0), bench:worker(1)
        one.run("test_1")
        two.run("test_2")
        local printed = one.tests.test_1.stderr .. two.tests.test_2.stderr
        assert.is_nil(printed:find("CoverageWarning", 1, true), printed)
        one.close()
        two.close()
        local problems = bench.session:close()
        assert(bench:logged():find("mod%.py +6 +1 +83%% +6"), bench:logged())
        contains(problems[1].message, "coverage")
      end))
    end
  end)

  it("gives workers what pytest_configure_node hands to xdist's", collected(NODES, nil, function(bench)
    if not session.has("xdist") then return pending("pytest-xdist is not installed") end
    assert.are.equal("83\n", bench:worker(1).run("test_1").stdout)
  end))

  it("works beside xdist in addopts", collected({
    ["pytest.ini"] = task.main(function()
      return session.has("xdist") and "[pytest]\naddopts = -n 2 -v --maxfail=1\n" or "[pytest]\n"
    end),
    ["test_a.py"] = "def test_1(): assert 0\ndef test_2(): pass\n",
  }, nil, function(bench)
    local w = bench:worker()
    w.run("test_1", "test_2")
    assert.are.equal("passed", w.tests.test_2.result.status)
    w.close()
    assert.are.same({}, bench.session:close())
  end))

  it("runs session hooks as xdist's workers do", collected({
    ["conftest.py"] = "def pytest_sessionfinish(session):\n"
      .. "    role = 'worker' if hasattr(session.config, 'workerinput') else 'controller'\n"
      .. "    open('finished', 'a').write(role + '\\n')\n",
    ["test_a.py"] = "def test_1(): pass\n",
  }, nil, function(bench)
    local w = bench:worker()
    w.run("test_1")
    w.close()
    bench.session:close()
    assert.are.equal("worker\ncontroller\n", agents.read(bench.dir .. "/finished"))
  end))
end)
