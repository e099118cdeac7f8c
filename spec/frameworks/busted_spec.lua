--- Whole runs over real busted suites: examples/busted, this project's own, and some that are broken.

local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local junit = require("runner.worker.formats.junit")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

local find = finished.find

local function interpreters()
  local list = {}
  for _, lua in ipairs({ "lua5.1", "lua5.4" }) do
    if process.run({ "/bin/sh", "-c", 'command -v "$1" && "$1" -e "require [[busted]]"', "sh", lua }).code == 0 then
      list[#list + 1] = lua
    end
  end
  return list
end

local function new(files, options, settings)
  files["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 2
    settings.framework = require "frameworks.busted" { %s }
    return settings
  ]]):format(settings or "{}", options or 'lua = "lua5.4"')
  return project.new(files)
end

local function run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return finished.states(dir), result.code, result.stdout .. result.stderr
end

--- What busted's own JUnit output says: name → statuses in order; nil: it hangs. What busted calls an error outside of
--- its tests has no name there.
local function reported(dir, ...)
  local argv, done = { "busted", "-o", "junit", "-Xoutput", "report.xml", ... }, nil
  local ended = task.deadline(4, function() done = process.run(argv, { cwd = dir }) end)
  if not ended then return nil end
  local found = {}
  junit.read(dir .. "/report.xml", function(case)
    found[case.name] = found[case.name] or {}
    table.insert(found[case.name], case.status)
  end)
  project.remove(dir .. "/report.xml")
  return found, done
end

