--- One command in a sandbox, waited for, its output in memory: how frameworks discover, build and look around.

local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local task = require("runner.base.task")

local M = {}

local LIMIT = 256 * 1024 * 1024 -- bytes of output
local TIMEOUT_S = 1800 -- a first build of a large project takes its time
local ERR_KEPT = 256 * 1024

---@class runner.Called
---@field exit runner.Exit
---@field stdout string
---@field stderr string its end, when it is long
---@field too_much boolean? it printed more than it may, and was killed

--- Runs a command to its end. Nothing is raised for a command that fails: see `check`.
---@param ctx table of the framework
---@param spec table argv, env, cwd …, as for ctx.spawn; `limit`: bytes of stdout (default 256 MiB);
---  `timeout`: seconds (default 30 minutes)
---@return runner.Called
---@async
function M.run(ctx, spec)
  local limit = spec.limit or LIMIT
  spec.limit = nil
  spec.deadline, spec.timeout = spec.timeout or TIMEOUT_S, nil
  local out, size, err = {}, 0, ""
  local exit = task.await(function(resume)
    function spec.on_output(command, stream, bytes)
      if stream ~= "stdout" then
        err = err .. bytes
        if #err > 2 * ERR_KEPT then err = err:sub(-ERR_KEPT) end
        return
      end
      size = size + #bytes
      if size <= limit then out[#out + 1] = bytes else command:kill(0) end
    end
    function spec.on_exit(_, ended) resume(ended) end
    local command = ctx.spawn(spec)
    return function() command:kill(0) end
  end)
  return { exit = exit, stdout = table.concat(out), stderr = err, too_much = size > limit or nil }
end

--- Raises what went wrong with a command: a lost sandbox as such, everything else as a mistake in the project or the
--- configuration, with what the command said of it.
---@param called runner.Called
---@param what string what it is in the configuration: "discover_command", "go list"
---@return string stdout
function M.check(called, what)
  local exit = called.exit
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if called.too_much then
    errors.raise("config", ("%s printed too much (more than %d MiB were read)"):format(what, #called.stdout >> 20))
  elseif exit.timed_out then
    errors.raise("config", ("%s did not end in time and was stopped"):format(what))
  elseif exit.kind ~= "exited" or exit.code ~= 0 then
    local said = called.stderr:find("%S") and called.stderr or called.stdout:sub(-ERR_KEPT)
    errors.raise("config", ("%s failed: %s%s"):format(what, exits.describe(exit),
      said:find("%S") and "\n" .. said:gsub("%s+$", "") or ""))
  end
  return called.stdout
end

return M
