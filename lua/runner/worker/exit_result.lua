--- What the end of a process says of the test that it ran.

local exit_text = require("runner.io.exit_text")

local M = {}

--- The result of a test that had a process to itself, whose exit status is the verdict.
---@param exit runner.Exit
---@return table result see the plug-in interface
function M.of_exit(exit)
  local result = {
    status = "passed", duration = exit.wall, cpu = (exit.user or 0) + (exit.system or 0), memory = exit.memory,
    leaks = exit.leaks,
  }
  if exit.timed_out then -- by the provider's limit: the test's own is the core's business
    result.status, result.message = "timed_out", "the provider's limit of time has passed"
  elseif exit.kind == "exited" then
    result.exit_code = exit.code
    if exit.code ~= 0 then result.status, result.message = "failed", exit_text.describe(exit) end
  elseif exit.kind == "signaled" then
    result.status, result.signal = "crashed", exit.signal
    result.message = exit_text.describe(exit)
  else
    result.status, result.message = exit.kind == "lost" and "lost" or "failed", exit_text.describe(exit)
  end
  return result
end

return M
