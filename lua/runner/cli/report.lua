-- `runner report`: makes the JUnit report, the trace and the summary again from the event log, as after
-- a run whose runner was killed.

local errors = require("runner.base.errors")
local event_log = require("runner.results.event_log")
local buses = require("runner.results.bus")
local last_run = require("runner.cli.last_run")
local console = require("runner.results.console")
local junit = require("runner.results.junit")
local options = require("runner.cli.options")
local results_dir = require("runner.results.folder")
local text = require("runner.base.text")
local trace = require("runner.results.trace")

local M = {
  name = "report",
  summary = "Make the reports of the last run again from its event log.",
}

--- Declares the flags.
---@param cmd table argparse command
function M.configure(cmd)
  cmd:usage("Usage: runner report [FOLDER] [OPTION...]")
  cmd:argument("dir"):args("?"):argname("FOLDER"):target("output_dir")
    :description("Results folder (default: of the configuration).")
  cmd:option("--junit"):argname("FILE"):default(results_dir.REPORTS.junit)
    :description("Name of the JUnit report in the folder.")
  cmd:flag("--trace"):description("Write a trace for Perfetto, also when the run made none (trace.json).")
  cmd:flag("-v --verbose"):description("Tell tests that passed, too.")
  last_run.configure(cmd)
  options.color(cmd)
end

--- Exit code 0 when the reports could be made, whatever they say.
---@param args table
---@return integer exit code
function M.run(args)
  local dir, log = last_run.find(args.output_dir, args.config)
  local path = args.junit:sub(1, 1) == "/" and args.junit or dir .. "/" .. args.junit
  local reports = {
    console.new {
      quiet = not args.verbose, verbose = args.verbose, live = false, color = args.color,
      stream = args.stream,
    },
    junit.new { path = path },
  }
  reports[1]:results_in(dir)
  local timeline = results_dir.trace(log) or args.trace and results_dir.REPORTS.trace
  if timeline then reports[3] = trace.new { path = dir .. "/" .. timeline } end
  local bus = buses.new { reports = reports }
  local failure
  for event in assert(event_log.complete(log)) do
    bus:emit(event)
    failure = event.event == "run_finished" and event.error
  end
  bus:close()
  for _, report in ipairs({ table.unpack(reports, 2) }) do
    if bus.told[report] then errors.raise("config", ("the %s report could not be written"):format(report.name)) end
  end
  if failure then io.stderr:write("runner: the run failed: ", text.multiline(tostring(failure)), "\n") end
  return 0
end

return M
