--- Names of the signals that end processes, by their numbers on Linux.

local NAMES = {
  "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
  [24] = "XCPU", [25] = "XFSZ", [31] = "SYS",
}

local M = {}

--- "SIGSEGV" of 11, "signal 40" of one without a name. Names pass through, as does nil.
---@param signal integer|string|nil
---@return string?
function M.name(signal)
  if not math.type(signal) then return signal end
  local name = NAMES[math.tointeger(signal)]
  return name and "SIG" .. name or ("signal %g"):format(signal)
end

return M
