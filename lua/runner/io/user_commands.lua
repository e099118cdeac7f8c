--- The commands that a user gives to a provider (create it, destroy it, set up, tear down): run here through the
--- shell, in the configuration's folder, within a limit of time; what they say on stderr is the run's log.

local errors = require("runner.base.errors")
local path = require("runner.base.path")
local shell = require("runner.io.shell")
local task = require("runner.base.task")

local M = {}

M.TIMEOUT_S = 3600
local GRACE_S = 2 -- for a command that took too long, between TERM and KILL
--- For one that makes something, when the run is interrupted: what it prints is the only way to what it has made.
local PATIENCE_S = 60

--- Where they run, and with what environment.
---@param options { working_dir: string?, env: table? }
---@param ctx table
---@return { cwd: string, env: table? }
function M.where(options, ctx)
  return { cwd = path.absolute(options.working_dir or ".", ctx.dir), env = options.env }
end

local function log_lines(ctx, name, text)
  for line in text:gmatch("[^\r\n]+") do ctx.log("info", "%s: %s", name, line) end
end

local function begin(name, line, options, ctx, limit, on_done)
  local where = M.where(options, ctx)
  limit = limit or options.timeout or M.TIMEOUT_S
  return shell.gather(line, { cwd = where.cwd, env = where.env, timeout = limit, grace = GRACE_S }, function(result)
    log_lines(ctx, name, result.stderr)
    on_done(shell.complaint(name, result, limit), result)
  end)
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
  return task.await(function(resume)
    local process = begin(name, line, options, ctx, limit, resume)
    return function() process:kill(0) end
  end)
end

local function last_line(text)
  local last
  for line in text:gmatch("[^\r\n]+") do last = line:match("^%s*(.-)%s*$"):match("^.+$") or last end
  return last
end

--- Runs one that prints an id: its last line that is not empty. nil: it printed none.
---@return string? id
---@async
function M.id(name, line, options, ctx)
  local message, result = M.run(name, line, options, ctx)
  if message then errors.raise("provider", message, { permanent = name == "prepare_command" }) end
  return last_line(result.stdout)
end

--- Waits until a command that was not to be cut short has ended, or patience has.
local function await_end(name, ctx, process, ended)
  ctx.log("warning", "waiting for %s to end (at most %d s): what it makes has to be removed", name, PATIENCE_S)
  task.scope(function(scope)
    if ctx.killed then
      scope:spawn(function()
        ctx.killed:wait()
        process:kill(0)
      end)
    end
    if not task.deadline(PATIENCE_S, function() ended:wait() end) then process:kill(GRACE_S * 1000) end
    ended:wait()
    scope:cancel()
  end)
end

--- Like `id`, for one that makes what has to be removed again: should the run be interrupted meanwhile, it may end all
--- the same, and `undo` gets its id.
---@param undo async fun(id: string)
---@return string? id
---@async
function M.making(name, line, options, ctx, undo)
  local ended, message, result = task.event(), nil, nil
  local process = begin(name, line, options, ctx, nil, function(...)
    message, result = ...
    ended:set(true)
  end)
  local ok, reason = pcall(ended.wait, ended)
  if not ok then
    task.shield(function()
      await_end(name, ctx, process, ended)
      local id = not message and last_line(result.stdout)
      if id then return undo(id) end
      ctx.log("warning", "%s was interrupted and named nothing: what it may have made is left (%s)", name,
        message or "it printed nothing")
    end)
    error(reason, 0)
  end
  if message then errors.raise("provider", message) end
  return last_line(result.stdout)
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
