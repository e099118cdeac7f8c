local cjson = require("cjson.safe")
local async = require("spec.support.async")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local function new(tests)
  return project.new({ ["runner.lua"] = ([[
    local command = require "frameworks.command"
    return { groups = { unit = command { tests = %s, run_command = "touch ran" } } }
  ]]):format(tests) })
end

describe("runner collect", function()
  after_each(project.remove_all)

  it("lists the tests, runs none and writes no results", async(function()
    local dir = new('{ "b", "a test", "c" }')
    local result = runner(dir, "collect")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("b\na test\nc\n", result.stdout)
    assert.is_nil(io.open(dir .. "/ran"))
    assert.is_nil(io.open(dir .. "/test-results/events.ndjson"))
    assert.are.equal(result.stdout, runner(dir, "run", "--collect-only").stdout)
  end))

  it("prints JSON, with arrays that stay arrays when empty", async(function()
    local dir = new('{ "a", "b" }')
    local result = runner(dir, "collect", "-f", "json", "b")
    assert.are.equal(0, result.code, result.stderr)
    local list = assert(cjson.decode(result.stdout))
    assert.are.same({ { id = "b", name = "b", group = "unit" } }, list.tests)
    assert.matches('"problems":%[%]', result.stdout)
  end))

  it("exits 4 without tests, unless told otherwise", async(function()
    local dir = new("{}")
    assert.are.equal(4, runner(dir, "collect").code)
    local result = runner(dir, "collect", "-f", "json", "--no-tests=pass")
    assert.are.equal(0, result.code)
    assert.matches('"tests":%[%]', result.stdout)
  end))

  it("shows what could not be collected and exits 1", async(function()
    local dir = project.new({
      ["runner.lua"] = 'return { framework = "pytest" }',
      ["test_good.py"] = "def test_a(): pass\n",
      ["test_bad.py"] = "import no_such_module\n",
    })
    local result = runner(dir, "collect")
    assert.are.equal(1, result.code)
    assert.are.equal("test_good.py::test_a\n", result.stdout)
    assert.matches("no_such_module", result.stderr)
  end))
end)
