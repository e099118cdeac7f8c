--- Projects, workspaces, configurations and kinds of modules, as the JavaScript frameworks have them.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

local PASSES = "it('passes', () => {})"

describe("frameworks.javascript:", function()
  after_each(javascript.reset)

  it("runs vitest's projects, and tells their tests apart", async(function()
    local modules = javascript.need(pending, "vitest")
    local files = javascript.files("vitest", { both = [[
      it('passes', () => {})
      it('knows where it is', () => {
        if (process.env.PLACE !== 'two') throw new Error('in ' + process.env.PLACE)
      })]], single = PASSES })
    files["vitest.config.mjs"] = [[export default { test: { projects: [
      { test: { name: 'one', include: ['test/both.test.mjs'], env: { PLACE: 'one' } } },
      { test: { name: 'two', include: ['test/*.test.mjs'], env: { PLACE: 'two' }, pool: 'threads' } },
    ] } }]]
    local dir = javascript.new("vitest", modules, files)
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    local path = javascript.path("vitest", "both")
    assert.are.same({
      [path .. " [one] > passes"] = "passed", [path .. " [one] > knows where it is"] = "failed",
      [path .. " [two] > passes"] = "passed", [path .. " [two] > knows where it is"] = "passed",
      [javascript.path("vitest", "single") .. " > passes"] = "passed",
    }, finished.states(dir), text)
    result, text = javascript.run(dir, "-E", "tag(two)")
    assert.are.equal(0, result.code, text)
    assert.are.same({ passed = 3 }, finished.counts(dir))

    javascript.configure("vitest", dir, 'projects = { "one" }')
    result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ [path .. " > passes"] = "passed", [path .. " > knows where it is"] = "failed" },
      finished.states(dir), text)
  end))

  it("runs vitest's files one at a time where they want to be", async(function()
    local modules = javascript.need(pending, "vitest")
    local log = javascript.log()
    local files = {}
    for _, letter in ipairs({ "a", "b", "c", "d" }) do
      files[letter] = [[
        beforeAll(() => log('begin'))
        it('waits', () => new Promise((resolve) => setTimeout(resolve, 100)))
        afterAll(() => log('end'))]]
    end
    local dir = javascript.new("vitest", modules, javascript.files("vitest", files))
    project.write(dir, { ["vitest.config.mjs"] = "export default { test: { fileParallelism: false } }" })
    local result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    local lines = javascript.lines(log)
    assert.are.equal(8, #lines)
    for i, line in ipairs(lines) do assert.are.equal(i % 2 == 1 and "begin" or "end", line) end
  end))

  it("blames a test that ends the process of all in vitest's threads", async(function()
    local modules = javascript.need(pending, "vitest")
    local dir = javascript.new("vitest", modules, javascript.files("vitest", {
      a = "it('before', () => {})\nit('crashes', () => process.kill(process.pid, 'SIGKILL'))\nit('after', () => {})",
    }), 'args = { "--pool=threads" }')
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    local path = javascript.path("vitest", "a")
    assert.are.same({
      [path .. " > before"] = "passed", [path .. " > crashes"] = "crashed", [path .. " > after"] = "passed",
    }, finished.states(dir), text)
  end))

  it("runs those of several tests at once alone when their process ended", async(function()
    local modules = javascript.need(pending, "vitest")
    local dir = javascript.new("vitest", modules, javascript.files("vitest", { a = [[
      const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
      describe.concurrent('at once', () => {
        it('waits', () => pause(300))
        it('crashes', async () => { await pause(30); process.abort() })
        it('waits, too', () => pause(300))
      })]] }))
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    local prefix = javascript.path("vitest", "a") .. " > at once > "
    assert.are.same({
      [prefix .. "waits"] = "passed", [prefix .. "crashes"] = "crashed", [prefix .. "waits, too"] = "passed",
    }, finished.states(dir), text)
  end))

  it("runs jest's projects, ES modules and other configurations", async(function()
    local modules = javascript.need(pending, "jest")
    local where = "it('knows where', () => expect(globalThis.place).toBe('%s'))"
    local dir = javascript.new("jest", modules, {
      ["jest.config.mjs"] = [[export default { projects: [
        { displayName: 'one', testMatch: ['**/both.js', '**/module.mjs'], globals: { place: 'one' }, transform: {} },
        { displayName: 'two', testMatch: ['**/both.js'], globals: { place: 'two' } },
      ] }]],
      ["other.config.js"] = "module.exports = { testMatch: ['**/other.js'], globals: { place: 'other' } }",
      ["t/both.js"] = where:format("two"),
      ["t/module.mjs"] = "import { it as test, expect } from '@jest/globals'\nimport os from 'node:os'\n"
        .. "await 1\ntest('imports', () => expect(os.EOL).toBe('\\n'))",
      ["t/other.js"] = where:format("other") .. "\n" .. PASSES,
    }, 'env = { NODE_OPTIONS = "--experimental-vm-modules" }')
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({
      ["t/both.js [one] > knows where"] = "failed", ["t/both.js [two] > knows where"] = "passed",
      ["t/module.mjs > imports"] = "passed",
    }, finished.states(dir), text)

    javascript.configure("jest", dir, 'projects = { "two" }')
    result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({ ["t/both.js > knows where"] = "passed" }, finished.states(dir))

    javascript.configure("jest", dir, 'config = "other.config.js"')
    result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({ ["t/other.js > knows where"] = "passed", ["t/other.js > passes"] = "passed" },
      finished.states(dir))
  end))

  it("keeps what jest has transformed where jest itself looks for it", async(function()
    local modules = javascript.need(pending, "jest")
    local log = javascript.log()
    local dir = javascript.new("jest", modules, javascript.files("jest", { a = PASSES, b = PASSES }))
    project.write(dir, {
      ["jest.config.js"] = "module.exports = { transform: { 'js$': '<rootDir>/transform.cjs' }, "
        .. "cacheDirectory: '<rootDir>/.cache' }",
      ["transform.cjs"] = "exports.process = (text, file) => {\n"
        .. "require('node:fs').appendFileSync(process.env.LOG, file + '\\n'); return { code: text } }",
    })
    local result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.equal(2, #javascript.lines(log)) -- to list and to run is to transform once
    javascript.native(dir, "jest")
    assert.are.equal(2, #javascript.lines(log))
  end))

  it("finds the runner of a workspace from one of its packages", async(function()
    for _, name in ipairs(javascript.FRAMEWORKS) do
      local modules = javascript.need(pending, name)
      local files = {}
      for path, text in pairs(javascript.files(name, { a = PASSES })) do
        files["packages/one/" .. path], files["packages/two/" .. path] = text, text
      end
      files["packages/one/package.json"] = '{ "private": true, "jest": {} }'
      local dir = javascript.new(name, modules, files, 'working_dir = "packages/one"')
      local result, text = javascript.run(dir)
      assert.are.equal(0, result.code, text)
      assert.are.same({ [("packages/one/%s > passes"):format(javascript.path(name, "a"))] = "passed" },
        finished.states(dir))
    end
  end))

  it("takes paths and arguments as the runners do", async(function()
    for _, name in ipairs(javascript.FRAMEWORKS) do
      local modules = javascript.need(pending, name)
      local files = javascript.files(name, { apple = PASSES, pear = PASSES, plum = PASSES })
      local dir = javascript.new(name, modules, files, ("paths = { %q }"):format(javascript.path(name, "pear")))
      local result, text = javascript.run(dir)
      assert.are.equal(0, result.code, text)
      assert.are.same({ [javascript.path(name, "pear") .. " > passes"] = "passed" }, finished.states(dir))
    end
    local modules = javascript.need(pending, "mocha")
    local dir = javascript.new("mocha", modules, javascript.files("mocha", { a = "it('one', () => {})\n"
      .. "it('two', () => {})" }), 'args = { "--grep", "two", "--spec", "test/*.test.js" }')
    local result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({ [javascript.path("mocha", "a") .. " > two"] = "passed" }, finished.states(dir))
  end))

  -- With CI set, vitest refuses `only`; the project says what it wants, so that CI changes nothing here.
  it("runs only what `only` leaves, as each runner understands it", async(function()
    for name, expected in pairs({
      vitest = { ["a > one"] = "passed", ["a > two"] = "skipped", ["b > one"] = "passed" },
      jest = { ["a > one"] = "passed", ["a > two"] = "skipped", ["b > one"] = "passed" },
      mocha = { ["a > one"] = "passed" }, -- of all files
    }) do
      local modules = javascript.need(pending, name)
      local dir = javascript.new(name, modules, javascript.files(name, {
        a = "it.only('one', () => {})\nit('two', () => {})", b = "it('one', () => {})",
      }), name == "vitest" and 'args = { "--allowOnly" }' or nil)
      local result, text = javascript.run(dir)
      assert.are.equal(0, result.code, text)
      local states = {}
      for id, state in pairs(finished.states(dir)) do states[id:match("test/(%a)") .. id:match("( > .*)$")] = state end
      assert.are.same(expected, states, name)
    end
  end))

  it("fails a test with `only` where vitest is told to", async(function()
    local modules = javascript.need(pending, "vitest")
    local dir = javascript.new("vitest", modules, javascript.files("vitest", {
      a = "it.only('one', () => {})\nit('two', () => {})",
    }), 'args = { "--allowOnly=false" }')
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.equal("failed", finished.states(dir)["test/a.test.mjs > one"])
    assert.is_truthy(text:find("Unexpected .only modifier", 1, true), text)
  end))
end)
