--- `--hold-failed`: a sandbox in which a test failed stays for a while, so that somebody can look into it.

local shell = require("runner.io.shell")
local task = require("runner.base.task")

local M = {}

--- The one command that opens a shell in the sandbox; nil when its provider knows none.
---@param sandbox runner.Sandbox
---@return string?
function M.command(sandbox)
  if sandbox.place.shell_command then return sandbox.place.shell_command end
  if sandbox.place.agent == "host" then return "cd " .. shell.quote(sandbox.cwd) end
end

--- Keeps a sandbox with failed tests for `settings.hold_failed` seconds, or until Ctrl-C.
---@param sandbox runner.Sandbox
---@param run runner.Run
---@async
function M.wait(sandbox, run)
  local seconds = run.settings.hold_failed
  if not seconds or not sandbox.failed or sandbox.lost or run.interrupted then return end
  local command = M.command(sandbox)
  run.log("warning", "%s is held for %g s because %s failed (Ctrl-C ends it)%s", sandbox.id, seconds, sandbox.failed,
    command and ": " .. command or "")
  task.deadline(seconds, function() run.released:wait() end)
end

return M
