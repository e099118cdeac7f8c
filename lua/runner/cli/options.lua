--- The flags that several commands share: how they are declared, and how they override a configuration. Flags
--- beat the configuration, a group's own settings included.

local errors = require("runner.base.errors")
local types = require("runner.plugin.types")

local M = {}

local NUMBERS = {
  amount = true, count = true, integer = true, number = true, parallel = true, part = true, positive = true,
}

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
    :description("Configuration (default: runner.lua, here or above in the repository).")
end

local function targets(cmd)
  return cmd:argument("targets"):args("*"):argname("[CONFIG.lua] [NAME]")
    :description("A configuration, when it ends in .lua; then parts of names: only tests whose "
      .. "name holds one of them (a whole name means that test alone). Where there is a runner.lua, a file that ends "
      .. "in _spec.lua or without a return is a name, too.")
end

--- A group of a help text. Lists in it are taken apart.
local function titled(cmd, title, ...)
  local elements = {}
  for _, one in ipairs({ ... }) do
    if one[1] then table.move(one, 1, #one, #elements + 1, elements) else elements[#elements + 1] = one end
  end
  cmd:group(title, table.unpack(elements))
end

--- Filter expressions, the shard, the last failures: what `run` and `collect` share.
local function filters(cmd)
  return {
    cmd:option("-E --filter"):argname("EXPR"):count("*"):target("expressions")
      :description("Only tests that this expression matches, as in 'tag(slow) and not test(/ui_.*/)'."),
    cmd:option("--shard"):argname("I/N"):convert(function(text)
      local shard, why = require("runner.select.shard").parse(text)
      if not shard then return nil, "--shard: " .. why end
      return shard
    end):description("Only the I-th of N parts of the tests."),
    cmd:option("--shard-by"):choices({ "time", "hash" })
      :description("Even by predicted time (default), or by hash: a test stays in its part whatever else changes."),
    cmd:option("--replay-order"):argname("RUN")
      :description("In the order of an earlier run: its results folder or events.ndjson."),
    cmd:flag("--rerun-failed"):description("Only tests that did not pass in the last run."),
    cmd:flag("--no-cache"):description("Find the tests anew, whatever was remembered."),
  }
end

local function place(cmd)
  return {
    cmd:option("--env"):argname("NAME=VALUE"):count("*"):convert(variable)
      :description("Set an environment variable of the tests. May be given again."),
    cmd:option("--copy-dir"):argname("LOCAL:REMOTE"):count("*"):target("copy_dirs")
      :description("Copy a folder into each sandbox's own working folder. May be given again."),
  }
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
  titled(cmd, "What to run",
    targets(cmd),
    config_file(cmd),
    filters(cmd),
    cmd:flag("--collect-only"):description("List the tests instead of running them."),
    no_tests(cmd))
  titled(cmd, "How to run it", parallel(cmd), seed(cmd), place(cmd))
  cmd:group("Failures and time",
    cmd:option("--retries"):argname("N"):convert(checked("--retries", "count"))
      :description("Try a failed test that often again."),
    cmd:option("--retry-budget"):argname("N"):convert(checked("--retry-budget", "count"))
      :description("No more retries than that in the whole run."),
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
  local record = cmd:flag("--record-history"):description('Add to the history, also where history.record is "flag".')
  local no_history = cmd:flag("--no-history"):description("Neither use nor write the history of earlier runs.")
  cmd:mutex(record, no_history)
  cmd:group("Output",
    cmd:option("--output-dir"):argname("FOLDER"):convert(checked("--output-dir", "path"))
      :description("Folder for results (default: test-results)."),
    cmd:flag("--show-estimated-cost"):description("Say at the end what the sandboxes cost, by their providers' price."),
    cmd:flag("--trace"):description("Write trace.json, a timeline of the run for Perfetto, into it."),
    record, no_history, verbose, quiet, M.color(cmd))
end

--- Declare the flags of `runner collect`.
---@param cmd table argparse command
function M.collect(cmd)
  cmd:usage("Usage: runner collect [CONFIG.lua] [NAME...] [OPTION...]")
  titled(cmd, "What to collect", targets(cmd), config_file(cmd), filters(cmd), no_tests(cmd))
  titled(cmd, "How", parallel(cmd), seed(cmd), place(cmd))
  cmd:group("Output",
    cmd:option("-f --format"):choices({ "text", "json" }):default("text"):show_default(false)
      :description("One name a line, or JSON (default: text)."),
    M.color(cmd))
end

--- Several numbers of slots, for a table: "1,10,50".
local function parallel_list(cmd)
  return cmd:option("-j -p --parallel"):argname("N,N..."):target("parallel_list"):convert(function(text)
    local list = {}
    for part in (text .. ","):gmatch("(.-),") do
      local number = types.check("positive", tonumber(part))
      if not number then
        return nil, ("--parallel: expected numbers such as 1,10,50, got %q"):format(text)
      end
      list[#list + 1] = number
    end
    return list
  end):description("Slots: one number, or several for a table.")
end

--- Declare the flags of `runner plan`.
---@param cmd table argparse command
function M.plan(cmd)
  cmd:usage("Usage: runner plan [CONFIG.lua] [NAME...] [OPTION...]")
  titled(cmd, "What would run", targets(cmd), config_file(cmd), filters(cmd), no_tests(cmd))
  cmd:group("What to find out",
    parallel_list(cmd),
    cmd:option("--deadline"):argname("TIME"):convert(checked("--deadline", "duration"))
      :description("The fewest slots with which it ends in time."),
    cmd:option("--budget"):argname("AMOUNT"):convert(checked("--budget", "amount"))
      :description("The most slots that cost no more; needs the provider's price."))
end

--- Declare the flags of `runner simulate`.
---@param cmd table argparse command
function M.simulate(cmd)
  cmd:usage("Usage: runner simulate EVENTS.ndjson [OPTION...]")
  cmd:argument("EVENTS.ndjson"):target("log"):description("The event log of a run.")
  cmd:group("Other settings",
    parallel_list(cmd),
    cmd:option("--retries"):argname("N"):convert(checked("--retries", "count"))
      :description("Try a failed test that often again (default: as recorded)."),
    cmd:option("--failure-rate"):argname("PART"):convert(checked("--failure-rate", "part"))
      :description("This part of the tests fails once (default: as recorded)."),
    cmd:option("--start"):argname("TIME"):convert(checked("--start", "duration"))
      :description("Until a sandbox is ready (default: as recorded)."),
    cmd:option("--fixed-cost"):argname("TIME"):convert(checked("--fixed-cost", "duration"))
      :description("What each hand-out costs (default: nothing)."),
    cmd:option("--price"):argname("AMOUNT"):convert(checked("--price", "amount"))
      :description("Of a sandbox for an hour."),
    cmd:flag("--individual"):description("Hand out every test alone."),
    cmd:flag("--no-history"):description("The scheduler knows no times."),
    cmd:option("--estimate-error"):argname("SIGMA"):convert(checked("--estimate-error", "amount"))
      :description("The times it knows are wrong by a log-normal factor."),
    cmd:option("--seed"):argname("N"):convert(checked("--seed", "integer"))
      :description("Of what is random (default: 1)."))
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
  local configs = require("runner.config")
  for _, key in ipairs({ "fail_fast", "hold_failed", "max_fail", "retry_budget", "seed", "no_tests", "no_cache" }) do
    if args[key] ~= nil then
      config[key] = args[key]
    end
  end
  if args.replay_order then config.seed = nil end
  if args.max_parallel then
    config.max_parallel, config.max_parallel_given = configs.parallel(args.max_parallel), true
  end
  config.forced = {}
  for _, key in ipairs({ "retries", "test_timeout", "global_timeout" }) do
    local value = args[key]
    if value ~= nil then
      config.forced[key] = true
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
  local path = require("runner.base.path")
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
  if args.trace then
    config.report.trace = config.report.trace or require("runner.results.folder").REPORTS.trace
  end
  if args.no_history then
    config.history = false
  elseif args.record_history then
    if not config.history then errors.raise("usage", "--record-history: the configuration has history = false") end
    config.history.record = "always"
  end
end

--- What the command line selects.
local function select_of(config, args, names)
  local expression, select = require("runner.select.expression"), require("runner.select")
  local selection = { names = names, expressions = {}, shard = args.shard, rerun = args.rerun_failed }
  for i, text in ipairs(args.expressions or {}) do
    selection.expressions[i] = expression.parse(text, config.predicates, config.names)
  end
  if args.replay_order and args.seed then
    errors.raise("usage", "--seed and --replay-order both say in which order the tests run: give one of them")
  end
  if args.replay_order then selection.replay = require("runner.select.replay").read(args.replay_order) end
  if args.shard then
    args.shard.by = args.shard_by or "time"
  elseif args.shard_by then
    errors.raise("usage", "--shard-by says how --shard deals the tests out: say --shard, too, such as --shard 1/2")
  end
  selection.uses_past = select.uses_past(selection)
  for _, one in ipairs(config.overrides) do selection.uses_past = selection.uses_past or one.filter.uses_past end
  return selection
end

--- The results of earlier runs, where the selection asks for them.
---@param config runner.Config
---@param history runner.History?
---@return runner.Past?
function M.past(config, history)
  if not config.selection.uses_past then return nil end
  local past = require("runner.select.previous_run").load(config.report.dir, history)
  if config.selection.rerun and not past.exists then
    require("runner.base.errors").raise("usage", "--rerun-failed: there is no earlier run in " .. config.report.dir)
  end
  return past
end

--- Tells whether the first argument names the configuration. A file of tests in Lua does not: a spec, or what can
--- return no settings.
---@param target string
---@param found string? the configuration that is read when none is named
---@return boolean
local function names_config(target, found)
  if not target:find("%.lua$") then return false end
  local is_spec = target:find("_spec%.lua$")
  if is_spec and found then return false end
  local text = (is_spec or found) and require("runner.plugin.loader").read(target)
  if not text then return not is_spec end
  -- Nothing may follow a `return`: what still compiles with more behind it does not end with one.
  if not load(text .. "\ndo end", "=", "t") then return true end
  if not is_spec then
    io.stderr:write(("runner: %s does not end with a return, so it is taken for a part of names; -c %s takes it "
      .. "for the configuration\n"):format(target, target))
  end
  return false
end

--- The configuration that the command line asks for, flags applied. Raises errors of kind "config", "usage".
---@param args table `config_target` is set to the argument that names the configuration
---@return runner.Config
function M.load(args)
  local configs = require("runner.config")
  local name, names, found = args.config, {}, nil
  if not name then found = configs.find() end
  for i, target in ipairs(args.targets or {}) do
    if i == 1 and not name and names_config(target, found) then
      name, args.config_target = target, target
    else
      -- Ids hold paths as the frameworks write them.
      local plain = target:gsub("^%./+", "")
      names[#names + 1] = plain ~= target and require("luv").fs_stat(plain) and plain or target
    end
  end
  if not name and found and found ~= configs.DEFAULT and not args.quiet then
    io.stderr:write(("runner: there is no %s here; using %s\n"):format(configs.DEFAULT, found))
  end
  local config = configs.load(name or found)
  config.selection = select_of(config, args, names)
  M.apply(config, args)
  return config
end

return M
