--- The commands that a user gives to a provider (create it, destroy it, set up, tear down): run here through the
--- shell, in the configuration's folder, within a limit of time; what they say on stderr is the run's log.

local errors = require("runner.errors")
local paths = require("runner.path")
local shell = require("runner.shell")

local M = {}

M.TIMEOUT_S = 3600
local GRACE_S = 2 -- for a command that took too long, between TERM and KILL

--- Where they run, and with what environment.
---@param options { working_dir: string?, env: table? }
---@param ctx table
---@return { cwd: string, env: table? }
function M.where(options, ctx)
  return { cwd = paths.absolute(options.working_dir or ".", ctx.dir), env = options.env }
end

local function log_lines(ctx, name, text)
  for line in text:gmatch("[^\r\n]+") do ctx.log("info", "%s: %s", name, line) end
end

--- Runs one to its end.
---@param name string of the option, for messages
---@param line string
---@param options table with working_dir, env and timeout
---@param ctx table
---@param limit number? seconds; default: the option, or an hour
---@return string? message what went wrong
---@return runner.ShellResult result
---@async
function M.run(name, line, options, ctx, limit)
  local where = M.where(options, ctx)
  limit = limit or options.timeout or M.TIMEOUT_S
  local result = shell.run(line, { cwd = where.cwd, env = where.env, timeout = limit, grace = GRACE_S })
  log_lines(ctx, name, result.stderr)
  return shell.complaint(name, result, limit), result
end

--- Runs one that prints an id: its last line that is not empty. nil: it printed none.
---@return string? id
---@async
function M.id(name, line, options, ctx)
  local message, result = M.run(name, line, options, ctx)
  if message then errors.raise("provider", message, { permanent = name == "prepare_command" }) end
  local id
  for text in result.stdout:gmatch("[^\r\n]+") do id = text:match("^%s*(.-)%s*$"):match("^.+$") or id end
  return id
end

--- Starts one that has no input, for a place's `start`.
---@param line string
---@param where { cwd: string, env: table? }
---@param handlers { on_output: function, on_exit: function }
---@return runner.ShellProcess
function M.start(line, where, handlers)
  local process = shell.start(line, {
    cwd = where.cwd, env = where.env, on_output = handlers.on_output, on_exit = handlers.on_exit,
  })
  process:shutdown()
  return process
end

return M
