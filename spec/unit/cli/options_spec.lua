local async = require("spec.support.async")
local cli = require("runner.cli")
local options = require("runner.cli.options")
local path = require("runner.base.path")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local uv = require("luv")

local CONFIG = [[
local command = require "frameworks.command" { tests = { "a" }, run_command = "true" }
return { retries = 1, test_timeout = 10, env = { A = "config" }, groups = {
  one = command,
  two = { command, retries = 5, test_timeout = 20, env = { A = "group", B = "group" } },
} }]]

describe("flags", function()
  local dir, here

  before_each(function()
    here = uv.cwd()
    dir = project.new({ ["runner.lua"] = CONFIG, ["other.lua"] = CONFIG, ["src/x"] = "" })
    uv.chdir(dir)
  end)
  after_each(function()
    uv.chdir(here)
    project.remove_all()
  end)

  --- The settings that a command line of `runner run` (or another command) leads to.
  local function settings(line, command)
    local seen
    local name = command or "run"
    local module = "runner.cli." .. name
    package.loaded[module] = {
      name = name, summary = "", configure = options[name],
      run = function(args)
        seen = { config = options.load(args), args = args }
        return 0
      end,
    }
    local argv = { name }
    for word in line:gmatch("%S+") do
      argv[#argv + 1] = word
    end
    local code = cli.main(argv)
    package.loaded[module] = nil
    assert.are.equal(0, code)
    return seen.config, seen.args
  end

  it("change nothing when there are none", function()
    local config, args = settings("")
    assert.are.equal(dir .. "/runner.lua", path.absolute(config.path))
    assert.are.same({ 1, 10, nil, false, nil, nil, "fail", nil }, {
      config.retries, config.test_timeout, config.global_timeout, config.fail_fast, config.max_fail,
      config.seed, config.no_tests, config.filters,
    })
    assert.are.equal(5, config.groups[2].retries)
    assert.are.same({ "auto", nil, nil, nil },
      { args.color, args.verbose, args.quiet, args.collect_only })
    assert.are.same({ "run" }, args.argv)
  end)

  it("beat the configuration, groups included", function()
    local config = settings(
      "--retries 3 --test-timeout 5m --global-timeout 1h --fail-fast --max-fail 7 --seed -9 "
      .. "--no-tests=warn --output-dir out")
    assert.are.same({ 3, 300, 3600, true, 7, -9, "warn", dir .. "/out" }, {
      config.retries, config.test_timeout, config.global_timeout, config.fail_fast, config.max_fail,
      config.seed, config.no_tests, config.report.dir,
    })
    for _, group in ipairs(config.groups) do
      assert.are.same({ 3, 300 }, { group.retries, group.test_timeout })
    end
  end)

  it("lift a limit", function()
    local config = settings("--test-timeout none --global-timeout=none --retries 0")
    assert.are.same({ nil, nil, 0 }, { config.test_timeout, config.global_timeout, config.retries })
    assert.is_nil(config.groups[2].test_timeout)
    assert.are.equal(0, config.groups[2].retries)
  end)

  it("count cores with a negative number, however it is written", function()
    local less = math.max(1, uv.available_parallelism() - 1)
    for _, line in ipairs({ "-j -1", "-j-1", "-p -1", "--parallel -1", "--parallel=-1", "-vj -1",
      "-qp-1" }) do
      assert.are.equal(less, settings(line).max_parallel, line)
    end
    for _, line in ipairs({ "-j 3", "-j3", "-p3", "--parallel 3" }) do
      assert.are.equal(3, settings(line).max_parallel, line)
    end
  end)

  it("set variables, over those of the configuration and its groups", function()
    local config = settings("--env A=1 --env B=x=y --env C= --env D=${HOME} --env A=2")
    assert.are.same({ A = "2", B = "x=y", C = "", D = "${HOME}" }, config.env)
    assert.are.same({ A = "2", B = "x=y" }, config.groups[2].env)
    assert.is_nil(config.groups[1].env)
  end)

  it("add folders to copy, relative to the current folder", function()
    assert.are.same({ { from = dir .. "/src", to = "a" }, { from = dir, to = "b/c" } },
      settings("--copy-dir src:a --copy-dir .:b/c").copy_dirs)
  end)

  it("find configuration and names among the arguments", function()
    local cases = {
      { "other.lua", "other.lua", {} },
      { "other.lua foo bar", "other.lua", { "foo", "bar" } },
      { "foo other.lua", "runner.lua", { "foo", "other.lua" } },
      { "src/x", "runner.lua", { "src/x" } },
      { "-c other.lua foo", "other.lua", { "foo" } },
      { "-c other.lua spec.lua", "other.lua", { "spec.lua" } },
      { "--config=other.lua", "other.lua", {} },
      { "foo -v bar", "runner.lua", { "foo", "bar" } },
      { "-- -foo --bar", "runner.lua", { "-foo", "--bar" } },
    }
    for _, case in ipairs(cases) do
      local config = settings(case[1])
      assert.are.equal(dir .. "/" .. case[2], path.absolute(config.path), case[1])
      assert.are.same(case[3], config.selection.names, case[1])
    end
  end)

  it("take a spec, and a file without a return, for a part of names where there is a configuration", function()
    project.write(dir, {
      ["a_spec.lua"] = CONFIG, ["test.lua"] = "function f() return 1 end", ["broken.lua"] = "return {",
      ["other.lua"] = CONFIG .. " -- the same",
    })
    for target, expected in pairs({
      ["a_spec.lua"] = { "runner.lua", "a_spec.lua" }, ["no_spec.lua"] = { "runner.lua", "no_spec.lua" },
      ["./src/x"] = { "runner.lua", "src/x" }, ["./nowhere"] = { "runner.lua", "./nowhere" },
      ["other.lua"] = { "other.lua" },
      ["test.lua"] = { "runner.lua", "test.lua" }, ["-c a_spec.lua test.lua"] = { "a_spec.lua", "test.lua" },
    }) do
      local config = settings(target)
      assert.are.equal(dir .. "/" .. expected[1], config.path, target)
      assert.are.same({ expected[2] }, config.selection.names, target)
    end
    local function fails(target)
      local ok, e = pcall(options.load, { targets = { target } })
      assert.is_false(ok)
      return tostring(e)
    end
    assert.matches("broken.lua:1: unexpected symbol", fails("broken.lua"))
    assert.matches("cannot read the configuration nowhere.lua", fails("nowhere.lua"))
    uv.fs_unlink(dir .. "/runner.lua")
    assert.are.equal(dir .. "/a_spec.lua", settings("a_spec.lua").path) -- it returns settings, and nothing else does
    project.write(dir, { ["a_spec.lua"] = "describe('a', function() return end)" })
    assert.matches("cannot read the configuration runner.lua", fails("a_spec.lua"))
    assert.matches("test.lua: expected it to return a table of settings, got nothing", fails("test.lua"))
  end)

  it("say what was taken for what", async(function()
    project.write(dir, {
      [".git/HEAD"] = "", ["test/a.lua"] = "function f() return 1 end", ["test/a_spec.lua"] = "",
      ["runner.lua"] = [[return { framework = require "frameworks.command" {
        tests = { "test/a.lua one", "test/a_spec.lua two" }, run_command = "false {tests}" } }]],
    })
    local result = runner(dir .. "/test", "collect", "a.lua")
    local told = "runner: a.lua does not end with a return, so it is taken for a part of names; -c a.lua takes it for "
      .. "the configuration\nrunner: there is no runner.lua here; using ../runner.lua\n"
    assert.are.equal(told, result.stderr)
    assert.are.equal("test/a.lua one\n", result.stdout)
    result = runner(dir, "run", "./test/a_spec.lua")
    assert.are.same({ 1, "" }, { result.code, result.stderr })
    assert.matches("\n +runner run 'test/a_spec.lua two'\n", result.stdout)
    result = runner(dir .. "/test", "logs") -- finds the results of the configuration above, too
    assert.matches("FAIL .*test/a_spec.lua two", result.stdout)
  end))

  it("that say what to run stand together in the help", function()
    for _, name in ipairs({ "run", "collect", "plan" }) do
      local help = cli.parser(name)._commands[1]:get_help()
      local first = help:match("\nWhat .-\n\n")
      local flags = { "--filter", "--shard ", "--shard-by", "--replay-order", "--rerun-failed", "--no-cache" }
      for _, flag in ipairs(flags) do
        assert.matches(flag, first, 1, true)
      end
      assert.matches("^   %-h, %-%-help [^\n]*$", help:match("\nOther options:\n(.*)$"))
    end
  end)

  it("of collect choose a format", function()
    local _, args = settings("-f json foo", "collect")
    assert.are.equal("json", args.format)
    _, args = settings("", "collect")
    assert.are.equal("text", args.format)
  end)

  it("of validate name the file in either way", function()
    for _, line in ipairs({ "other.lua", "-c other.lua" }) do
      assert.are.equal(dir .. "/other.lua", settings(line, "validate").path)
    end
    assert.are.equal(dir .. "/runner.lua", settings("", "validate").path)
  end)
end)