describe("busted", function()
  after_each(project.remove_all)

  it("says that a file has ended the process, whatever else is wrong with others", async(function()
    local dir = new({
      ["spec/a_spec.lua"] = "it('runs', function() end)", ["spec/b_spec.lua"] = "error('this one is broken')",
      ["spec/c_spec.lua"] = "os.exit(0)", ["spec/d_spec.lua"] = "it('is never heard of', function() end)",
    })
    local _, code, text = run(dir)
    assert.are.equal(1, code, text)
    local said = {}
    for _, event in ipairs(finished.events(dir, "problem")) do said[#said + 1] = event.message end
    table.sort(said)
    assert.are.same({ "cannot be loaded: spec/b_spec.lua:1: this one is broken",
      "lua5.4 busted ended (exit status 0) while it collected the tests" }, said)
  end))

  it("runs examples/busted as busted itself does, test by test", async(function()
    local dir, expected = example.copy("busted"), example.expected("busted")
    local states, code, text = run(dir)
    assert.are.same(expected, states, text)
    assert.are.equal(1, code)

    local first, count = {}, 0
    for _, event in ipairs(finished.events(dir, "attempt_finished")) do
      if event.attempt == 1 then first[event.id] = event.status end
    end
    for _, file in ipairs({ "spec/cart_spec.lua", "spec/names_spec.lua" }) do
      local own = reported(dir, file)
      for id, status in pairs(first) do
        local name, twin = id:match("^" .. file:gsub("%p", "%%%0") .. " > (.-)#?(%d*)$")
        if name then
          -- What fails in a set-up or before_each, busted tells without the name of the test: it tells of no success.
          local list = own[(name:gsub("[\n\t]", " "))] or own[name] or {}
          local theirs = list[tonumber(twin) or 1] or "failed"
          -- And an error in after_each beside a success, where it fails the test here.
          if name:find("with a hook that fails", 1, true) then theirs = theirs == "passed" and "failed" end
          assert.are.equal(theirs == "error" and "failed" or theirs, status, id)
          count = count + 1
        end
      end
    end
    assert.are.equal(25, count)
    assert.is_nil(reported(dir, "spec/ends_spec.lua", "--filter", "hangs"))
    for _, name in ipairs({ "is ended by a signal", "exits without a word" }) do
      local own = reported(dir, "spec/ends_spec.lua", "--filter", name)
      assert.is_nil(next(own), name) -- the process has died before it could report
    end
    assert.are.equal("the process exited with status 0 while this test ran",
      find(dir, "attempt_finished", { id = "spec/ends_spec.lua > a process exits without a word" }).message)

    local latin = "spec/names_spec.lua > output in Latin-1, with a NUL"
    assert.are.equal("caf\xE9 \0 end\non stderr\n", finished.output(dir, latin))
    assert.are.equal("from a program\n", finished.output(dir, "spec/names_spec.lua > output of a program"))
    assert.are.equal("waiting\n", finished.output(dir, "spec/ends_spec.lua > a process hangs"))
    local failed = find(dir, "attempt_finished", { id = "spec/cart_spec.lua > cart gives a discount" })
    assert.matches("^Expected objects to be equal", failed.message)
    assert.matches("spec/cart_spec.lua:12: Expected objects to be equal.*stack traceback", failed.trace)
    local skipped = find(dir, "test_finished", { id = "spec/cart_spec.lua > cart sorts its prices" })
    assert.are.equal("not today", skipped.reason)
    assert.are.same({ "slow" }, find(dir, "test", { id = "spec/cart_spec.lua > cart rounds #slow" }).tags)
    assert.are.equal(7, find(dir, "test", { id = "spec/cart_spec.lua > cart adds prices" }).line)
    assert.is_nil(find(dir, "problem"))
  end))

  for _, lua in ipairs({ "lua5.1", "lua5.4" }) do
    it("runs under " .. lua, async(function()
      local found = false
      for _, one in ipairs(interpreters()) do found = found or one == lua end
      if not found then return pending(lua .. " with busted is missing") end
      local dir = new({ ["spec/a_spec.lua"] = [[
        describe("a", function()
          it("knows " .. "its version", function() print(_VERSION) end)
          it("fails", function() assert.is_true(false) end)
          it("ends", function() os.exit(7) end)
          it("comes after", function() end)
        end)
      ]] }, ("lua = %q"):format(lua))
      local states, code, text = run(dir)
      assert.are.same({
        ["spec/a_spec.lua > a knows its version"] = "passed", ["spec/a_spec.lua > a fails"] = "failed",
        ["spec/a_spec.lua > a ends"] = "crashed", ["spec/a_spec.lua > a comes after"] = "passed",
      }, states, text)
      assert.are.equal(1, code)
      assert.are.equal("Lua " .. lua:sub(4) .. "\n", finished.output(dir, "spec/a_spec.lua > a knows its version"))
    end))
  end

  it("runs specs of this project inside its own binary, as its .busted says", async(function()
    local dir = project.new({ ["runner.lua"] = ([[return {
      max_parallel = 2, working_dir = %q,
      framework = require "frameworks.busted" {
        paths = { "spec/unit/run/retry_spec.lua", "spec/unit/base/suggest_spec.lua" },
      },
    }]]):format(require("luv").cwd()) })
    local states, code, text = run(dir)
    assert.are.equal(0, code, text)
    local count = 0
    for _, state in pairs(states) do
      assert.are.equal("passed", state)
      count = count + 1
    end
    assert.is_true(count > 5)
  end))

  it("runs many tests in one process, or each in its own, and only set-ups that are needed", async(function()
    for isolation, together in pairs({ batch = true, test = false }) do
      local dir = new({ ["spec/a_spec.lua"] = [[
        local note = assert(io.open("log", "a"))
        local function log(text) note:write(text, "\n") note:flush() end
        log("load")
        describe("first", function()
          setup(function() log("setup first") end)
          for i = 1, 6 do it("n" .. i, function() log("test") end) end
        end)
        describe("second", function()
          setup(function() log("setup second") end)
          it("n", function() log("test") end)
        end)
      ]] }, ('lua = "lua5.4", isolation = %q'):format(isolation), "{ max_parallel = 1 }")
      local _, code, text = run(dir)
      assert.are.equal(0, code, text)
      local log = project.read(dir .. "/log")
      local function count(what) return select(2, log:gsub(what, "")) end
      assert.are.equal(7, count("test\n"))
      local processes = count("load\n") - 1 -- and the one that lists
      assert.is_true(together and processes < 7 or not together and processes == 7, log)
      assert.are.equal(1, count("setup second"))
    end
  end))

  it("reports files that cannot be loaded, whole, and runs the others", async(function()
    local dir = new({
      ["spec/a_spec.lua"] = 'it("x", function() end)', ["spec/syntax_spec.lua"] = "local x = = 1\n",
      ["spec/top_spec.lua"] = 'require("no.such.module")',
      ["spec/body_spec.lua"] = 'describe("b", function() it("y", function() end) error("in the body") end)',
    }, nil, "{ retries = 2 }")
    local states, code = run(dir)
    assert.are.equal(1, code)
    assert.are.equal("passed", states["spec/a_spec.lua > x"])
    assert.are.equal("failed", states["spec/body_spec.lua > b y"])
    local found = {}
    for _, problem in ipairs(finished.events(dir, "problem")) do found[problem.id] = problem end
    assert.matches("cannot be loaded:.*unexpected symbol", found["spec/syntax_spec.lua"].message)
    assert.matches("module 'no.such.module' not found", found["spec/top_spec.lua"].text)
    assert.matches("in the body.*stack traceback", found["spec/body_spec.lua"].text)
  end))

  it("reports a tear-down that fails", async(function()
    local dir = new({ ["spec/a_spec.lua"] = [[
      describe("a", function()
        teardown(function() error("too late") end)
        it("x", function() end)
      end)
    ]] })
    local states, code = run(dir)
    assert.are.same({ ["spec/a_spec.lua > a x"] = "passed" }, states)
    assert.are.equal(1, code)
    local problem = find(dir, "problem")
    assert.are.same({ "teardown", "spec/a_spec.lua" }, { problem.kind, problem.id })
    assert.matches("too late", problem.message)
  end))

  it("ends a file that hangs while it is loaded", async(function()
    local dir = new({
      ["spec/a_spec.lua"] = 'if os.getenv("RUNNER_TESTS") then while true do end end it("x", function() end)',
      ["spec/b_spec.lua"] = 'it("x", function() end)',
    }, nil, "{ test_timeout = 1, grace = 0.3, max_parallel = 1 }")
    local states, code, text = run(dir)
    assert.are.same({ ["spec/a_spec.lua > x"] = "timed_out", ["spec/b_spec.lua > x"] = "passed" }, states, text)
    assert.are.equal(1, code)
  end))

  it("takes file names of every kind", async(function()
    local files = {}
    for _, name in ipairs({ "-a_spec", "b c_spec", "d,e_spec", "f'g_spec", "ü_spec", "h > i_spec" }) do
      files["spec/" .. name .. ".lua"] = 'it("x", function() end)\nit("y", function() error("no") end)'
    end
    local dir = new(files)
    local states, code, text = run(dir)
    assert.are.equal(1, code)
    for file in pairs(files) do
      if file ~= "runner.lua" then
        assert.are.equal("passed", states[file .. " > x"], text)
        assert.are.equal("failed", states[file .. " > y"], text)
      end
    end
  end))

  it("keeps to the arguments that it is given", async(function()
    local files = { ["tests/a_test.lua"] = 'it("x #fast", function() end) it("y #slow", function() error("no") end)' }
    local dir = new(files, 'lua = "lua5.4", paths = { "tests" }, args = { "--pattern", "_test", "--tags", "fast" }')
    local states, code, text = run(dir)
    assert.are.same({ ["tests/a_test.lua > x #fast"] = "passed" }, states, text)
    assert.are.equal(0, code)
  end))

  it("runs where only plain commands do", async(function()
    for _, provider in ipairs({
      [[require "providers.remote" { execute_command = "./exec.sh" }]],
      [[require "providers.command" { agent = false, create_command = "echo one", exec_command = "./exec.sh {command}",
        destroy_command = "true" }]],
    }) do
      local dir = new({ ["exec.sh"] = "#!/bin/sh\nexec sh -c \"$1\" </dev/null\n", ["spec/a_spec.lua"] = [[
        describe("a b", function()
          it("x", function() print("out") end)
          it("y", function() error("no") end)
          it("z", function() os.exit(3) end)
          it("last", function() end)
        end)
      ]] }, nil, ("{ provider = %s, sync = false }"):format(provider))
      require("luv").fs_chmod(dir .. "/exec.sh", 493)
      local states, code, text = run(dir)
      assert.are.same({ ["spec/a_spec.lua > a b x"] = "passed", ["spec/a_spec.lua > a b y"] = "failed",
        ["spec/a_spec.lua > a b z"] = "crashed", ["spec/a_spec.lua > a b last"] = "passed" }, states, text)
      assert.are.equal(1, code)
      assert.are.equal("out\n", finished.output(dir, "spec/a_spec.lua > a b x"))
    end
  end))

  it("says what is wrong with how it is set up", async(function()
    for options, message in pairs({
      ['lua = "no-such-lua"'] = "cannot run no-such-lua busted (exit status 127)",
      ['command = { "no-such-busted" }'] = "cannot run no-such-busted (",
      ['lua = "lua5.4", args = { "--no-such-option" }'] = "does not accept how it is called",
      ['lua = "lua5.4", command = "busted"'] = "set either lua or command",
    }) do
      local result = runner(new({ ["spec/a_spec.lua"] = 'it("x", function() end)' }, options), "run")
      assert.are.equal(78, result.code, options .. result.stdout .. result.stderr)
      assert.is_truthy((result.stdout .. result.stderr):find(message, 1, true), result.stdout .. result.stderr)
    end
    local result = runner(new({ [".busted"] = "return {", ["spec/a_spec.lua"] = "" }), "run")
    assert.are.equal(78, result.code)
    local dir = new({ [".busted"] = 'return { _all = { helper = "spec/helper.lua" } }',
      ["spec/helper.lua"] = 'error("no help")', ["spec/a_spec.lua"] = 'it("x", function() end)' })
    local _, code = run(dir)
    assert.are.equal(1, code)
    assert.matches("no help", find(dir, "problem").text)
    for options, message in pairs({
      [""] = "there is no folder spec; set paths of the busted framework, or ROOT in .busted",
      ['paths = { "test/a_spec.lua" }'] = "there is no file test/a_spec.lua; set paths",
    }) do
      dir = new({}, options)
      assert.are.equal(1, runner(dir, "run").code)
      local problems = finished.events(dir, "problem")
      assert.are.equal(1, #problems)
      assert.is_truthy(problems[1].message:find(message, 1, true), problems[1].message)
      assert.is_nil(problems[1].text:find("traceback", 1, true))
    end
  end))
end)
