-- Where the results of the last run are: what `logs` and `report` have in common.

local uv = require("luv")
local errors = require("runner.base.errors")
local path = require("runner.base.path")
local results_dir = require("runner.results.folder")

local M = {}

--- Declares `-c`.
---@param cmd table argparse command
function M.configure(cmd)
  cmd:option("-c --config"):argname("FILE")
    :description("Configuration that names the results folder (default: runner.lua).")
end

-- A broken configuration must not keep anybody from the results that are already there.
local function configured_dir(config)
  local configs = require("runner.config")
  if config then return configs.load(config).report.dir end
  if configs.find() then
    local ok, loaded = pcall(configs.load)
    if ok then return loaded.report.dir end
  end
  return path.absolute("test-results")
end

--- The results folder and its event log. Raises an error of kind "config" when no run left one, or it cannot be read.
---@param dir string? given on the command line
---@param config string? likewise
---@return string dir absolute
---@return string log
function M.find(dir, config)
  dir = dir and path.absolute(dir) or configured_dir(config)
  local log = dir .. "/" .. results_dir.EVENTS
  if not uv.fs_stat(log) then
    errors.raise("config", ("no results in %s: there is no %s"):format(dir, results_dir.EVENTS),
      { hint = "run the tests with `runner run`, or name a folder with --output-dir" })
  end
  if not uv.fs_access(log, "R") then errors.raise("config", ("%s may not be read by this user"):format(log)) end
  return dir, log
end

return M
