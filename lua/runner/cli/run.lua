--- `runner run`: loads the configuration, opens the results folder and the reports, runs, and returns the exit code.

local options = require("runner.cli.options")

local M = {
  name = "run",
  summary = "Run the tests.",
  configure = options.run,
}

local function rerun_command(config, args)
  local words = { "runner", "run" }
  if args.config then
    table.move({ "-c", args.config }, 1, 2, #words + 1, words)
  elseif args.config_target then
    words[#words + 1] = args.config_target
  elseif config.path:match("[^/]*$") ~= require("runner.config").DEFAULT then
    words[#words + 1] = config.path
  end
  return words
end

--- The report that adds this run to the history.
local function recorder(config, history, warn)
  if not history or config.history.record ~= "always" then return nil end
  local selection = config.selection
  local is_part = selection.shard or selection.rerun or #selection.names + #selection.expressions > 0
  return history:recorder({ whole = not is_part, warn = warn })
end

--- The run, its bus and its results folder. Nobody but the run has what is known of the tests from before.
local function prepare(config, args, console, warn)
  local results_dir = require("runner.results.folder")
  local history = require("runner.history").of(config, warn)
  local past = options.past(config, history) -- before its folder is emptied
  local results = results_dir.open(config.report.dir, {
    junit = config.report.junit, trace = config.report.trace, warn = warn,
  })
  console:results_in(results.path)
  local reports = { console }
  for _, name in ipairs({ "junit", "trace" }) do
    local file = config.report[name]
    local report = file and require("runner.results." .. name)
    if report then reports[#reports + 1] = report.new({ path = results.path .. "/" .. file }) end
  end
  reports[#reports + 1] = recorder(config, history, warn)
  local bus = require("runner.results.bus").new({
    path = results.path .. "/" .. results_dir.EVENTS, reports = reports, warn = warn,
    checked = require("runner.core.host").debug,
  })
  return require("runner.run").new({
    settings = config, past = past, history = history, bus = bus, dir = results.path,
    argv = args.argv,
  }), bus, results
end

local function execute(config, args)
  local console = require("runner.results.console").new({
    verbose = args.verbose, quiet = args.quiet, color = args.color, rerun = rerun_command(config, args),
  })
  local function warn(message) console:notice("warning: " .. message) end
  require("runner.results.output_log").warn = warn
  local run, bus, results = prepare(config, args, console, warn)
  local held <close> = results -- luacheck: ignore
  local ok, code = pcall(run.execute, run)
  bus:close()
  if not ok then error(code, 0) end
  if args.show_estimated_cost then
    local cost = run.pool.cost
    console:notice(cost and ("estimated cost: $%.4g"):format(cost)
      or "estimated cost: unknown; set price = 0.12 (an hour of a sandbox) in the provider")
  end
  return code
end

---@param args table
---@return integer exit code
---@async
function M.run(args)
  if args.collect_only then return require("runner.cli.collect").run(args) end
  return execute(options.load(args), args)
end

return M
