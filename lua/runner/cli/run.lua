--- `runner run`: loads the configuration, opens the results folder and the reports, runs, and returns the exit code.

local uv = require("luv")
local options = require("runner.cli.options")

local M = {
  name = "run",
  summary = "Run the tests.",
  configure = options.run,
}

--- A name for this run: sorts by time, unique enough for labels and temporary folders.
---@return string
function M.run_id()
  local noise = assert(uv.random(3)):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  return os.date("!%Y%m%d-%H%M%S-") .. noise
end

local function rerun_command(config, args)
  local words = { "runner", "run" }
  if args.config then
    table.move({ "-c", args.config }, 1, 2, #words + 1, words)
  elseif args.targets[1] and args.targets[1]:find("%.lua$") then
    words[#words + 1] = args.targets[1]
  elseif config.path:match("[^/]*$") ~= "runner.lua" then
    words[#words + 1] = config.path
  end
  return words
end

local function execute(config, args)
  local events = require("runner.events")
  local results_dir = require("runner.report.results_dir")
  local console = require("runner.report.console").new({
    verbose = args.verbose, quiet = args.quiet, color = args.color, rerun = rerun_command(config, args),
  })
  local function warn(message) console:notice("warning: " .. message) end
  require("runner.attempt_log").warn = warn
  local results <close> = results_dir.open(config.report.dir, { junit = config.report.junit, warn = warn })
  local reports = { console }
  if config.report.junit then
    reports[#reports + 1] = require("runner.report.junit").new({ path = results.path .. "/" .. config.report.junit })
  end
  local bus = events.new({ path = results.path .. "/events.ndjson", reports = reports, warn = warn })
  local run = require("runner.run").new({
    id = M.run_id(), settings = config, names = config.filters, bus = bus, dir = results.path, argv = args.argv,
  })
  local ok, code = pcall(run.execute, run)
  bus:close()
  if not ok then error(code, 0) end
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
