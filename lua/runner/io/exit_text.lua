--- How a process ended, in words.

local signals = require("runner.io.signals")

local M = {}

---@alias runner.AnyExit { code: integer?, signal: integer?, message: string?, kind: string? } signal 0: none

local function say(exit, by_signal, by_itself)
  if exit.signal and exit.signal ~= 0 then return by_signal:format(signals.name(exit.signal)) end
  return exit.code and by_itself:format(exit.code)
end

--- As a noun: "exit status 3", "ended by SIGSEGV", "execve /x: No such file or directory".
---@param exit runner.AnyExit
---@return string? nil when it says nothing
function M.describe(exit)
  local how = say(exit, "ended by %s", "exit status %d")
  if not exit.message or exit.message == "" then return how or exit.kind end
  return how and ("%s: %s"):format(how, exit.message) or exit.message
end

--- As what the process did: "exited with status 3", "was ended by SIGSEGV".
---@param exit runner.AnyExit
---@return string
function M.verb(exit)
  return say(exit, "was ended by %s", "exited with status %d") or exit.message or exit.kind
end

return M
