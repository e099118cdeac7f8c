-- `runner report`: makes the JUnit report and the summary again from the event log, as after a run
-- whose runner was killed.

local errors = require("runner.errors")
local events = require("runner.events")
local last_run = require("runner.cli.last_run")
local console = require("runner.report.console")
local junit = require("runner.report.junit")

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
  cmd:option("--junit"):argname("FILE"):default("junit.xml")
    :description("Name of the JUnit report in the folder.")
  cmd:flag("-v --verbose"):description("Tell tests that passed, too.")
  last_run.configure(cmd)
  cmd:option("--color"):choices({ "auto", "always", "never" }):default("auto")
    :show_default(false):description("Colours (default: auto, when writing to a terminal).")
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
  local bus = events.new { reports = reports }
  for event in assert(events.complete(log)) do
    bus:emit(event)
  end
  bus:close()
  if bus.told[reports[2]] then errors.raise("config", "the JUnit report could not be written") end
  return 0
end

return M
