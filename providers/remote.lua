--- Each command goes to a script of the user's, as one argument: `execute_command "pytest tests/test_a.py …"`. What
--- the script does with it is its own business: a cloud function, a job queue, a machine under a desk. Scripts
--- written for the `remote` provider of shotgun run unchanged.
---
--- Nothing is assumed to stay from one call to the next. With `agent = true` one call is a sandbox, and the agent
--- runs in it, if the script passes its stdin through.

local commands = require("runner.io.user_commands")
local errors = require("runner.base.errors")
local plugin = require("runner.plugin")
local shell = require("runner.io.shell")

return plugin.provider({
  name = "remote",
  api = 1,
  options = {
    execute_command = "string", -- gets a command line as its last argument and exits with its status
    setup_command = "string?", -- once, before everything else
    teardown_command = "string?", -- once, after everything else, whatever happened
    timeout = "duration?", -- for one call of each of these; default 1h
    env = "env?", -- of these commands
    working_dir = "string?", -- where they run; default: the folder of the configuration
    agent = "boolean?", -- true: keep one call per sandbox open, and run everything through it
  },

  prepare = function(options, ctx)
    if not options.setup_command then return end
    local message, result = commands.run("setup_command", options.setup_command, options, ctx)
    if message then errors.raise("provider", message, { permanent = true }) end
    for line in result.stdout:gmatch("[^\r\n]+") do ctx.log("info", "setup_command: %s", line) end
  end,

  open = function(options, ctx)
    local where = commands.where(options, ctx)
    local function call(line) return options.execute_command .. " " .. shell.quote(line) end
    local place = {
      sees_project = true,
      stateless = not options.agent,
      timeout = options.timeout or commands.TIMEOUT_S,
      shell_command = call("sh"),
      start = function(line, handlers) return commands.start(call(line), where, handlers) end,
      close = function() end,
    }
    if options.agent then
      function place.connect(argv) return shell.stream(call(shell.join(argv)), where) end
    end
    return place
  end,

  finish = function(options, ctx)
    if not options.teardown_command then return end
    local message = commands.run("teardown_command", options.teardown_command, options, ctx)
    if message then ctx.log("warning", "%s", message) end
  end,
})
