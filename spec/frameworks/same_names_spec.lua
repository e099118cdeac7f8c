--- Tests that share names, in one framework and across groups: none may be lost, nor get the result of another.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local unique_ids = require("runner.worker.unique_ids")

local function run(files)
  local dir = project.new(files)
  local result = runner(dir, "run", "--color", "never")
  return result, result.stdout .. result.stderr, dir
end

describe("tests of the same name", function()
  after_each(project.remove_all)

  it("have ids of their own, even where a name looks like one of these", function()
    local id_of, ids = unique_ids.ids(), {}
    for i, name in ipairs({ "a", "a#2", "a", "a", "a#2", "b", "b" }) do ids[i] = id_of(name) end
    assert.are.same({ "a", "a#2", "a#3", "a#4", "a#2#2", "b", "b#2" }, ids)
    local last
    for _ = 1, 20000 do last = id_of("many") end
    assert.are.equal("many#20000", last)
  end)

  it("all run as commands", async(function()
    local result, text, dir = run({ ["runner.lua"] = [[
      return { framework = require "frameworks.command" {
        tests = { "a", "a", "a#2" }, run_command = "test {tests} = a",
      } }
    ]] })
    assert.are.equal(1, result.code, text)
    assert.are.same({ a = "passed", ["a#2"] = "passed", ["a#2#2"] = "failed" }, finished.states(dir))
  end))

  it("all run by busted, each with its own result", async(function()
    local result, text, dir = run({
      ["spec/x_spec.lua"] = 'it("a", function() end) it("a", function() end) it("a#2", function() error("third") end)',
      ["runner.lua"] = 'return { framework = require "frameworks.busted" {} }',
    })
    assert.are.equal(1, result.code, text)
    local file = "spec/x_spec.lua > "
    assert.are.same({ [file .. "a"] = "passed", [file .. "a#2"] = "passed", [file .. "a#2#2"] = "failed" },
      finished.states(dir))
  end))

  it("run in the group of CTest as well as in one of another framework", async(function()
    if not example.has("ctest") then return pending("CTest is missing") end
    for _, depends in ipairs({ "", "set_tests_properties(two PROPERTIES DEPENDS one)\n" }) do
      local result, text, dir = run({
        ["build/CTestTestfile.cmake"] = 'add_test(one "/bin/false")\nadd_test(two "/bin/true")\n' .. depends,
        ["runner.lua"] = [[
          return { groups = {
            a = require "frameworks.command" { tests = { "one", "two" }, run_command = "test {tests} = one" },
            b = require "frameworks.ctest" {},
          } }
        ]],
      })
      assert.are.equal(1, result.code, text)
      assert.are.same({ one = "passed", two = "failed", ["b:one"] = "failed", ["b:two"] = "passed" },
        finished.states(dir))
    end
  end))

  it("are told of by CTest when they wait for one another", async(function()
    if not example.has("ctest") then return pending("CTest is missing") end
    for expected, properties in pairs({
      ["one, two, three, one"] = { "DEPENDS two", "DEPENDS three", "DEPENDS one" },
      ["two, three, two"] = { "DEPENDS two", "FIXTURES_SETUP X FIXTURES_REQUIRED Y",
        "FIXTURES_SETUP Y FIXTURES_REQUIRED X" },
    }) do
      local lines = {}
      for i, name in ipairs({ "one", "two", "three" }) do
        lines[#lines + 1] = ('add_test(%s "/bin/true")'):format(name)
        lines[#lines + 1] = ("set_tests_properties(%s PROPERTIES %s)"):format(name, properties[i])
      end
      local result, text = run({
        ["build/CTestTestfile.cmake"] = table.concat(lines, "\n"),
        ["runner.lua"] = 'return { framework = require "frameworks.ctest" {} }',
      })
      assert.are.equal(78, result.code, text)
      assert.is_truthy(text:find("wait for one another: " .. expected, 1, true), text)
    end
  end))

  it("run in each of two groups that run them in different ways, and once where groups only choose", async(function()
    local result, text, dir = run({ ["runner.lua"] = [[
      local command = require "frameworks.command"
      local function lines(run, ...) return command { tests = { ... }, run_command = run } end
      return { groups = {
        { lines("true {tests}", "x", "y"), name = "fast" },
        { lines("test {tests} = x", "x", "y"), name = "slow" },
        { lines("true {tests}", "y", "z"), name = "some" },
        { lines("true {tests}", "z"), env = { MODE = "1" }, name = "with" },
      } }
    ]] })
    assert.are.equal(1, result.code, text)
    assert.are.same({
      x = "passed", y = "passed", ["slow:x"] = "passed", ["slow:y"] = "failed", z = "passed", ["with:z"] = "passed",
    }, finished.states(dir))
    assert.matches("1 test of group some belongs to group fast already and runs there", text, 1, true)
    assert.are.equal(1, runner(dir, "run", "slow:y").code)
  end))
end)
