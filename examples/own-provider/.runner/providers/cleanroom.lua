-- A provider of one's own: a clean room on this machine, with an empty environment and a home that is gone afterwards.
-- A provider has one duty: start a process in the sandbox and hand back a two-way byte stream to it.

local plugin = require "runner.plugin"

return plugin.provider {
  name = "cleanroom", api = 1,
  options = { path = "string?" },

  open = function(options, ctx)
    local home = ctx.process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
    return {
      cwd = ctx.dir,
      sees_project = true, -- the project's files need not be sent
      connect = function(argv)
        local path = options.path or "/usr/local/bin:/usr/bin:/bin"
        return ctx.process.stream({ "env", "-i", "HOME=" .. home, "PATH=" .. path, table.unpack(argv) })
      end,
      close = function() ctx.process.run({ "rm", "-rf", home }) end,
    }
  end,
}
