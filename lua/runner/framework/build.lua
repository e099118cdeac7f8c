--- `build_command`: what has to run in a sandbox before its tests can be found there.

local call = require("runner.framework.call")
local errors = require("runner.errors")
local outcome = require("runner.framework.outcome")

local M = {}

local KEPT = 4 * 1024 * 1024 -- bytes of what it says; a compiler's first error is what matters

--- Runs it. What fails to build is a problem of the project, told whole, not an error of the run.
---@param ctx table of the framework
---@param command string|string[]|nil for the shell, or an argument vector
---@param env table<string, string>?
---@return table? problem
---@async
function M.run(ctx, command, env)
  if not command then return nil end
  local argv = type(command) == "string" and { ctx.shell, "-c", command } or command
  local called = call.run(ctx, { argv = argv, env = env, merge = true })
  local exit = called.exit
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if exit.kind == "failed" then
    errors.raise("config", "build_command cannot be run: " .. outcome.describe(exit))
  end
  if exit.kind == "exited" and exit.code == 0 and not called.too_much then return nil end
  local how = exit.timed_out and "did not end in time" or called.too_much and "printed too much"
    or "failed: " .. outcome.describe(exit)
  return {
    kind = "collection", id = "build_command", message = "build_command " .. how, text = called.stdout:sub(1, KEPT),
  }
end

return M
