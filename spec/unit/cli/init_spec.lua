local uv = require("luv")
local async = require("spec.support.async")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local CONFIG = [[return {
  framework = require "frameworks.command" { tests = { "a" }, run_command = "true" },
}]]

describe("the command line", function()
  local dir

  before_each(function() dir = project.new({ ["runner.lua"] = CONFIG }) end)
  after_each(project.remove_all)

  local function says(code, stream, pattern, ...)
    local result = runner(dir, ...)
    assert.are.same({ code, 0 }, { result.code, result.signal }, result.stderr)
    assert.matches(pattern, result[stream])
    assert.are.equal("", result[stream == "stdout" and "stderr" or "stdout"])
    assert.not_matches("traceback", result.stderr)
  end

  it("shows the version", async(function()
    local version = require("runner.version")
    for _, flag in ipairs({ "--version", "-V" }) do
      says(0, "stdout", "^runner " .. version:gsub("%p", "%%%0") .. "\n$", flag)
    end
  end))

  it("fails when it runs out of memory", async(function()
    if uv.exepath():find("asan") then return pending("its shadow memory needs more than any limit") end
    local log = dir .. "/large"
    local fd = assert(uv.fs_open(log, "w", 420))
    assert(uv.fs_ftruncate(fd, 300 << 20))
    uv.fs_close(fd)
    local result = process.run({ "sh", "-c", 'ulimit -v 400000; exec "$0" simulate "$1"', uv.exepath(), log })
    assert.are.equal(70, result.code)
    assert.matches("not enough memory", result.stderr)
  end))

  it("loads no parser to show the version", async(function()
    local script = dir .. "/version.lua"
    project.write(dir, { ["version.lua"] = [[
      require("runner.cli").main({ "--version" })
      for name in pairs(package.loaded) do assert(not name:find("argparse"), name) end
      assert(not package.loaded["runner.config"] and not package.loaded["runner.cli.run"])]] })
    local result = runner(dir, "lua", script)
    assert.are.equal(0, result.code, result.stderr)
  end))

  it("helps, with every command", async(function()
    for _, args in ipairs({ { "--help" }, { "-h" }, { "help" } }) do
      local result = runner(dir, table.unpack(args))
      assert.are.equal(0, result.code, result.stderr)
      for _, text in ipairs({ "run", "collect", "validate", "init", "logs", "report", "completion",
        "Exit codes", "--version" }) do
        assert.matches(text, result.stdout, 1, true)
      end
    end
  end))

  it("helps with each command, no line too wide", async(function()
    for _, name in ipairs({ "run", "collect", "validate", "init", "logs", "report",
      "completion" }) do
      local result = runner(dir, name, "--help")
      assert.are.equal(0, result.code, result.stderr)
      assert.matches("^Usage: runner " .. name, result.stdout)
      assert.are.equal(result.stdout, runner(dir, "help", name).stdout)
      for line in result.stdout:gmatch("[^\n]+") do
        assert.is_true(#line <= 90, line)
      end
    end
  end))

  it("groups the flags of run", async(function()
    local help = runner(dir, "run", "--help").stdout
    for _, text in ipairs({
      "What to run:", "How to run it:", "Failures and time:", "Output:", "-c, --config FILE",
      "-j, -p, --parallel N",
      "--collect-only", "--env NAME=VALUE", "--copy-dir LOCAL:REMOTE", "--retries N",
      "--fail-fast", "--max-fail N",
      "--test-timeout TIME", "--global-timeout TIME", "--seed N", "--no-tests {pass,warn,fail}",
      "--output-dir FOLDER", "-v, --verbose", "-q, --quiet", "--color {auto,always,never}",
    }) do
      assert.matches(text, help, 1, true)
    end
  end))

  it("shows the help as an error when nothing is asked for", async(function()
    says(64, "stderr", "^Usage: runner COMMAND")
  end))

  describe("refuses", function()
    local cases = {
      { 'unknown command "vaildate"; did you mean "validate"?', "vaildate" },
      { 'unknown command ""', "" },
      { 'unknown command "tests.lua"\n  hint: did you mean `runner run tests.lua`?', "tests.lua" },
      { 'unknown option "-j"\n  hint: options follow a command', "-j", "4", "run" },
      { 'unknown command "nope"', "help", "nope" },
      { 'unknown option "--paralel"; did you mean "--parallel"?\n  hint: `runner run --help`',
        "run", "--paralel", "3" },
      { 'unknown option "--parallell"; did you mean "--parallel"?', "run", "--parallell=3" },
      { 'unknown option "-x"', "run", "-x" },
      { "option '-c' requires an argument", "run", "-c" },
      { "option '--fail-fast' does not take arguments", "run", "--fail-fast=1" },
      { "can not be used together", "run", "-v", "-q" },
      { "'--color' must be one of 'auto', 'always', 'never'", "run", "--color=blue" },
      { "'--no-tests' must be one of", "run", "--no-tests", "maybe" },
      { "--parallel: expected a whole number", "run", "-j", "0" },
      { "got the number -1.5", "run", "-j", "-1.5" },
      { 'got the string "four"', "run", "-p", "four" },
      { "--retries: expected a whole number, 0 or more, got the number -1", "run", "--retries",
        "-1" },
      { '--retries: expected a whole number, 0 or more, got the string "nan"', "run", "--retries",
        "nan" },
      { "--max-fail: expected a whole number, 1 or more", "run", "--max-fail", "0" },
      { "--seed: expected a whole number", "run", "--seed", "1.5" },
      { "--test-timeout: expected a time above 0", "run", "--test-timeout", "0" },
      { "--test-timeout: expected a time above 0", "run", "--test-timeout", "-5" },
      { "--global-timeout: expected a time above 0", "run", "--global-timeout", "later" },
      { "--env: expected NAME=VALUE", "run", "--env", "=x" },
      { "--output-dir: expected a path", "run", "--output-dir", "" },
      { "--config: expected a path", "run", "-c", "" },
      { '--copy-dir: expected LOCAL:REMOTE, got the string "x"', "run", "--copy-dir", "x" },
      { "--copy-dir: there is no folder", "run", "--copy-dir", "x:y" },
      { "'--format' must be one of 'text', 'json'", "collect", "--format", "xml" },
      { "'-f' must be one of 'text', 'json'", "collect", "-f", "xml" },
      { "too many arguments", "validate", "a.lua", "b.lua" },
    }
    for _, case in ipairs(cases) do
      it(table.concat(case, " ", 2), async(function()
        says(64, "stderr", "^runner: .*" .. case[1]:gsub("%p", "%%%0"), table.unpack(case, 2))
      end))
    end
  end)

  it("does not show what may be a secret", async(function()
    local result = runner(dir, "run", "--env", "hunter2")
    assert.are.equal(64, result.code)
    assert.not_matches("hunter2", result.stderr)
  end))

  it("ends with 78 when the configuration is wrong", async(function()
    for _, name in ipairs({ "run", "collect", "validate" }) do
      says(78, "stderr", "cannot read the configuration nope.lua", name, "nope.lua")
      says(78, "stderr", "that is a folder", name, "-c", ".")
    end
  end))

  it("shows a traceback for mistakes of its own only", async(function()
    project.write(dir, { ["broken.lua"] = [[
      package.loaded["runner.cli.validate"] = {
        name = "validate", summary = "", configure = function() end,
        run = function() error("oops") end,
      }
      io.stdout:write(require("runner.cli").main({ "validate" }))]] })
    local result = runner(dir, "lua", dir .. "/broken.lua")
    assert.are.equal("70", result.stdout)
    assert.matches("oops\nstack traceback:\n", result.stderr)
    assert.matches("This is a mistake in runner", result.stderr)
  end))

  it("turns each kind of error into its exit code", async(function()
    project.write(dir, { ["kinds.lua"] = [[
      local errors = require("runner.base.errors")
      local kind
      package.loaded["runner.cli.validate"] = {
        name = "validate", summary = "", configure = function() end,
        run = function() errors.raise(kind, "x") end,
      }
      local kinds = "usage config plugin provider transport spawn timeout cancelled parse internal"
      for name in kinds:gmatch("%a+") do
        kind = name
        io.stdout:write(name, "=", require("runner.cli").main({ "validate" }), " ")
      end]] })
    local expected = "usage=64 config=78 plugin=78 provider=3 transport=3 spawn=3 timeout=3 "
      .. "cancelled=130 parse=70 internal=70 "
    assert.are.equal(expected, runner(dir, "lua", dir .. "/kinds.lua").stdout)
  end))

  it("does not mind that nobody reads its output", async(function()
    local commands =
      { "--help", "--version", "run --help", "validate", "completion bash", "help run" }
    for _, command in ipairs(commands) do
      -- The reader is gone before the first byte comes.
      local script = ("{ while [ ! -e gone ]; do :; done; '%s' %s; echo $? >&2; } | "
        .. "{ exec <&-; : > gone; }"):format(uv.exepath(), command)
      local result = process.run({ "/bin/sh", "-c", script }, { cwd = dir })
      assert.are.equal("0\n", result.stderr, command)
      uv.fs_unlink(dir .. "/gone")
    end
  end))
end)
