--- Whole runs over examples/jest, compared with what jest itself reports of it.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

--- What is expected of jest alone: it gives each test one try and does not stop those that hang.
local function native_states()
  local expected = example.expected("jest")
  for id, state in pairs(expected) do
    if id:find("/crash%.") or id:find("/exit%.") or id:find("/hang%.") then
      expected[id] = nil -- it tells nothing of the tests of a process that ended, and waits for ever
    elseif state == "flaky" then
      expected[id] = "failed"
    end
  end
  return expected
end

describe("frameworks.jest", function()
  after_each(project.remove_all)

  for _, version in ipairs(javascript.versions("jest")) do
    it("ends every test of the example as expected, and as jest " .. version .. " itself reports it", async(function()
      local modules = javascript.need(pending, "jest", version)
      local dir = javascript.example("jest", modules)
      local result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      assert.are.same(example.expected("jest"), finished.states(dir), text)
      assert.are.same({}, finished.events(dir, "problem"))
      assert.are.same({}, javascript.left_running(dir))

      local report = javascript.native(dir, "jest", "--json", "--outputFile={json}",
        "--testPathIgnorePatterns=/(crash|exit|hang)[.]")
      assert.are.same(native_states(), javascript.states(report, dir))

      -- Why a test failed, and what each printed.
      local function attempt(id)
        return finished.find(dir, "attempt_finished", { id = "test/" .. id })
      end
      local failed = attempt("outcomes.test.js > outcomes > fails")
      assert.are.equal("expect(received).toEqual(expected) // deep equality", failed.message)
      assert.matches("    -   1,\n    +   2,\n", failed.trace, 1, true)
      assert.matches("at Object.toEqual %(test/outcomes.test.js:5:%d+%)", failed.trace)
      assert.are.equal("the till is stuck", attempt("outcomes.test.js > without a till > buys").message)
      assert.are.same({ { "jest", "passed after 1 retry of its own" } },
        attempt("outcomes.test.js > tried again by jest > passes on the second try").sections)
      assert.are.equal("the process was ended by SIGABRT while this test ran",
        attempt("crash.test.js > crashes").message)
      assert.are.equal("the process exited with status 3 while this test ran",
        attempt("exit.test.js > ends the process").message)
      local printed = finished.output(dir, "test/output.test.js > prints")
      assert.matches("console.log\n +to the console\n", printed)
      assert.matches("no line end$", printed)
      assert.are.equal("latin-1: \xe9\xfc, NUL: \0, escape: \27[31m\n",
        finished.output(dir, "test/output.test.js > prints odd bytes"))
      local test = finished.find(dir, "test", { name = "change > is nothing for nothing" })
      assert.are.equal("test/till.test.js", test.file)
    end))
  end
end)
