--- The flags that several commands share: how they are declared, and how they override a configuration. Flags
--- beat the configuration, a group's own settings included.

local types = require("runner.config.types")

local M = {}

local NUMBERS = { count = true, integer = true, parallel = true, positive = true }

--- A converter for argparse that checks a flag's value like the setting it overrides.
---@param flag string
---@param spec string a type
---@return fun(text: string): any, string?
local function checked(flag, spec)
  return function(text)
    local value = NUMBERS[spec] and tonumber(text) or text
    local normal, problems = types.check(spec, value)
    if problems then
      return nil, ("%s: %s"):format(flag, problems[1].message)
    end
    return normal
  end
end

local function variable(text)
  local name, value = text:match("^([^=]+)=(.*)$")
  if not name then
    -- The text is not shown: it may be a secret whose name was forgotten.
    return nil, "--env: expected NAME=VALUE"
  end
  return { name = name, value = value }
end

local function config_file(cmd)
  return cmd:option("-c --config"):argname("FILE"):convert(checked("--config", "path"))
    :description("Configuration (default: runner.lua).")
end

local function selection(cmd)
  return cmd:argument("targets"):args("*"):argname("[CONFIG.lua] [NAME]")
    :description("A configuration, when it ends in .lua; then parts of names: only tests whose "
      .. "name holds one of them.")
end

local function order_and_place(cmd)
  return
    cmd:option("--env"):argname("NAME=VALUE"):count("*"):convert(variable)
      :description("Set an environment variable of the tests. May be given again."),
    cmd:option("--copy-dir"):argname("LOCAL:REMOTE"):count("*"):target("copy_dirs")
      :description("Copy a folder into each sandbox's own working folder. May be given again.")
end

--- --color, of every command that prints for people.
function M.color(cmd)
  return cmd:option("--color"):choices({ "auto", "always", "never" }):default("auto")
    :show_default(false):description("Colours (default: auto, when writing to a terminal).")
end

local function parallel(cmd)
  return cmd:option("-j -p --parallel"):argname("N"):convert(checked("--parallel", "parallel"))
    :target("max_parallel")
    :description("Tests at once; -1: all cores but one (default: all cores).")
end

local function no_tests(cmd)
  return cmd:option("--no-tests"):choices({ "pass", "warn", "fail" })
    :description("When there are no tests (default: fail, exit 4).")
end

local function seed(cmd)
  return cmd:option("--seed"):argname("N"):convert(checked("--seed", "integer"))
    :description("Random order that this number determines.")
end

--- Declare the flags of `runner run`.
---@param cmd table argparse command
function M.run(cmd)
  cmd:usage("Usage: runner run [CONFIG.lua] [NAME...] [OPTION...]")
  cmd:group("What to run",
    selection(cmd),
    config_file(cmd),
    cmd:flag("--collect-only"):description("List the tests instead of running them."),
    no_tests(cmd))
  cmd:group("How to run it",
    parallel(cmd),
    seed(cmd),
    order_and_place(cmd))
  cmd:group("Failures and time",
    cmd:option("--retries"):argname("N"):convert(checked("--retries", "count"))
      :description("Try a failed test that often again."),
    cmd:option("--hold-failed"):argname("TIME"):convert(checked("--hold-failed", "duration"))
      :description("Keep the sandbox of a failed test for so long, and say how to get in."),
    cmd:flag("--fail-fast"):description("Stop after the first failed test."),
    cmd:option("--max-fail"):argname("N"):convert(checked("--max-fail", "positive"))
      :description("Stop after that many failed tests."),
    cmd:option("--test-timeout"):argname("TIME"):convert(checked("--test-timeout", "timeout"))
      :description("Limit for one test: 90, 5m, 1h30m or none."),
    cmd:option("--global-timeout"):argname("TIME"):convert(checked("--global-timeout", "timeout"))
      :description("Limit for the whole run."))
  local verbose = cmd:flag("-v --verbose"):description("Show the output of tests as it comes.")
  local quiet = cmd:flag("-q --quiet"):description("Show only failures and the summary.")
  cmd:mutex(verbose, quiet)
  cmd:group("Output",
    cmd:option("--output-dir"):argname("FOLDER"):convert(checked("--output-dir", "path"))
      :description("Folder for results (default: test-results)."),
    verbose, quiet, M.color(cmd))
end

--- Declare the flags of `runner collect`.
---@param cmd table argparse command
function M.collect(cmd)
  cmd:usage("Usage: runner collect [CONFIG.lua] [NAME...] [OPTION...]")
  cmd:group("What to collect", selection(cmd), config_file(cmd), no_tests(cmd))
  cmd:group("How", parallel(cmd), seed(cmd), order_and_place(cmd))
  cmd:group("Output",
    cmd:option("-f --format"):choices({ "text", "json" }):default("text"):show_default(false)
      :description("One name a line, or JSON (default: text)."),
    M.color(cmd))
end

--- Declare the flags of `runner validate`.
---@param cmd table argparse command
function M.validate(cmd)
  cmd:usage("Usage: runner validate [CONFIG.lua] [OPTION...]")
  cmd:argument("file"):args("?"):argname("CONFIG.lua"):convert(checked("CONFIG.lua", "path"))
    :description("The configuration (default: runner.lua).")
    :action(function(result, _, value) result.config = value or result.config end)
  config_file(cmd)
end

--- Override settings with the flags that were given.
---@param config runner.Config changed in place
---@param args table what argparse made of the flags that M.run or M.collect declares
function M.apply(config, args)
  local errors = require("runner.errors")
  local configs = require("runner.config")
  for _, key in ipairs({ "fail_fast", "hold_failed", "max_fail", "seed", "no_tests" }) do
    if args[key] ~= nil then
      config[key] = args[key]
    end
  end
  if args.max_parallel then
    config.max_parallel, config.max_parallel_given = configs.parallel(args.max_parallel), true
  end
  for _, key in ipairs({ "retries", "test_timeout", "global_timeout" }) do
    local value = args[key]
    if value ~= nil then
      local setting = value ~= "none" and value or nil
      config[key] = setting
      for _, group in ipairs(key ~= "global_timeout" and config.groups or {}) do
        group[key] = setting
      end
    end
  end
  for _, pair in ipairs(args.env or {}) do
    config.env[pair.name] = pair.value
    for _, group in ipairs(config.groups) do
      if group.env and group.env[pair.name] ~= nil then
        group.env[pair.name] = pair.value
      end
    end
  end
  local path = require("runner.path")
  for _, text in ipairs(args.copy_dirs or {}) do
    local copy, why = configs.copy_dir(text, path.absolute("."))
    if not copy then
      errors.raise("usage", "--copy-dir: " .. why)
    end
    config.copy_dirs[#config.copy_dirs + 1] = copy
  end
  if args.output_dir then
    config.report.dir = path.absolute(args.output_dir)
  end
end

--- The configuration that the command line asks for, flags applied. Raises errors of kind "config", "usage".
---@param args table
---@return runner.Config
function M.load(args)
  local name, names = args.config, {}
  for i, target in ipairs(args.targets or {}) do
    if i == 1 and not name and target:find("%.lua$") then
      name = target
    else
      names[#names + 1] = target
    end
  end
  local config = require("runner.config").load(name)
  config.filters = names[1] and names or nil
  M.apply(config, args)
  return config
end

return M
