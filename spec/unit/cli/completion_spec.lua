local async = require("spec.support.async")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local function available(shell)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(shell))
end

describe("runner completion", function()
  after_each(project.remove_all)

  --- Run a script in a shell that has our completions in the file COMPLETIONS.
  local function in_shell(shell, flags, script)
    if not available(shell) then
      pending(shell .. " is not installed")
    end
    local completions = runner("/", "completion", shell)
    assert.are.equal(0, completions.code, completions.stderr)
    local dir = project.new({ completions = completions.stdout })
    local argv = { "/usr/bin/env", shell }
    table.move(flags, 1, #flags, 3, argv)
    argv[#argv + 1] = script
    local result = process.run(argv, { cwd = dir, env = { HOME = dir } })
    assert.are.equal(0, result.code, result.stderr)
    return result.stdout
  end

  it("completes commands, flags and their values in bash", async(function()
    local text = in_shell("bash", { "--norc", "-c" }, [[
      . ./completions
      try() {
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _runner; echo "${COMPREPLY[*]}"
      }
      try runner va; try runner run --co; try runner run --color a; try runner collect -f j
      try runner history ""; try runner history se; try runner provider t; try runner completion -]])
    local expected = "validate\n--config --collect-only --copy-dir --color\nauto always\njson\n"
      .. "show prune merge setup-merge-driver\nsetup-merge-driver\ntest\n-V --version -h --help -h --help\n"
    assert.are.equal(expected, text)
  end))

  it("completes commands, flags and their values in fish", async(function()
    local text = in_shell("fish", { "--no-config", "-c" }, [[
      source ./completions
      complete -C "runner va"; complete -C "runner run --coll"
      complete -C "runner run --color al"; complete -C "runner history set"]])
    assert.are.equal("validate --collect-only always setup-merge-driver ", (text:gsub("\t?[^\n\t]*\n", function(rest)
      return rest:sub(1, 1) == "\t" and " " or rest:gsub("\n", " ")
    end)))
  end))

  it("is a script that zsh accepts", async(function()
    in_shell("zsh", { "-f", "-n" }, "./completions")
    local text = in_shell("zsh", { "-f", "-c" }, [[
      _arguments() { print -r -- "$@" }
      _describe() { print -r -- $commands }
      words=(runner) ; . ./completions; _runner_cmds]])
    for _, word in ipairs({ "validate:", "--version" }) do
      assert.matches(word, text, 1, true)
    end
  end))

  it("names the shells it knows", async(function()
    local result = runner("/", "completion", "csh")
    assert.are.equal(64, result.code)
    assert.matches("must be one of 'bash', 'zsh', 'fish'", result.stderr)
    assert.are.equal(64, runner("/", "completion").code)
  end))
end)
