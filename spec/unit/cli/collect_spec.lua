local cjson = require("cjson.safe")
local async = require("spec.support.async")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local uv = require("luv")

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
    assert.are.same({ { id = "b", name = "b", group = "unit", framework = "command" } }, list.tests)
    assert.matches('"problems":%[%]', result.stdout)
  end))

  it("prints JSON with keys in one order, plain slashes, and what is in quarantine", async(function()
    local dir = project.new({ ["runner.lua"] = [[
      local command = require "frameworks.command"
      return { framework = command { tests = { "a/b", "back\\/slash" }, run_command = "true" },
        overrides = { { filter = "test(a)", quarantine = "ticket 1" }, { filter = "test(=a/b)", quarantine = true } } }
    ]] })
    local result = runner(dir, "collect", "-f", "json")
    local group = cjson.decode(result.stdout).tests[1].group
    assert.are.equal(('{"tests":[{"id":"a/b","name":"a/b","group":"@","framework":"command","quarantine":"ticket 1"},'
      .. '{"id":"back\\\\/slash","name":"back\\\\/slash","group":"@","framework":"command","quarantine":"ticket 1"}],'
      .. '"problems":[]}\n'):gsub("@", group), result.stdout)
  end))

  it("marks what is skipped or in quarantine, for people alone", async(function()
    if not os.execute("command -v script >/dev/null 2>&1") then pending("needs script(1)") end
    local dir = project.new({ ["runner.lua"] = [[
      local inner = require "frameworks.command" { tests = { "true" }, run_command = "{tests}" }
      return { overrides = { { filter = "test(known)", quarantine = "ticket 1" } },
        framework = require "runner.plugin".framework {
          name = "some", api = 1,
          session = function(options, ctx)
            local session = inner.plugin.session(inner.options, ctx)
            return { close = session.close, worker = session.worker, discover = function()
              return { { id = "plain" }, { id = "known" }, { id = "later", ignored = "not today" } }
            end }
          end,
        } {} }]] })
    assert.are.equal("plain\nknown\nlater\n", runner(dir, "collect").stdout)
    local seen = process.run({ "script", "-qc", uv.exepath() .. " collect --color never", "/dev/null" }, { cwd = dir })
    assert.are.equal("plain\nknown  (quarantined: ticket 1)\nlater  (skipped: not today)\n",
      (seen.stdout:gsub("\r", "")))
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
    assert.matches("runner: test_bad.py: [^\n]*no_such_module", result.stderr)
    local problem = cjson.decode(runner(dir, "collect", "-f", "json").stdout).problems[1]
    assert.are.same({ "collection", "test_bad.py", "test_bad.py" }, { problem.kind, problem.id, problem.file })
  end))
end)
