local uv = require("luv")
local async = require("spec.support.async")
local config = require("runner.config")
local configuration = require("spec.support.configuration")
local errors = require("runner.base.errors")
local project = require("spec.support.project")
local task = require("runner.base.task")

local load, refused = configuration.load, configuration.refused

describe("config.load", function()
  after_each(project.remove_all)

  describe("says what is wrong with a file that", function()
    local function refused_file(path)
      local ok, e = pcall(config.load, path)
      assert.is_false(ok)
      assert.is_true(errors.is(e, "config"), tostring(e))
      return e.message, e
    end

    it("is not there", function()
      local message, e = refused_file("/no/such/runner.lua")
      assert.are.equal("cannot read the configuration /no/such/runner.lua: there is no such file",
        message)
      assert.matches("runner init", e.context.hint)
    end)

    it("is a folder", function()
      assert.matches("that is a folder", (refused_file(project.new())))
    end)

    it("lies below a file", function()
      assert.matches("ENOTDIR", (refused_file(project.new({ x = "" }) .. "/x/runner.lua")))
    end)

    local bad = {
      { "has a syntax error", "\nreturn {", "runner.lua:3: unexpected symbol near <eof>" },
      { "fails", "\nlocal x = nil + 1",
        "runner.lua:3: attempt to perform arithmetic on a nil value" },
      { "fails in a function", "local function f() error('boom') end\nf()", "runner.lua:2: boom" },
      { "raises without a position", "\nerror('boom', 0)", "runner.lua:3: boom" },
      { "fails an assertion", "\nassert(false, 'boom')", "runner.lua:3: boom" },
      { "raises a table", "\nerror({})", "runner.lua:3: it raised an empty table" },
      { "raises nothing", "\nerror()", "runner.lua:3: it raised nil" },
      { "recurses for ever", "local function f() return 1 + f() end f()",
        "runner.lua:2: stack overflow" },
      { "returns nothing", "",
        "runner.lua: expected it to return a table of settings, got nothing" },
      { "returns a number", "return 3", "got the number 3" },
      { "returns a plug-in", "return fake", "got the framework fake" },
      { "requires what is not there", "\nrequire 'providers.nope'",
        'runner.lua:3: module "providers.nope" not found' },
      { "requires a number", "require(3)", "runner.lua:2: require expects" },
      { "defines a plug-in badly", "\nplugin.provider {}",
        "runner.lua:3: provider: name: expected" },
      { "ends the process", "\nos.exit(0)", "runner.lua:3: os.exit would end runner" },
      { "waits", "\nrequire 'runner.task'.sleep(0.01)", "runner.lua:3: .*await needs a task" },
      { "yields", "\ncoroutine.yield()",
        "runner.lua:3: a configuration cannot wait while it loads" },
    }
    for _, case in ipairs(bad) do
      it(case[1], function()
        local message = refused(case[2]).message
        assert.matches(case[3], message)
        assert.not_matches("traceback", message)
      end)
    end

    it("is compiled", function()
      local dir = project.new({ ["runner.lua"] = string.dump(function() end) })
      assert.matches("runner.lua: attempt to load a binary chunk",
        (refused_file(dir .. "/runner.lua")))
    end)

    it("requires a file that fails", function()
      local e = refused("\nrequire 'helper'", { ["helper.lua"] = "\n\nerror('boom')" })
      assert.matches("/helper.lua:3: boom", e.message)
      e = refused("\nrequire 'helper'", { ["helper.lua"] = "x x" })
      assert.matches("/helper.lua:1: syntax error", e.message)
    end)

    -- Inside a task, too, a wait is an error and leaves the task as it was.
    it("waits, inside a task", async(function()
      local e = refused("\nrequire 'runner.task'.sleep(0.01)")
      assert.matches("await needs a task", e.message)
      e = refused("\ncoroutine.yield()")
      assert.matches("cannot wait", e.message)
      task.sleep(0.001)
      assert.are.equal("fake", load("return { framework = fake }").groups[1].name)
    end))
  end)

  describe("hints at the line that is missing for a plug-in", function()
    local cases = {
      { "is called", "\nreturn { framework = pytest {} }",
        "runner.lua:3: attempt to call a nil value .global 'pytest'.",
        'put this line above it: local pytest = require "frameworks.pytest"' },
      { "is indexed", "return { framework = fake, provider = docker.here }", "runner.lua:2: attempt to index",
        'put this line above it: local docker = require "providers.docker"' },
      { "exists twice", "return { framework = command { run_command = 'x' } }", "attempt to call",
        'local command = require "frameworks.command" (or "providers.command")' },
      { "is misspelled", "return { framework = pytst {} }", "attempt to call",
        'did you mean pytest? It takes this line: local pytest = require "frameworks.pytest"' },
      { "is the user's", "return { framework = mine {} }", "attempt to call",
        'local mine = require "frameworks.mine"' },
    }
    for _, case in ipairs(cases) do
      it("that " .. case[1], function()
        local e = refused(case[2], { [".runner/frameworks/mine.lua"] = "" })
        assert.matches(case[3], e.message)
        assert.matches(case[4], e.context.hint, 1, true)
      end)
    end

    it("but not for any other global", function()
      assert.is_nil(refused("launch_missiles()").context.hint)
      assert.is_nil(refused("local pytest\npytest()").context.hint)
    end)

    it("that is read as nil, so that no group and no provider is dropped quietly", function()
      local e = refused("return { groups = { a = fake, b = pytest },\nprovider = docker }")
      assert.are.same({
        'line 2: pytest is not defined; put this line above it: local pytest = require "frameworks.pytest"',
        'line 3: docker is not defined; put this line above it: local docker = require "providers.docker"',
      }, e.context.problems)
    end)

    it("and not where the name is the user's own", function()
      load("command = command or 'x'\nlocal go = nil\nreturn { framework = fake, env = { A = command, B = go } }")
      load("require 'helper'\nreturn { framework = fake }", { ["helper.lua"] = "return docker" })
    end)
  end)

  describe("names what a module that is not there is like:", function()
    for name, expected in pairs({
      ["frameworks.pytst"] = "frameworks.pytest", ["framework.pytest"] = "frameworks.pytest",
      ["pytest"] = "frameworks.pytest", ["providers.pytest"] = "frameworks.pytest",
      ["providers.comand"] = "providers.command", ["frameworks.comand"] = "frameworks.command",
      ["frameworks.mien"] = "frameworks.mine",
    }) do
      it(name, function()
        local e = refused(("\nrequire %q"):format(name), { ["frameworks/mine.lua"] = "" })
        assert.matches(("runner.lua:3: module %q not found"):format(name), e.message, 1, true)
        assert.matches(("; did you mean %q?"):format(expected), e.message, 1, true)
      end)
    end

    it("nothing", function()
      for _, name in ipairs({ "providers.nope", "lib.pytest", "helper" }) do
        assert.not_matches("did you mean", refused(("require %q"):format(name)).message)
      end
    end)
  end)

  describe("find", function()
    local here

    before_each(function() here = uv.cwd() end)
    after_each(function() uv.chdir(here) end)

    local function found(dir, files)
      project.write(dir, files)
      uv.chdir(dir .. "/a/b")
      return config.find()
    end

    it("looks here, then above, up to the root of the repository", function()
      local dir = project.new()
      assert.is_nil(found(dir, { [".git/HEAD"] = "", ["a/b/x"] = "" }))
      assert.are.equal("../../runner.lua", found(dir, { ["runner.lua"] = "return {" }))
      assert.has_error(config.load, "../../runner.lua:1: unexpected symbol near <eof>")
      assert.are.equal("../runner.lua", found(dir, { ["a/runner.lua"] = "" }))
      assert.are.equal("runner.lua", found(dir, { ["a/b/runner.lua"] = "" }))
    end)

    it("does not leave the repository, which may be a worktree, nor look above without one", function()
      local dir = project.new()
      assert.is_nil(found(dir, { ["runner.lua"] = "", ["a/b/x"] = "" }))
      assert.is_nil(found(dir, { [".git/HEAD"] = "", ["a/.git"] = "gitdir: elsewhere" }))
      assert.are.equal("../runner.lua", found(dir, { ["a/runner.lua"] = "" }))
    end)

    it("runs nothing from a folder to which everybody may write", function()
      local dir = project.new()
      assert.are.equal("../../runner.lua", found(dir, { [".git/HEAD"] = "", ["runner.lua"] = "", ["a/b/x"] = "" }))
      assert(uv.fs_chmod(dir, tonumber("1777", 8)))
      assert.is_nil(config.find())
    end)
  end)

  describe("environment of the file", function()
    it("is standard Lua, and globals stay inside", function()
      load([[answer = 42
        assert(_G.answer == 42 and string.format and math.pi and os.getenv)
        return { framework = fake }]])
      assert.is_nil(rawget(_G, "answer"))
    end)

    it("may start with what a text editor or a shell wants", function()
      local dir = project.new({ ["runner.lua"] = "\xEF\xBB\xBF#!/usr/bin/env lua\nerror('here')" })
      assert.has_error(function() config.load(dir .. "/runner.lua") end)
      local _, e = pcall(config.load, dir .. "/runner.lua")
      assert.matches("runner.lua:2: here", tostring(e))
    end)

    it("requires files beside it, once each", function()
      local loaded = load([[
        local a, b = require "lib.settings", require "lib.settings"
        assert(a == b)
        return { framework = fake, retries = a.retries }]], {
        ["lib/settings.lua"] = 'return require "helper"',
        ["helper/init.lua"] = "return { retries = 7 }",
      })
      assert.are.equal(7, loaded.retries)
    end)

    it("sees the file's own modules first, which never replace one of ours", function()
      local loaded = load([[
        assert(require "luv" == "mine" and require "runner.duration" ~= "mine")
        return { framework = fake }]], {
        ["luv.lua"] = 'return "mine"', ["runner/duration.lua"] = 'return "mine"',
      })
      assert.are.equal("fake", loaded.groups[1].name)
      assert.are.equal(uv, require("luv"))
    end)
  end)
end)
