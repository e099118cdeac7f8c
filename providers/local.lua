--- Runs tests on this machine: one sandbox, as many slots as the run has, one agent over a pair of pipes.

local uv = require("luv")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local leftovers = require("runner.plugin.leftovers")
local plugin = require("runner.plugin")
local process = require("runner.io.process")
local sync = require("runner.files.sync")
local task = require("runner.base.task")
local workdir = require("runner.files.workdir")

--- A private folder with what the options want to be copied, and what removes it. nil: nothing is to be copied.
local function private_folder(options, ctx, cwd)
  local settings = ctx.settings
  if settings.sync then return nil end -- which brings the project and the copies
  local copies = settings.copy_dirs or {}
  if not options.copy and #copies == 0 then return nil end
  local folder = workdir.new()
  local noted, forget = pcall(leftovers.add, ctx.run_id, { provider = "local", folder = folder })
  if not noted then ctx.log("debug", "local: %s", tostring(forget)) end
  local function remove()
    workdir.remove(folder)
    if noted then forget() end
  end
  local own = folder
  local ok, err = pcall(function()
    if options.copy then
      local root, rest = sync.root(settings, cwd)
      workdir.copy_project(root, folder, sync.options(root, settings))
      own = folder .. rest
    end
    workdir.copy(cwd, copies, own)
  end)
  if ok then return own, remove end
  task.shield(function() pcall(remove) end)
  error(err, 0)
end

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
    local own, remove = private_folder(options, ctx, cwd)
    local stream
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
        if remove then remove() end
      end,
    }
  end,

  --- For `runner gc`: private copies of killed runs, and synced folders that nobody has used for long (all: at all).
  ---@param gc runner.GcContext
  gc = function(gc)
    for _, entry in ipairs(gc.entries) do
      local folder = entry.folder
      if workdir.is_ours(folder) and uv.fs_lstat(folder) then
        local ok, err = true, nil
        if not gc.dry_run then ok, err = pcall(workdir.remove, folder) end
        gc.report("the working folder " .. folder, not ok and err or nil)
      end
    end
    local argv = { uv.exepath(), "agent", "--expire" }
    if gc.all then argv[#argv + 1] = "--all" end
    if gc.dry_run then argv[#argv + 1] = "--dry-run" end
    local result = process.run(argv)
    if result.code ~= 0 then
      errors.raise("provider", ("looking for synced folders: %s: %s"):format(exit_text.describe(result), result.stderr))
    end
    for path in result.stdout:gmatch("[^\n]+") do gc.report("the synced folder " .. path) end
  end,
})
