--- Verdicts where the frameworks themselves tell them in odd ways: hooks that fail after a test, tests at the same time
--- or of the same name, tests tried again, suites in suites. Each result belongs to the test that it names, and no
--- failure that a framework tells of leaves exit code 0.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

--- Runs one file in each version of a framework; `check` gets the states of its tests and all messages, by id.
local function each_version(name, text, settings, check)
  for _, version in ipairs(javascript.versions(name)) do
    local modules = javascript.need(pending, name, version)
    local dir = javascript.new(name, modules, javascript.files(name, { a = text }), nil, settings)
    local result, said = javascript.run(dir)
    local states, messages = {}, {}
    for id, state in pairs(finished.states(dir)) do
      local own = id:gsub("^[^>]* > ", "", 1)
      states[own] = state
      messages[own] = finished.find(dir, "attempt_finished", { id = id }).message
    end
    local problems = {}
    for _, problem in ipairs(finished.events(dir, "problem")) do problems[#problems + 1] = problem.message end
    check(result.code, states, messages, problems, ("%s %s\n%s"):format(name, version, said))
  end
end

describe("frameworks.javascript, of verdicts,", function()
  after_each(javascript.reset)

  it("fails the test of mocha whose \"after each\" hook fails, and those that it keeps from running", async(function()
    local text = [[
      describe('alone', () => {
        it('t', () => {})
        afterEach(() => { throw new Error('after') })
      })
      describe('two', () => {
        it('first', () => { throw new Error('itself') })
        it('second', () => {})
        afterEach(() => { throw new Error('after') })
      })
      it('is done twice', (done) => { done(); done() })
      describe.skip('never', () => { it('runs', () => {}) })
    ]]
    each_version("mocha", text, "{ retries = 1 }", function(code, states, messages, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({
        ["alone > t"] = "failed", ["two > first"] = "failed", ["two > second"] = "failed",
        ["is done twice"] = "failed", ["never > runs"] = "skipped",
      }, states, said)
      assert.are.equal('"after each" hook for "t": after', messages["alone > t"])
      assert.are.equal("itself", messages["two > first"])
      assert.are.equal('"after each" hook for "first": after', messages["two > second"])
      assert.matches("^done%(%) called multiple times", messages["is done twice"])
      assert.are.same({}, problems)
    end)
  end))

  it("fails a run of mocha for a hook that no test is left to share", async(function()
    local text = [[
      describe('only skipped', () => {
        beforeAll(() => { throw new Error('before') })
        it.skip('t', () => {})
      })
      describe('passes', () => {
        it('u', () => {})
        afterAll(() => { throw new Error('one') })
        afterAll(() => { throw new Error('two') })
      })
    ]]
    each_version("mocha", text, nil, function(code, states, _, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({ ["only skipped > t"] = "skipped", ["passes > u"] = "passed" }, states, said)
      table.sort(problems)
      assert.are.equal('"after all" hook for "u": one', problems[1], said)
      assert.are.equal('"before all" hook for "t": before', problems[#problems], said)
    end)
  end))

  it("blames the test of mocha after which nothing is left in the event loop", async(function()
    local text = [[
      it('before', () => {})
      it('waits for nothing', function (done) { this.runnable().clearTimeout() })
      it('after', () => {})
    ]]
    each_version("mocha", text, nil, function(code, states, messages, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({ before = "passed", ["waits for nothing"] = "crashed", after = "passed" }, states, said)
      assert.matches("its event loop ran dry while this test ran$", messages["waits for nothing"])
      assert.are.same({}, problems)
    end)
  end))

  it("fails a run for what a test of mocha or jest left behind that fails", async(function()
    for _, name in ipairs({ "mocha", "jest" }) do
      each_version(name, "it('t', () => { setTimeout(() => { throw new Error('late') }, 100) })", nil,
        function(code, states, _, problems, said)
          assert.are.equal(1, code, said)
          assert.are.same({ t = "passed" }, states, said)
          assert.are.same({ ("between tests of %s: late"):format(name) }, problems)
        end)
    end
  end))

  it("gives concurrent tests of jest their own results, also those of one name", async(function()
    local text = [[
      const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
      test.concurrent('good', async () => {})
      test.concurrent('bad', async () => { throw new Error('bad') })
      test.concurrent('same', async () => { await pause(60); throw new Error('first') })
      test.concurrent('same', async () => {})
      test('after', () => {})
    ]]
    each_version("jest", text, nil, function(code, states, messages, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({
        good = "passed", bad = "failed", same = "failed", ["same #2"] = "passed", after = "passed",
      }, states, said)
      assert.are.same({ "bad", "first" }, { messages.bad, messages.same })
      assert.are.same({}, problems)
    end)
  end))

  it("tells each error of a file of jest with its own message, and takes none for a test's", async(function()
    local text = [[
      test('fails', () => { throw new Error('itself') })
      describe('suite', () => {
        afterAll(() => { throw new Error('after all') })
        test('passes', () => {})
      })
      afterAll(() => { throw 'a word' })
    ]]
    each_version("jest", text, nil, function(code, states, messages, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({ fails = "failed", ["suite > passes"] = "passed" }, states, said)
      assert.are.equal("itself", messages.fails)
      table.sort(problems)
      assert.are.same({ "after all", "thrown: 'a word'" }, problems)
    end)
  end))

  it("fails a file of jest for what jest itself fails it for", async(function()
    for _, version in ipairs(javascript.versions("jest")) do
      local modules = javascript.need(pending, "jest", version)
      local head = version == "29" and "https://goo.gl/fbAQLP" or "https://jestjs.io/docs/snapshot-testing"
      local dir = javascript.new("jest", modules, javascript.files("jest", {
        code = "test('t', () => { process.exitCode = 3 })", old = "test('u', () => {})",
      }))
      project.write(dir, { ["test/__snapshots__/old.test.js.snap"] =
        ("// Jest Snapshot v1, %s\n\nexports[`gone 1`] = `1`;\n"):format(head) })
      local result, said = javascript.run(dir)
      assert.are.equal(1, result.code, said)
      assert.are.same({ passed = 2 }, finished.counts(dir))
      local problems = {}
      for _, problem in ipairs(finished.events(dir, "problem")) do problems[#problems + 1] = problem.message end
      table.sort(problems)
      assert.are.same({ '1 obsolete snapshot, as "jest -u" removes: gone 1', "it set process.exitCode to 3" }, problems)
    end
  end))

  it("runs jest's projects of one name, each with its own configuration", async(function()
    for _, version in ipairs(javascript.versions("jest")) do
      local modules = javascript.need(pending, "jest", version)
      local dir = javascript.new("jest", modules, {
        ["jest.config.js"] = [[module.exports = { projects: [
          { displayName: 'p', testMatch: ['**/t.js'], globals: { place: 'one' } },
          { displayName: 'p', testMatch: ['**/t.js'], globals: { place: 'two' } },
        ] }]],
        ["t.js"] = "it('knows where', () => expect(globalThis.place).toBe('one'))",
      })
      local result, said = javascript.run(dir)
      assert.are.equal(1, result.code, said)
      assert.are.same({ ["t.js [p] > knows where"] = "passed", ["t.js [p #2] > knows where"] = "failed" },
        finished.states(dir), said)
    end
  end))

  it("skips what vitest skips, in suites within suites and beside hooks that fail", async(function()
    local text = [[
      import { afterEach } from 'vitest'
      describe.skip('a', () => { describe.skip('b', () => { it('c', () => {}) }) })
      describe('after', () => {
        afterAll(() => { throw new Error('after all') })
        it('runs', () => {})
        it('skips itself', (context) => context.skip())
        it.skip('skipped', () => {})
        it.todo('to do')
      })
      describe('before', () => {
        beforeAll(() => { throw new Error('before all') })
        it('is kept from running', () => {})
        it.skip('skipped', () => {})
      })
    ]]
    each_version("vitest", text, nil, function(code, states, messages, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({
        ["a > b > c"] = "skipped", ["after > runs"] = "passed", ["after > skips itself"] = "skipped",
        ["after > skipped"] = "skipped", ["after > to do"] = "skipped",
        ["before > is kept from running"] = "failed", ["before > skipped"] = "skipped",
      }, states, said)
      assert.are.equal("before all", messages["before > is kept from running"])
      assert.are.same({ "after all" }, problems)
    end)
  end))

  it("tells each error of a file of vitest with its own message", async(function()
    local text = [[
      afterAll(() => { throw new Error('of the file') })
      describe('suite', () => {
        afterAll(() => { throw new Error('of the suite') })
        it('passes', () => { Promise.reject(new Error('of nobody')) })
      })
    ]]
    each_version("vitest", text, nil, function(code, states, _, problems, said)
      assert.are.equal(1, code, said)
      assert.are.same({ ["suite > passes"] = "passed" }, states, said)
      table.sort(problems)
      assert.are.same({ "of the file", "of the suite", "unhandled error: of nobody" }, problems)
    end)
  end))
end)
