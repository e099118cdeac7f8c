--- What a group's `setup` and `teardown` do: once in each sandbox, around all of the group's tests there. Setup may
--- export variables to them, as lines NAME=VALUE in the file that $RUNNER_ENV names. What it starts in the background
--- lives until teardown is over.

local call = require("runner.agent.call")
local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local task = require("runner.base.task")

local M = {}

local TEXT_LIMIT = 64 * 1024
local EXPORT_LIMIT = 256 * 1024 -- of all variables: they go along with every test
local SETUP_LIMIT_S = 1800

-- The file's content comes behind the command's output; nothing but the shell is needed in the sandbox. The command
-- has a shell of its own: its `exit` and `exec` do not end ours. Ours stays, so that what runs in the background still
-- belongs to somebody; plain commands have no input to wait for, and nobody who would look for what they left.
local SETUP = [[RUNNER_ENV=$1/setup-$2.env; export RUNNER_ENV; : > "$RUNNER_ENV" || exit 125; ]]
  .. [[(eval "$3") </dev/null >&2; r=$?; ]]
  .. [[while IFS= read -r l || [ -n "$l" ]; do printf "=%s\\n" "$l"; done < "$RUNNER_ENV"; ]]
  .. [[echo "?$r"; [ "$4" = plain ] || read l; exit $r]]

--- Letters and digits only, and another for every group.
local function file_name(group)
  return (group.name:gsub("[^%w]", function(char) return ("_%02x"):format(char:byte()) end))
end

--- Runs the command of `setup` until it has ended.
---@return runner.Exit? exit nil: it exported too much
---@return string exported
---@return string said
local function await_setup(ctx, group)
  local out, said = "", ""
  local exit = task.await(function(resume)
    local command
    command = ctx.spawn({
      argv = {
        ctx.shell, "-c", SETUP, "sh", ctx.tmpdir(), file_name(group), group.setup, ctx.agent.plain and "plain" or "",
      },
      stdin = not ctx.agent.plain or nil,
      on_output = function(_, stream, bytes)
        if stream == "stdout" then
          out = out .. bytes
          local code = out:match("%f[^\n\0]%?(%d+)\n$")
          if code then resume({ kind = "exited", code = tonumber(code) }) end
          if #out > EXPORT_LIMIT then
            command:kill(0)
            resume(nil)
          end
        else
          said = said .. bytes
          if #said > 2 * TEXT_LIMIT then said = said:sub(-TEXT_LIMIT) end
        end
      end,
      on_exit = function(_, ended) resume(ended) end,
    })
    return function() command:kill(0) end
  end)
  return exit, out, said:sub(-TEXT_LIMIT)
end

--- Runs `setup`. Raises an error whose context says `setup = true` when it fails.
---@param ctx table of the group's framework; its environment gets what is exported
---@param group runner.Group
---@async
function M.start(ctx, group)
  if not group.setup then return end
  local function fail(text, message, ...)
    errors.raise("config", ("setup of group %s failed in %s: %s"):format(group.name, ctx.sandbox.id,
      message:format(...)), { setup = true, text = text })
  end
  local exit, exported, said
  local in_time = task.deadline(SETUP_LIMIT_S, function() exit, exported, said = await_setup(ctx, group) end)
  if not in_time then fail(nil, "it did not end in %d minutes and was stopped", SETUP_LIMIT_S // 60) end
  if not exit then fail(said, "it wrote more than %d KiB to $RUNNER_ENV", EXPORT_LIMIT // 1024) end
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if exit.kind ~= "exited" or exit.code ~= 0 then fail(said, "%s", exits.describe(exit)) end
  for line in exported:gmatch("[^\n]+") do
    if line:find("^=%s*%S") then -- an empty one says nothing
      local name, value = line:match("^=([%a_][%w_]*)=(.*)$")
      if not name then fail(line:sub(2, 1000), "a line in $RUNNER_ENV is not NAME=VALUE") end
      ctx.sandbox.env[name] = value
    end
  end
end

--- Runs `teardown`.
---@param ctx table
---@param group runner.Group
---@return table? problem when it fails
---@async
function M.finish(ctx, group)
  if not group.teardown then return nil end
  local called = call.run(ctx, { argv = { ctx.shell, "-c", 'exec >&2; eval "$1"', "sh", group.teardown } })
  local exit = called.exit
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if exit.kind == "exited" and exit.code == 0 then return nil end
  return {
    kind = "teardown", text = called.stderr:sub(-TEXT_LIMIT),
    message = ("teardown of group %s failed in %s: %s"):format(group.name, ctx.sandbox.id, exits.describe(exit)),
  }
end

return M
