--- What a file of tests must not do to those that follow, and what its list of tests depends on besides the project.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local CASES = [[
  const fs = require('node:fs')
  const path = require('node:path')
  const cases = path.resolve(__dirname, '../../data')
]]

local CASES_ESM = [[
  import * as fs from 'node:fs'
  import * as path from 'node:path'
  const cases = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../../data')
]]

local BY_CASE = [[
  for (const name of fs.readdirSync(cases)) it('file ' + name, () => {})
  for (const line of fs.readFileSync(cases + '/list', 'utf8').split(' ')) it('line ' + line, () => {})
]]

describe("frameworks.javascript:", function()
  after_each(javascript.reset)

  for _, name in ipairs(javascript.FRAMEWORKS) do
    it("finds the files of " .. name .. " wherever one of them has gone", async(function()
      local modules = javascript.need(pending, name)
      local moves = "it('moves', () => process.chdir('/')); it('stays', () => {})"
      local dir = javascript.new(name, modules, javascript.files(name, {
        a = "process.chdir('/'); " .. moves, b = moves, c = moves,
      }), nil, "{ max_parallel = 1 }")
      local result, text = javascript.run(dir, "--no-cache")
      assert.are.equal(0, result.code, text)
      local states = {}
      for id, state in pairs(finished.states(dir)) do states[#states + 1] = id .. " " .. state end
      table.sort(states)
      local expected = {}
      for _, file in ipairs({ "a", "b", "c" }) do
        for _, test in ipairs({ "moves", "stays" }) do
          expected[#expected + 1] = ("%s > %s passed"):format(javascript.path(name, file), test)
        end
      end
      assert.are.same(expected, states)
    end))

    it("lists the tests of " .. name .. " anew when what their files read elsewhere has changed", async(function()
      local modules = javascript.need(pending, name)
      local place = project.new({ ["data/list"] = "x" })
      local head = name == "vitest" and "import { it } from 'vitest'\n" .. CASES_ESM or CASES
      project.write(place, {
        ["web/package.json"] = "{}", ["web/" .. javascript.path(name, "a")] = head .. BY_CASE,
      })
      assert(require("luv").fs_symlink(modules, place .. "/web/node_modules"))
      javascript.configure(name, place .. "/web")
      local function list()
        local result = runner(place .. "/web", "collect")
        assert.are.equal(0, result.code, result.stderr)
        return (result.stdout:gsub("[^\n]* > ", ""))
      end
      assert.are.equal("file list\nline x\n", list())
      project.write(place, { ["data/list"] = "x y" })
      assert.are.equal("file list\nline x\nline y\n", list())
      project.write(place, { ["data/more"] = "" })
      assert.are.equal("file list\nfile more\nline x\nline y\n", list())
    end))
  end

  for _, name in ipairs(javascript.FRAMEWORKS) do
    it("hears of all tests of " .. name .. " where their titles and errors are no proper Unicode", async(function()
      local modules = javascript.need(pending, name)
      local dir = javascript.new(name, modules, javascript.files(name, {
        a = [[
          it('\ud800 in a title', () => {})
          it('\ud801 in a title', () => { throw new Error('half: \ud83d') })
          it('whole: \ud83d\ude00', () => {})
        ]],
        b = "it('other', () => {})",
      }))
      local result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      local a, half = javascript.path(name, "a") .. " > ", "\u{FFFD}"
      assert.are.same({
        [a .. half .. " in a title"] = "passed", [a .. half .. " in a title #2"] = "failed",
        [a .. "whole: \u{1F600}"] = "passed", [javascript.path(name, "b") .. " > other"] = "passed",
      }, finished.states(dir))
      assert.are.equal("half: " .. half,
        finished.find(dir, "attempt_finished", { id = a .. half .. " in a title #2" }).message)
    end))
  end

  it("lists anew what turned out to have other tests than it was known for", async(function()
    local modules = javascript.need(pending, "mocha")
    local place = project.new({ list = "x" })
    local dir = javascript.new("mocha", modules, javascript.files("mocha", { a = ([[
      const { execFileSync } = require('node:child_process') // nobody sees what a process reads
      for (const name of String(execFileSync('cat', ['%s/list'])).trim().split(' ')) it(name, () => {})
    ]]):format(place) }))
    local result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    project.write(place, { list = "x y" })
    result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    assert.is_truthy(text:find("appeared only when it ran", 1, true), text)
    result, text = javascript.run(dir)
    assert.are.equal(0, result.code, text)
    assert.are.same({ ["test/a.test.js > x"] = "passed", ["test/a.test.js > y"] = "passed" }, finished.states(dir))
  end))

  it("is told of tests that put something else in the place of JSON", async(function()
    local modules = javascript.need(pending, "mocha")
    local dir = javascript.new("mocha", modules, javascript.files("mocha", { a = [[
      const { parse, stringify } = JSON
      afterEach(() => Object.assign(JSON, { parse, stringify }))
      it('passes', () => {
        JSON.stringify = JSON.parse = () => { throw new Error('no') }
        console.log('said')
      })
      it('fails', () => {
        JSON.stringify = () => undefined
        throw new Error('on purpose')
      })
    ]] }), nil, "{ test_timeout = '20s' }")
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ ["test/a.test.js > passes"] = "passed", ["test/a.test.js > fails"] = "failed" },
      finished.states(dir))
    assert.are.equal("on purpose",
      finished.find(dir, "attempt_finished", { id = "test/a.test.js > fails" }).message)
  end))
end)
