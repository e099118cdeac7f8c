--- Sandboxes behind the user's own commands: one that creates a sandbox and prints its id, one that runs a command in
--- it, one that destroys it. Scripts written for the `default` provider of offload run unchanged.
---
--- Placeholders: {image_id} is the last line that prepare_command printed, {sandbox_id} the last that create_command
--- printed; {command} is one quoted word, a command line for a shell in the sandbox; {paths} are REMOTE:LOCAL words;
--- {cpu_cores} is the option. Where exec_command passes its stdin through, the agent runs over it.

local commands = require("runner.io.user_commands")
local errors = require("runner.base.errors")
local leftovers = require("runner.plugin.leftovers")
local plugin = require("runner.plugin")
local shell = require("runner.io.shell")
local task = require("runner.base.task")

--- A destroy_command that hangs must not keep the run from ending for as long as the others may take.
local DESTROY_TIMEOUT_S = 120

local function fill(template, values)
  return (template:gsub("{([%l_]+)}", values))
end

local function cores(options)
  return ("%.14g"):format(options.cpu_cores or 1)
end

--- prepare_command and the flags that go with it.
local function prepare_line(options, settings)
  local words = { options.prepare_command }
  for _, copy in ipairs(options.copy_dirs or {}) do words[#words + 1] = "--copy-dir=" .. shell.quote(copy) end
  for _, copy in ipairs(settings.copy_dirs or {}) do
    words[#words + 1] = "--copy-dir=" .. shell.quote(copy.from .. ":" .. copy.to)
  end
  if settings.init_command then
    words[#words + 1] = "--sandbox-init-cmd=" .. shell.quote(settings.init_command)
  end
  return table.concat(words, " ")
end

--- Destroys a sandbox; what goes wrong is said.
local function destroy(options, ctx, sandbox_id, line)
  local limit = math.min(options.timeout or DESTROY_TIMEOUT_S, DESTROY_TIMEOUT_S)
  local message = commands.run("destroy_command", line, options, ctx, limit)
  if message then ctx.log("warning", "sandbox %s: %s", sandbox_id, message) end
  return message == nil
end

--- Makes a sandbox and notes it for `runner gc`.
---@return string sandbox_id
---@return fun() close
local function create(options, ctx, values)
  local function destroy_line(id)
    values.sandbox_id = id
    return fill(options.destroy_command, values)
  end
  local line = fill(options.create_command, values)
  local id = commands.making("create_command", line, options, ctx, function(late)
    destroy(options, ctx, late, destroy_line(late))
  end)
  if not id then
    errors.raise("provider", "create_command printed nothing: its last line should be the id of the sandbox",
      { permanent = true }) -- again, and there would be more sandboxes that nobody can destroy
  end
  line = destroy_line(id)
  local noted, forget = pcall(leftovers.add, ctx.run_id, {
    provider = "command", sandbox = id, destroy = line, cwd = commands.where(options, ctx).cwd,
  })
  if not noted then ctx.log("warning", "sandbox %s is left if this run is killed: %s", id, tostring(forget)) end
  local closed = false
  return id, function()
    if closed then return end
    closed = true
    if destroy(options, ctx, id, line) and noted then forget() end
  end
end

--- REMOTE:LOCAL words for {paths}.
local function path_words(pairs_of_paths)
  local words = {}
  for i, pair in ipairs(pairs_of_paths) do words[i] = shell.quote(pair.from) .. ":" .. shell.quote(pair.to) end
  return table.concat(words, " ")
end

return plugin.provider({
  name = "command",
  api = 1,
  options = {
    prepare_command = "string?", -- once a run; prints the id of an image
    create_command = "string", -- prints the id of a sandbox
    exec_command = "string", -- runs {command} in {sandbox_id} and exits with its status
    destroy_command = "string",
    download_command = "string?", -- copies {paths} from the sandbox
    working_dir = "string?", -- where these commands run here; default: the folder of the configuration
    root = "string?", -- the project's folder in the sandbox; the tests find it as OFFLOAD_ROOT, too
    timeout = "duration?", -- for each of these commands but exec_command; default 1h
    copy_dirs = "string[]?", -- "LOCAL:REMOTE", passed to prepare_command as --copy-dir
    cpu_cores = "number?",
    env = "env?", -- of the tests, and of these commands
    slots = "integer?", -- tests at once in one sandbox; default 1
    agent = "boolean?", -- false: plain commands, even where the agent could run
  },

  slots = function(options) return options.slots or 1 end,

  prepare = function(options, ctx)
    if not options.prepare_command then return nil end
    local image_id = commands.id("prepare_command", prepare_line(options, ctx.settings), options, ctx)
    if not image_id and options.create_command:find("{image_id}", 1, true) then
      errors.raise("provider", "prepare_command printed nothing: its last line should be the id of the image",
        { permanent = true })
    end
    return image_id
  end,

  open = function(options, ctx, image_id)
    if not options.exec_command:find("{command}", 1, true) then
      errors.raise("config", "provider command: exec_command: {command} is missing, which stands for what is to be run")
    end
    local values = { image_id = image_id, cpu_cores = cores(options) }
    local sandbox_id, close = create(options, ctx, values)
    local where = commands.where(options, ctx)
    local env = {}
    for key, value in pairs(options.env or {}) do env[key] = value end
    env.OFFLOAD_ROOT = env.OFFLOAD_ROOT or options.root

    local function exec_line(line)
      values.command = shell.quote(line)
      return fill(options.exec_command, values)
    end

    local place = {
      describe = sandbox_id, cwd = options.root, env = env, slots = options.slots, sees_project = true,
      has_copies = options.prepare_command ~= nil, close_timeout = DESTROY_TIMEOUT_S + 5,
      shell_command = exec_line("sh"), close = close,
    }
    if options.agent ~= false then
      function place.connect(argv) return shell.stream(exec_line(shell.join(argv)), where) end
    end

    function place.start(line, handlers)
      return commands.start(exec_line(line), where, handlers)
    end

    if options.download_command then
      --- Copies files out of the sandbox. Raises an error of kind "provider".
      function place.download(pairs_of_paths)
        values.paths = path_words(pairs_of_paths)
        local message = commands.run("download_command", fill(options.download_command, values), options, ctx)
        if message then errors.raise("provider", message) end
      end
    end
    return place
  end,

  --- For `runner gc`. The environment of the configuration is not known here: it may hold secrets and is not noted.
  ---@param gc runner.GcContext
  gc = function(gc)
    for _, entry in ipairs(gc.entries) do
      local message
      if not gc.dry_run then
        local ok, result = pcall(shell.run, entry.destroy, { cwd = entry.cwd, timeout = DESTROY_TIMEOUT_S, grace = 2 })
        task.checkpoint()
        message = ok and shell.complaint("destroy_command", result, DESTROY_TIMEOUT_S) or not ok and tostring(result)
      end
      gc.report(("sandbox %s (cd %s && %s)"):format(entry.sandbox, shell.quote(entry.cwd), entry.destroy), message)
    end
  end,
})
