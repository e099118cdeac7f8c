--- What to say of a program that the tests need and that cannot be started.

local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")

local M = {}

--- Where something is to be installed; nothing where that is this machine.
---@param ctx table? of the framework; nil: it is this machine
---@return string
function M.where(ctx)
  return (not ctx or ctx.sandbox.is_host) and "" or " where the tests run, in the image or by init_command"
end

--- Was the program not started? A shell in between says so by its status.
---@param exit runner.Exit
---@return boolean
function M.is_missing(exit)
  return exit.kind == "failed" or exit.kind == "exited" and (exit.code == 127 or exit.code == 126)
end

--- The message: which program, why, and how to mend it.
---@param ctx table? as for `where`
---@param exit runner.Exit
---@param about { program: string, install: string, set: string? } as the user would call it; what brings it; what says
---  where it is: "go = … of the go framework"
---@param said string? what was printed
---@return string
function M.missing(ctx, exit, about, said)
  local text = said and said:find("%S") and "\n" .. said:gsub("%s+$", "") or ""
  return ("cannot run %s (%s): install %s%s%s%s"):format(about.program, exits.describe(exit), about.install,
    M.where(ctx), about.set and ", or set " .. about.set or "", text)
end

--- Raises it, if the program was not started.
function M.check(ctx, exit, about, said)
  if M.is_missing(exit) then errors.raise("config", M.missing(ctx, exit, about, said)) end
end

return M
