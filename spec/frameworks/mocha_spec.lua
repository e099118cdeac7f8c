--- Whole runs over examples/mocha, compared with what mocha itself reports of it.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

--- What is expected of mocha alone: it gives each test one try, does not stop those that hang, and says nothing of
--- tests that a hook keeps from running.
local function native_states()
  local expected = example.expected("mocha")
  for id, state in pairs(expected) do
    if id:find("/crash%.") or id:find("/exit%.") or id:find("/hang%.") or id:find("without a senate", 1, true)
      or id:find("is not reached", 1, true) then
      expected[id] = nil
    elseif state == "flaky" then
      expected[id] = "failed"
    end
  end
  return expected
end

--- States by id, of a report of mocha's.
local function states_of(report, dir)
  local states = {}
  local function add(list, state)
    for _, one in ipairs(list) do
      -- Of the suites, only the whole is told, with blanks between them.
      local suites = one.fullTitle:sub(1, -#one.title - 2):gsub("^roman with", "roman > with")
      local id = ("%s > %s%s"):format(one.file:sub(#dir + 2), suites ~= "" and suites .. " > " or "", one.title)
      if not one.title:find(" hook ", 1, true) then states[states[id] and id .. " #2" or id] = state end
    end
  end
  add(report.passes, "passed")
  add(report.failures, "failed")
  add(report.pending, "skipped")
  return states
end

describe("frameworks.mocha", function()
  after_each(project.remove_all)

  for _, version in ipairs(javascript.versions("mocha")) do
    it("ends every test of the example as expected, and as mocha " .. version .. " itself reports it", async(function()
      local modules = javascript.need(pending, "mocha", version)
      local dir = javascript.example("mocha", modules)
      local result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      assert.are.same(example.expected("mocha"), finished.states(dir), text)
      assert.are.same({}, finished.events(dir, "problem"))
      assert.are.same({}, javascript.left_running(dir))

      local report = javascript.native(dir, "mocha", "--reporter=json", "--reporter-option=output={json}",
        "--ignore=test/crash.test.js", "--ignore=test/exit.test.js", "--ignore=test/hang.test.js")
      assert.are.same(native_states(), states_of(report, dir))

      -- Why a test failed, and what each printed.
      local function attempt(id)
        return finished.find(dir, "attempt_finished", { id = "test/" .. id })
      end
      local failed = attempt("module.test.mjs > an ES module > fails")
      assert.are.equal("AssertionError", failed.type)
      assert.matches("^Expected values to be strictly equal", failed.message)
      assert.matches("at .*/test/module.test.mjs:10:%d+", failed.trace)
      assert.are.equal('"before all" hook for "votes": the senate is not in session',
        attempt("outcomes.test.js > without a senate > argues").message)
      assert.matches('^"before each" hook for "is not reached": the road is blocked$',
        attempt("outcomes.test.js > before each > is not reached").message)
      assert.are.same({ { "mocha", "passed after 1 retry of its own" } },
        attempt("outcomes.test.js > outcomes > is tried again by mocha").sections)
      assert.are.equal("the process was ended by SIGABRT while this test ran",
        attempt("crash.test.js > crashes").message)
      assert.are.equal("the process exited with status 3 while this test ran",
        attempt("exit.test.js > ends the process").message)
      assert.are.equal("to the console\nto the console, as an error\nno line end",
        finished.output(dir, "test/output.test.js > prints"))
      assert.are.equal("latin-1: \xe9\xfc, NUL: \0, escape: \27[31m\n",
        finished.output(dir, "test/output.test.js > prints odd bytes"))
      local test = finished.find(dir, "test", { name = "an ES module > imports" })
      assert.are.equal("test/module.test.mjs", test.file)
    end))
  end
end)
