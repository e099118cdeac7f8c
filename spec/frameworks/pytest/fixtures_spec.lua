--- When fixtures that outlive a test are torn down.

local session = require("spec.support.pytest.session")

local collected, sample, contains = session.collected, session.sample, session.contains

local FIXTURES = {
  ["test_a.py"] = sample("fixtures.py"), ["test_b.py"] = "def test_other(): pass\n",
}
local BROKEN_TEARDOWN = {
  ["test_a.py"] = [[
import pytest
import time

@pytest.fixture(scope="module")
def raises():
    yield
    raise OSError("busy")

@pytest.fixture(scope="module")
def hangs():
    yield
    time.sleep(3600)

def test_raises(raises): pass
def test_hangs(hangs): pass
]],
}

describe("pytest fixtures", function()
  it("live as long as something in their scope may come", collected(FIXTURES, nil, function(bench)
    local w = bench:worker()
    assert.are.equal("<session up>\n<module up>\n", w.run("test_1").stdout)
    assert.are.equal("", w.run("test_2").stdout) -- it was not known when test_1 ended
    assert.are.equal("", w.run("test_2").stdout) -- the same test again
    w.run("test_other")
    assert.are.equal("<module down>\n", w.between)
    w.close()
    assert.are.equal("<module down>\n<session down>\n", w.between)
  end))

  it("are torn down by the last test of a queue that needs them",
    collected(FIXTURES, nil, function(bench)
    local w = bench:worker()
    w.run("test_1", "test_2", "test_3", "test_other")
    assert.are.equal("<module down>\n", w.tests.test_3.stdout)
    assert.are.same({ "test_1", "test_2", "test_3", "test_other" }, w.order)
  end))

  it("belong to each test with isolation = test",
    collected(FIXTURES, { isolation = "test" }, function(bench)
    local w = bench:worker()
    w.run("test_1", "test_2")
    for _, name in ipairs({ "test_1", "test_2" }) do
      assert.are.equal("<session up>\n<module up>\n<module down>\n<session down>\n",
        w.tests[name].stdout)
    end
  end))

  it("whose late teardown fails are a problem of the last test",
    collected(BROKEN_TEARDOWN, nil, function(bench)
    local w = bench:worker()
    assert.are.equal("passed", w.run("test_raises").result.status)
    w.close()
    local problem = w.problems[1]
    assert.are.same({ "teardown", "test_a.py::test_raises", "OSError: busy" },
      { problem.kind, problem.id, problem.message })
  end))

  it("whose late teardown hangs do not hold up the run",
    collected(BROKEN_TEARDOWN, { settings = { test_timeout = 0.2 } }, function(bench)
    local w = bench:worker()
    w.run("test_hangs")
    w.close()
    assert.are.equal(1, #w.problems)
    contains(w.problems[1].message, "not torn down within 0.2 s")
  end))
end)
