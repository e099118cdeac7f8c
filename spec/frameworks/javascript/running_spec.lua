--- What is run, where and how often, for each of the JavaScript frameworks.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

--- How often each line is there.
local function counts(path)
  local count = {}
  for _, line in ipairs(javascript.lines(path)) do count[line] = (count[line] or 0) + 1 end
  return count
end

local function file(letter)
  return ([[
    log('load X')
    describe('(.*)', () => {
      it('one', () => log('X one'))
      it('one more', () => log('X one more'))
      it('[two', () => {
        log('X two')
        if (process.env.RUNNER_ATTEMPT === '1') throw new Error('not yet')
      })
    })]]):gsub("X", letter)
end

describe("frameworks.javascript:", function()
  after_each(javascript.reset)

  for _, name in ipairs(javascript.FRAMEWORKS) do
    local function path(of) return javascript.path(name, of) end

    it("loads only what files of " .. name .. " are needed, and runs nothing else of them", async(function()
      local modules = javascript.need(pending, name)
      local log = javascript.log()
      local files = javascript.files(name, { a = file("a"), b = file("b"), c = file("c") })
      local dir = javascript.new(name, modules, files, nil, "{ retries = 1 }")
      local result, text = javascript.run(dir)
      assert.are.equal(2, result.code, text)
      -- Loaded once to be listed, once to run, and once more for the test that is tried again, alone.
      assert.are.same({
        ["load a"] = 3, ["a one"] = 1, ["a one more"] = 1, ["a two"] = 2,
        ["load b"] = 3, ["b one"] = 1, ["b one more"] = 1, ["b two"] = 2,
        ["load c"] = 3, ["c one"] = 1, ["c one more"] = 1, ["c two"] = 2,
      }, counts(log))

      os.remove(log)
      result, text = javascript.run(dir, path("b") .. " > (.*) > on", "--seed=7")
      assert.are.equal(0, result.code, text)
      -- What there is, is known from the first run.
      assert.are.same({ ["load b"] = 1, ["b one"] = 1, ["b one more"] = 1 }, counts(log))

      os.remove(log)
      result, text = javascript.run(dir, "c.test", "-E", "test(=(.*) > one more)", "--no-cache")
      assert.are.equal(0, result.code, text)
      assert.are.same({ ["load a"] = 1, ["load b"] = 1, ["load c"] = 2, ["c one more"] = 1 }, counts(log))

      -- A new file, and a changed one, are seen.
      project.write(dir, javascript.files(name, { c = file("C"), d = file("d") }))
      os.remove(log)
      result, text = javascript.run(dir, "one more")
      assert.are.equal(0, result.code, text)
      assert.are.same({
        ["load a"] = 2, ["load b"] = 2, ["load C"] = 2, ["load d"] = 2, ["a one more"] = 1, ["b one more"] = 1,
        ["C one more"] = 1, ["d one more"] = 1,
      }, counts(log))
    end))

    it("tells tests of " .. name .. " who they are and which worker runs them", async(function()
      local modules = javascript.need(pending, name)
      local log = javascript.log()
      local own = ({
        vitest = "Number(process.env.VITEST_POOL_ID) - 1", jest = "Number(process.env.JEST_WORKER_ID) - 1",
        mocha = "Number(process.env.MOCHA_WORKER_ID)",
      })[name]
      local text = ([[
        it('X', async () => {
          log([process.env.RUNNER_TEST_ID, process.env.RUNNER_ATTEMPT, process.env.RUNNER_WORKER, OWN,
            process.env.NODE_ENV, process.env.GIVEN].join(' '))
          await new Promise((resolve) => setTimeout(resolve, 50))
        })]]):gsub("OWN", own)
      local files = {}
      for i = 1, 6 do files["f" .. i] = text:gsub("'X'", ("'t%d'"):format(i)) end
      local dir = javascript.new(name, modules, javascript.files(name, files), 'env = { GIVEN = "given" }')
      local result, said = javascript.run(dir)
      assert.are.equal(0, result.code, said)
      local workers, ids = {}, {}
      for _, line in ipairs(javascript.lines(log)) do
        local id, worker, same = line:match("^(.*) 1 (%d) (%d) test given$")
        assert.is_string(id, line)
        assert.are.equal(worker, same)
        workers[worker], ids[id] = true, true
      end
      for i = 1, 6 do assert.is_true(ids[("%s > t%d"):format(path("f" .. i), i)]) end
      assert.are.same({ ["0"] = true, ["1"] = true }, workers)
    end))

    it("reports processes that tests of " .. name .. " leave running, and ends them", async(function()
      local modules = javascript.need(pending, name)
      local dir = javascript.new(name, modules, javascript.files(name, {
        leak = "it('leaks', () => { spawn('sleep', ['78'], { detached: true, stdio: 'ignore' }).unref() })",
      }))
      local result, text = javascript.run(dir)
      assert.are.equal(0, result.code, text)
      local leak = finished.find(dir, "problem", { kind = "leak" })
      assert.are.same({ path("leak") .. " > leaks", "left running: sleep 78" }, { leak.id, leak.message })
      assert.are.same({}, javascript.left_running(dir))
    end))

    it("sets up once for all workers of " .. name .. ", and shows why that failed", async(function()
      local modules = javascript.need(pending, name)
      local log = javascript.log()
      local function write(dir, up, down)
        local head = "const log = (line) => require('node:fs').appendFileSync(process.env.LOG, line + '\\n');"
        project.write(dir, {
          ["up.cjs"] = head .. ("module.exports = async () => { log('up'); process.env.UP = 'yes'; %s }"):format(up),
          ["down.cjs"] = head .. ("module.exports = async () => { log('down'); %s }"):format(down),
          ["vitest.config.mjs"] = "export default { test: { globalSetup: './both.mjs' } }",
          ["both.mjs"] = "export { default as setup } from './up.cjs'\n"
            .. "export { default as teardown } from './down.cjs'",
          ["jest.config.js"] = "module.exports = { globalSetup: './up.cjs', globalTeardown: './down.cjs' }",
          [".mocharc.json"] = '{ "require": "./hooks.cjs", "spec": "test/**" }',
          ["hooks.cjs"] = "module.exports = { mochaGlobalSetup: require('./up.cjs'), "
            .. "mochaGlobalTeardown: require('./down.cjs') }",
        })
      end
      local files = {}
      for _, letter in ipairs({ "a", "b", "c", "d" }) do
        files[letter] = "it('is set up', () => { if (process.env.UP !== 'yes') throw new Error('it is not') })"
      end
      local dir = javascript.new(name, modules, javascript.files(name, files))
      write(dir, "", "")
      local result, text = javascript.run(dir)
      assert.are.equal(0, result.code, text)
      assert.are.same({ up = 1, down = 1 }, counts(log))
      result, text = javascript.run(dir) -- the tests are known, and still it is to be set up
      assert.are.equal(0, result.code, text)
      assert.are.same({ up = 2, down = 2 }, counts(log))

      write(dir, "", "throw new Error('it does not close')")
      result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      assert.are.equal(4, finished.counts(dir).passed)
      local problem = finished.find(dir, "problem")
      assert.are.equal("teardown", problem.kind)
      assert.are.equal(name .. ": the global teardown failed: it does not close", problem.message)

      write(dir, "throw new Error('it does not open')", "")
      result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      assert.is_nil(finished.counts(dir).passed)
      assert.matches("the global setup failed: it does not open", text, 1, true)
      assert.are.same({}, javascript.left_running(dir))
    end))
  end

  it("lets files of vitest and jest share nothing", async(function()
    for _, name in ipairs({ "vitest", "jest" }) do
      local modules = javascript.need(pending, name)
      local text = "it('is alone', () => { globalThis.there = (globalThis.there ?? 0) + 1\n"
        .. "if (globalThis.there !== 1) throw new Error('it is not') })"
      local dir = javascript.new(name, modules, javascript.files(name, { a = text, b = text, c = text }), nil,
        "{ max_parallel = 1 }")
      local result, said = javascript.run(dir)
      assert.are.equal(0, result.code, said)
    end
  end))
end)
