--- Runs tests on this machine: one sandbox, as many slots as the run has, one agent over a pair of pipes.

local uv = require("luv")
local plugin = require("runner.plugin")
local process = require("runner.process")
local sync = require("runner.sync")
local workdir = require("runner.workdir")

return plugin.provider({
  name = "local",
  api = 1,
  options = {
    working_dir = "string?", -- where tests run; relative to the configuration
    env = "env?",
    shell = "string?", -- for commands given as one string; default /bin/sh
    copy = "boolean?", -- tests run in a private copy of the project, removed at the end
    memory = "bytes?", -- limit of address space for each command and worker
  },

  slots = function(_, settings)
    return settings.max_parallel
  end,

  open = function(options, ctx)
    local cwd = workdir.resolve(ctx.settings.working_dir or ctx.dir, options.working_dir)
    local own, private, stream
    if not ctx.settings.sync then -- else the sync brings the project and the copies
      if options.copy then
        local root, rest = sync.root(ctx.settings, cwd)
        private = workdir.private(root, sync.options(root, ctx.settings))
        own = private .. rest
      end
      own = workdir.with_copies(cwd, ctx.settings.copy_dirs, own)
      private = private or own
    end
    return {
      agent = "host",
      sees_project = true,
      cwd = own or cwd,
      env = options.env,
      shell = options.shell,
      memory = options.memory,
      slots = ctx.settings.max_parallel,
      connect = function()
        stream = process.stream({ uv.exepath(), "agent" }, { cwd = own or cwd })
        return stream
      end,
      close = function()
        if stream then stream:reap() end
        if private then workdir.remove(private) end
      end,
    }
  end,
})
