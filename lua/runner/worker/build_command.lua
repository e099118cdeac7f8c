--- `build_command`: what has to run in a sandbox before its tests can be found there.

local call = require("runner.agent.call")
local command_line = require("runner.io.command_line")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")

local M = {}

local KEPT = 4 * 1024 * 1024 -- bytes of what it says; a compiler's first error is what matters

--- What fails to build is a problem of the project, told whole, not an error of the run.
local function run(ctx, command, env)
  if not command then return nil end
  local argv, shell_argv = command, nil
  if type(command) == "string" then argv, shell_argv = command_line.argv(command, ctx.shell) end
  local called = call.run(ctx, { argv = argv, shell_argv = shell_argv, env = env, merge = true })
  local exit = called.exit
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if exit.kind == "failed" then
    errors.raise("config", "build_command cannot be run: " .. exit_text.describe(exit))
  end
  if exit.kind == "exited" and exit.code == 0 and not called.too_much then return nil end
  local how = exit.timed_out and "did not end in time" or called.too_much and "printed too much"
    or "failed: " .. exit_text.describe(exit)
  return {
    kind = "collection", id = "build_command", message = "build_command " .. how, text = called.stdout:sub(1, KEPT),
  }
end

--- The session of a framework, once its `build_command` has run. What fails to build is all that it has to tell.
---@param ctx table of the framework
---@param options { build_command: string|string[]|nil, env: table<string, string>? } for the shell, or an argument
---  vector
---@param session table
---@return table session
---@async
function M.session(ctx, options, session)
  local problem = run(ctx, options.build_command, options.env)
  if not problem then return session end
  return {
    discover = function() return {}, { problem } end,
    worker = function() errors.raise("provider", problem.message .. "\n" .. problem.text) end,
    close = function() end,
  }
end

return M
