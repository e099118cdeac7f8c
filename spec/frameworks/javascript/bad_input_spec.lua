--- Files that cannot be loaded, hang, end their process, or hold other tests from one time to the next; runners that
--- are not there: what runner says of them, for each of the JavaScript frameworks.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

local FILES = {
  throws = "throw new Error('it cannot be loaded')",
  syntax = "const x = {",
  aborts = "process.abort()",
  empty = "",
  good = "it('is good', () => {})\nit('is good, too', () => {})",
  after = "it('ends', () => {})\nafterAll(() => { throw new Error('no way out') })",
  titles = "it('now ' + process.hrtime.bigint(), () => {})\nit('stays', () => {})",
  hangs = "if (process.env.RUNNER_WORKER) for (;;);\nit('never', () => {})\nit('never ever', () => {})",
  hook = [[
    describe('suite', () => {
      it('before it', () => {})
      describe('inner', () => {
        beforeAll(() => { process.abort() })
        it('inside', () => {})
      })
    })]],
}

local EMPTY = { vitest = "No test suite found in file", jest = "Your test suite must contain at least one test." }
local ABORTED = {
  vitest = "vitest's worker process ended while it loaded the file",
  jest = "jest ended while it was loaded: ended by SIGABRT",
  mocha = "mocha ended while it was loaded: ended by SIGABRT",
}
local UNFINISHED = {
  vitest = "Failed to parse source", jest = "Jest encountered an unexpected token", mocha = "Unexpected end of input",
}

describe("frameworks.javascript, of bad input,", function()
  after_each(javascript.reset)

  for _, name in ipairs(javascript.FRAMEWORKS) do
    local function path(file) return javascript.path(name, file) end

    it("blames files and tests of " .. name .. " for what they do, each once", async(function()
      local modules = javascript.need(pending, name)
      local dir = javascript.new(name, modules, javascript.files(name, FILES), 'load_timeout = "2s"')
      local result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)

      local states, now = finished.states(dir), 0
      for id, state in pairs(states) do
        if id:find("titles.* now %d+$") then
          assert.are.equal("failed", state)
          assert.matches("has no such test when it runs",
            finished.find(dir, "attempt_finished", { id = id }).message)
          states[id], now = nil, now + 1
        end
      end
      assert.are.equal(1, now)
      assert.are.same({
        [path("good") .. " > is good"] = "passed", [path("good") .. " > is good, too"] = "passed",
        [path("after") .. " > ends"] = "passed", [path("titles") .. " > stays"] = "passed",
        [path("hangs") .. " > never"] = "timed_out", [path("hangs") .. " > never ever"] = "timed_out",
        [path("hook") .. " > suite > before it"] = "passed", [path("hook") .. " > suite > inner > inside"] = "crashed",
      }, states, text)
      assert.matches("what it does outside of its tests did not end within 2 s",
        finished.find(dir, "attempt_finished", { id = path("hangs") .. " > never" }).message)
      assert.are.equal("the process was ended by SIGABRT while it loaded the file, or ran what surrounds its tests",
        finished.find(dir, "attempt_finished", { id = path("hook") .. " > suite > inner > inside" }).message)

      local problems = {}
      for _, problem in ipairs(finished.events(dir, "problem")) do
        assert.is_nil(problems[problem.id], problem.id)
        problems[problem.id] = problem
      end
      local function told(file, kind, pattern)
        local problem = problems[path(file)]
        problems[path(file)] = nil
        assert.is_table(problem, file)
        assert.are.equal(kind, problem.kind)
        assert.matches(pattern, problem.message)
        return problem
      end
      assert.matches(path("throws"), told("throws", "collection", "^it cannot be loaded$").text, 1, true)
      assert.matches(path("syntax"), told("syntax", "collection", "^" .. UNFINISHED[name]).text, 1, true)
      told("aborts", "collection", "^" .. ABORTED[name] .. "$")
      if EMPTY[name] then told("empty", "collection", "^" .. EMPTY[name] .. "$") end
      told("after", "teardown", "no way out$")
      assert.matches("^now %d+$", told("titles", "collection", "^1 tests appeared only when it ran").text)
      assert.are.same({}, problems)
      assert.are.same({}, javascript.left_running(dir))
    end))

    it("gives up listing the tests of " .. name .. " where a file hangs, and says which", async(function()
      local modules = javascript.need(pending, name)
      local files = javascript.files(name, { hangs = "for (;;);" })
      local dir = javascript.new(name, modules, files, 'list_timeout = "3s"')
      local result, text = javascript.run(dir)
      assert.are.equal(78, result.code, text)
      local message = ("%s did not list its tests within 3 s; it was loading %s"):format(name, path("hangs"))
      assert.matches(message, text, 1, true)
      assert.are.same({}, javascript.left_running(dir))
    end))

    it("says what is missing for " .. name, async(function()
      javascript.need(pending, name)
      local dir = javascript.new(name, nil, javascript.files(name, { good = FILES.good }))
      local result, text = javascript.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches(name .. " is not installed: there is no node_modules/" .. name .. " in " .. dir, text, 1, true)
      assert.matches(': install it ("npm ci"', text, 1, true)
      assert.is_nil(text:find("sandbox", 1, true))

      project.write(dir, { ["node_modules/" .. name .. "/package.json"] = '{ "version": "1.2.3" }' })
      result, text = javascript.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches(name .. " 1.2.3 is too old", text, 1, true)

      javascript.configure(name, dir, 'node = "no-such-node"')
      result, text = javascript.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches("cannot run no%-such%-node %(.*%): install Node.js, or set node = .* of the " .. name, text)
    end))

    it("shows what is wrong with the configuration of " .. name, async(function()
      local modules = javascript.need(pending, name)
      local dir = javascript.new(name, modules, javascript.files(name, { good = FILES.good }))
      project.write(dir, {
        ["vitest.config.mjs"] = "throw new Error('a bad day')", ["jest.config.js"] = "throw new Error('a bad day')",
        [".mocharc.js"] = "throw new Error('a bad day')",
      })
      local result, text = javascript.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches("a bad day", text)
      assert.are.same({}, javascript.left_running(dir))
    end))
  end
end)
