--- Whole runs over examples/vitest, compared with what vitest itself reports of it.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

--- What is expected of vitest alone: it gives each test one try and does not stop those that hang.
local function native_states()
  local expected = example.expected("vitest")
  for id, state in pairs(expected) do
    if id:find("crash.test.ts", 1, true) or id:find("hang.test.ts", 1, true) then
      expected[id] = nil -- it tells nothing of the tests of a process that ended, and waits for ever
    elseif state == "flaky" then
      expected[id] = "failed"
    elseif id:find("without a shop", 1, true) then
      expected[id] = "skipped" -- by name, while the suite has failed
    end
  end
  return expected
end

describe("frameworks.vitest", function()
  after_each(project.remove_all)

  for _, version in ipairs(javascript.versions("vitest")) do
    it("ends every test of the example as expected, and as vitest " .. version .. " itself reports it", async(function()
      local modules = javascript.need(pending, "vitest", version)
      local dir = javascript.example("vitest", modules)
      local result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      assert.are.same(example.expected("vitest"), finished.states(dir), text)
      assert.are.same({}, finished.events(dir, "problem"))
      assert.are.same({}, javascript.left_running(dir))

      local report = javascript.native(dir, "vitest", "run", "--reporter=json", "--outputFile={json}",
        "--exclude=**/hang.test.ts", "--exclude=**/crash.test.ts")
      assert.are.same(native_states(), javascript.states(report, dir))
      local suites = {}
      for _, file in ipairs(report.testResults) do suites[file.name:match("[^/]+$")] = file.status end
      assert.are.equal("failed", suites["outcomes.test.ts"])

      -- Why a test failed, and what each printed.
      local function attempt(id)
        return finished.find(dir, "attempt_finished", { id = "test/" .. id })
      end
      local failed = attempt("outcomes.test.ts > outcomes > fails")
      assert.are.equal("AssertionError", failed.type)
      assert.matches("^expected { price: 1 } to deeply equal { price: 2 }", failed.message)
      assert.matches('-   "price": 2,\n+   "price": 1,', failed.trace, 1, true)
      assert.matches("at .*/test/outcomes.test.ts:4:%d+", failed.trace)
      assert.are.equal("the shop is closed", attempt("outcomes.test.ts > without a shop > buys").message)
      assert.are.equal("nothing in stock",
        attempt("outcomes.test.ts > outcomes > is skipped while it runs").reason)
      assert.are.same({ { "vitest", "passed after 1 retry of its own" } },
        attempt("outcomes.test.ts > outcomes > is tried again by vitest").sections)
      local crashed = attempt("crash.test.ts > crashes")
      assert.are.equal("the process was ended by SIGABRT while this test ran", crashed.message)
      local _, traces = finished.output(dir, "test/crash.test.ts > crashes"):gsub("JavaScript stack trace", "")
      assert.are.equal(1, traces)
      assert.are.equal("to the console\nto the console, as an error\nno line end",
        finished.output(dir, "test/output.test.js > prints"))
      assert.are.equal("latin-1: \xe9\xfc, NUL: \0, escape: \27[31m\n",
        finished.output(dir, "test/output.test.js > prints odd bytes"))
      local test = finished.find(dir, "test", { name = "slug > joins words" })
      assert.are.equal("test/slug.test.ts", test.file)
    end))
  end
end)
