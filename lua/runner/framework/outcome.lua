--- What the end of a process says of the test that it ran.

local signals = require("runner.signals")

local M = {}

--- "exit status 3", "ended by SIGSEGV", "execve /x: No such file or directory".
---@param exit runner.Exit
---@return string
function M.describe(exit)
  local how
  if exit.kind == "exited" then how = ("exit status %d"):format(exit.code) end
  if exit.kind == "signaled" then how = "ended by " .. signals.name(exit.signal) end
  if not exit.message or exit.message == "" then return how or exit.kind end
  return how and ("%s: %s"):format(how, exit.message) or exit.message
end

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
    if exit.code ~= 0 then result.status, result.message = "failed", M.describe(exit) end
  elseif exit.kind == "signaled" then
    result.status, result.signal = "crashed", exit.signal
    result.message = M.describe(exit)
  else
    result.status, result.message = exit.kind == "lost" and "lost" or "failed", M.describe(exit)
  end
  return result
end

return M
