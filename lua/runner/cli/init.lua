--- The command line: finds the command, parses its flags, runs it, turns errors into messages and exit codes.
--- A command is a module { name, summary, configure(cmd), run(args) → exit code }; only the one that is asked
--- for is loaded, because start-up time is felt in every call.

local M = {}

---@class runner.Command
---@field name string
---@field summary string one line
---@field configure fun(cmd: table) declares flags on an argparse command
---@field run async fun(args: table, all_commands: fun(): table): integer exit code; the second makes the parser of all

--- Name and module of each command, in the order of the help.
local COMMANDS = {
  { "run", "runner.cli.run" },
  { "collect", "runner.cli.collect" },
  { "plan", "runner.cli.plan" },
  { "simulate", "runner.cli.simulate" },
  { "validate", "runner.cli.validate" },
  { "init", "runner.cli.init_config" },
  { "logs", "runner.cli.logs" },
  { "report", "runner.cli.report" },
  { "history", "runner.cli.history" },
  { "gc", "runner.cli.gc" },
  { "provider", "runner.cli.provider" },
  { "completion", "runner.cli.completion" },
}

--- Exit code of each kind of error that ends a command.
local EXIT = {
  usage = 64, config = 78, plugin = 78,
  provider = 3, transport = 3, spawn = 3, timeout = 3,
  cancelled = 130, parse = 70, internal = 70,
}

local EPILOG = [[
Start here:
   runner init              write a commented runner.lua
   runner run               run the tests it describes
   runner run -j 4 login    only tests with "login" in their name, 4 at once
   runner logs --failures   what the failed tests of the last run printed

Exit codes: 0 passed, 1 failed or not run, 2 passed but flaky, 3 infrastructure,
   4 no tests, 64 usage, 70 internal, 78 configuration, 130/143 interrupted.

`runner COMMAND --help` explains a command.]]

-- A closed stdout (`| head -1`) is no reason to fail.
local function print_out(text)
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

local function names()
  local list = {}
  for i, entry in ipairs(COMMANDS) do
    list[i] = entry[1]
  end
  return list
end

local function usage_error(message, hint)
  require("runner.base.errors").raise("usage", message, { hint = hint })
end

--- argparse found a mistake: raise it, with the nearest name from our own search.
local function on_parse_error(parser, message)
  local name = message:match("^unknown option '(.-)'")
  if name then
    local options = {}
    for _, option in ipairs(parser._options) do
      table.move(option._public_aliases, 1, #option._public_aliases, #options + 1, options)
    end
    message = ("unknown option %q%s"):format(name, require("runner.base.suggest").hint(name, options))
  end
  usage_error(message, ("`%s --help` lists its options"):format(parser:_get_fullname()))
end

--- argparse prints "-c FILE," and "--config FILE" on two lines; one is enough.
local function label_in_one_line(element)
  local aliases = element._public_aliases
  if aliases then
    local indent = aliases[1]:sub(1, 2) == "--" and "    " or ""
    local argument = element._maxargs > 0 and " " .. element:_get_argname(1) or ""
    local text = indent .. table.concat(aliases, ", ") .. argument
    element._get_label_lines = function() return { text } end
  elseif element._argname then
    element._get_label_lines = function() return { element._argname } end
  end
end

-- What -h raises, to leave argparse without ending the process.
local Help = {}

--- The parser of all commands, or of one.
---@param only string? a command's name
---@return table parser argparse
---@return table<string, runner.Command> commands by name
function M.parser(only)
  local root = require("argparse")("runner")
  root:add_help(false):usage("Usage: runner COMMAND [OPTION...]"):epilog(EPILOG)
    :description("Runs a project's tests in parallel, retries what failed, reports what happened.")
    :help_max_width(88):help_description_margin(28):usage_max_width(88):command_target("command")
  root.error = on_parse_error
  root:option("-V --version"):args(0):description("Show the version and exit.")
  root:option("-h --help"):args(0):description("Show this help and exit.")
  local commands = {}
  for _, entry in ipairs(COMMANDS) do
    if not only or only == entry[1] then
      local command = require(entry[2])
      local cmd = root:command(command.name):summary(command.summary):description(command.summary)
        :help_description_margin(36)
      command.configure(cmd)
      cmd:add_help({
        description = "Show this help and exit.",
        action = function() error(setmetatable({ text = cmd:get_help() }, Help), 0) end,
      })
      for _, elements in ipairs({ cmd._options, cmd._arguments }) do
        for _, element in ipairs(elements) do
          label_in_one_line(element)
        end
      end
      commands[command.name] = command
    end
  end
  return root, commands
end

--- argparse takes "-1" for a flag: glue it to the flag before it.
local function glue_negative_numbers(argv)
  local glued = {}
  for _, arg in ipairs(argv) do
    local flag = glued[#glued]
    if arg:find("^%-%d") and flag and flag:find("^%-%a*[jp]$") then
      glued[#glued] = flag .. arg
    elseif arg:find("^%-%d") and flag and flag:find("^%-%-[%a-]+$") then
      glued[#glued] = flag .. "=" .. arg
    else
      glued[#glued + 1] = arg
    end
  end
  return glued
end

--- Somebody wrote something other than a command first.
local function not_a_command(first)
  if first:sub(1, 1) == "-" then
    usage_error(("unknown option %q"):format(first),
      "options follow a command, as in `runner run -v`; `runner --help` lists the commands")
  elseif first:find("%.lua$") then
    usage_error(("unknown command %q"):format(first),
      ("did you mean `runner run %s`?"):format(first))
  end
  local hint = require("runner.base.suggest").hint(first, names())
  usage_error(("unknown command %q%s"):format(first, hint), "`runner --help` lists the commands")
end

---@async
local function dispatch(argv)
  local first = argv[1]
  if first == "help" then
    argv = argv[2] and { argv[2], "--help" } or { "--help" }
    first = argv[1]
  end
  if first == "--help" or first == "-h" then
    print_out(M.parser():get_help())
    return 0
  elseif first == nil then
    io.stderr:write(M.parser():get_help(), "\n")
    return EXIT.usage
  end
  local known = false
  for _, name in ipairs(names()) do
    known = known or name == first
  end
  if not known then
    not_a_command(first)
  end
  local parser, commands = M.parser(first)
  local ok, args = pcall(parser.parse, parser, glue_negative_numbers(argv))
  if not ok and getmetatable(args) == Help then
    print_out(args.text)
    return 0
  elseif not ok then
    error(args, 0)
  end
  args.argv = argv
  return commands[first].run(args, M.parser)
end

--- Run one command line.
---@param argv string[] the arguments after the program's name
---@return integer exit code
---@async
function M.main(argv)
  if argv[1] == "--version" or argv[1] == "-V" then
    print_out("runner " .. require("runner.version"))
    return 0
  end
  local ok, result = xpcall(dispatch, function(raised)
    return require("runner.base.errors").coerce(raised, "internal")
  end, argv)
  if ok then
    return result
  end
  result = require("runner.base.errors").coerce(result, "internal") -- no handler is called where memory ran out
  local text = "runner: " .. require("runner.base.errors").describe(result) .. "\n"
  if result.context.mistake_at then
    text = ("%s%s\nThis is a mistake in %s, not in runner.\n"):format(text, result.traceback or "",
      result.context.mistake_at)
  elseif EXIT[result.kind] == EXIT.internal then
    text = ("%s%s\nThis is a mistake in runner %s, not in your tests.\n")
      :format(text, result.traceback or "", require("runner.version"))
  end
  io.stderr:write(text)
  return EXIT[result.kind]
end

return M
