--- Runs tests on this machine: one sandbox, as many slots as the run has, one agent over a pair of pipes.

local uv = require("luv")
local plugin = require("runner.plugin")
local process = require("runner.process")
local workdir = require("runner.workdir")

return plugin.provider({
  name = "local",
  api = 1,
  options = {
    working_dir = "string?", -- where tests run; relative to the configuration
    env = "env?",
    shell = "string?", -- for commands given as one string; default /bin/sh
    memory = "bytes?", -- limit of address space for each command and worker
  },

  slots = function(_, settings)
    return settings.max_parallel
  end,

  open = function(options, ctx)
    local cwd = workdir.resolve(ctx.settings.working_dir or ctx.dir, options.working_dir)
    local own = workdir.with_copies(cwd, ctx.settings.copy_dirs, ctx)
    return {
      cwd = own or cwd,
      env = options.env,
      shell = options.shell,
      memory = options.memory,
      slots = ctx.settings.max_parallel,
      connect = function()
        return process.stream({ uv.exepath(), "agent" }, { cwd = own or cwd })
      end,
      close = function()
        if own then workdir.remove(own) end
      end,
    }
  end,
})
