--- The project's files go along: they reach a sandbox before anything runs in it. Only what the sandbox does not have
--- is sent, and what the project no longer has is removed there.

local uv = require("luv")
local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local hash = require("runner.core.hash")
local listing = require("runner.files.sync.listing")
local manifest = require("runner.files.sync.manifest")
local paths = require("runner.base.path")
local push = require("runner.files.sync.push")
local results_dir = require("runner.results.folder")
local task = require("runner.base.task")
local text = require("runner.base.text")
local write_error = require("runner.files.write_error")

local M = {}

local TRIES = 3 -- when files change while they are sent

--- `path` relative to `folder`; "" for itself, nil outside.
local function below(folder, path)
  if path == folder then return "" end
  if folder == "/" then return path:sub(2) end
  return path:sub(1, #folder + 1) == folder .. "/" and path:sub(#folder + 2) or nil
end

--- A name for the folders of one project in sandboxes: two machines with a project at the same place stay apart.
local function key_of(...)
  return text.hex(hash.sha256(table.concat({ uv.os_gethostname(), ... }, "\0")):sub(1, 12))
end

--- Says of a path whether it is a result of ours, also of runs that found the folder taken (DIR-2).
---@param root string absolute; paths are relative to it
---@param settings runner.Config
---@return fun(path: string): boolean
function M.results_filter(root, settings)
  local report = settings.report and settings.report.dir
  local dir = report and below(root, report)
  if not dir then return function() return false end end
  local names = { [results_dir.MARKER] = true, artifacts = true }
  for _, name in ipairs(results_dir.names(settings.report)) do names[name] = true end
  local function is_result(path, prefix)
    local rest = path:sub(#prefix + 1)
    return names[rest] or names[rest:match("^[^/]*")]
  end
  if dir == "" then return function(path) return is_result(path, "") end end
  return function(path)
    if path:sub(1, #dir) ~= dir then return false end
    local suffix, slash = path:sub(#dir + 1):match("^(%-?%d*)(/?)")
    if #path == #dir + #suffix then return true end -- what else is in it brings it back
    return slash == "/" and is_result(path, dir .. suffix .. "/")
  end
end

--- The manifest of the trees that `list` gives, made once per run and name: its sandboxes share it.
local function shared(run, name, list, fresh)
  run.manifests = run.manifests or {}
  local entry = run.manifests[name]
  if not entry or entry == fresh then
    entry = {}
    entry.get = task.once(function()
      entry.manifest = manifest.build(list())
      return entry
    end, function() return false end)
    run.manifests[name] = entry
  end
  return entry.get()
end

--- Raises what went wrong, with the size of what was to be there.
local function refuse(err, made, into)
  local bytes, context = 0, errors.is(err) and err.context or {}
  for _, entry in ipairs(made.entries) do bytes = bytes + entry.size end
  local more = ("leave files out (%.1f MB are to be there), or set `working_dir` to a folder that can take them")
    :format(bytes / 1e6)
  local message, permanent = write_error.explain(tostring(err), more)
  errors.raise(errors.is(err) and err.kind or "internal",
    ("cannot bring the project's files to %s: %s"):format(into or "a folder of ours there", message),
    { permanent = permanent or context.permanent })
end

local function push_shared(sandbox, name, key, into, list)
  local entry
  for try = 1, TRIES do
    entry = shared(sandbox.run, name, list, entry)
    local started = uv.hrtime()
    local ok, pushed = pcall(push, sandbox.agent, { manifest = entry.manifest, key = key, into = into })
    if ok then
      sandbox.run.bus:emit({
        event = "sync", sandbox = sandbox.id, folder = pushed.folder, files = entry.manifest.files,
        sent_files = pushed.sent_files, sent_bytes = pushed.sent_bytes,
        duration = (uv.hrtime() - started) / 1e9,
      })
      return pushed.folder
    end
    if try == TRIES or not (errors.is(pushed) and pushed.context.changed) then
      task.checkpoint()
      refuse(pushed, entry.manifest, into)
    end
  end
end

--- The folder that goes along, so that tests can run in `working_dir`: that of the configuration when it is inside.
---@param settings runner.Config
---@param working_dir string absolute
---@return string root absolute
---@return string rest "" or "/…": the way from there to the tests' folder
function M.root(settings, working_dir)
  local rest = below(settings.dir, working_dir)
  if not rest then return working_dir, "" end
  return settings.dir, rest ~= "" and "/" .. rest or ""
end

--- How to list a project, for runner.sync.listing.
---@param root string absolute
---@param settings runner.Config
---@return { extra: string[]?, skip: fun(path: string): boolean }
function M.options(root, settings)
  return { extra = type(settings.sync) == "table" and settings.sync or nil, skip = M.results_filter(root, settings) }
end

local function list_project(run, root)
  local found = listing.project(root, M.options(root, run.settings))
  if found.complaint then
    run.log("warning", "git was not asked which files belong to %s (%s): all but caches are taken", root,
      found.complaint)
  end
  return { root = root, paths = found.paths }
end

local function list_copy(copy, into)
  return { root = copy.from, paths = listing.everything(copy.from).paths, into = into }
end

--- What is copied below the sandbox's folder, and what elsewhere. Nothing is elsewhere on this machine.
local function split_copies(settings, here)
  local inside, outside = {}, {}
  for _, copy in ipairs(settings.copy_dirs or {}) do
    table.insert(copy.to:sub(1, 1) == "/" and not here and outside or inside, copy)
  end
  return inside, outside
end

local function inside_trees(copies, rest)
  local trees = {}
  for i, copy in ipairs(copies) do
    local to = paths.absolute(rest .. "/" .. copy.to, "/"):sub(2)
    trees[i] = list_copy(copy, to ~= "" and to or nil)
  end
  return trees
end

--- Whether the project's files have to be brought to this place.
local function wants_project(settings, place)
  if settings.sync ~= nil then return settings.sync end
  return not place.sees_project
end

local function without_agent(sandbox, copies)
  if sandbox.run.told_of_sync then return end
  sandbox.run.told_of_sync = true
  sandbox.run.log(copies and "warning" or "info", "%s: no agent runs there: the project's files are not brought along",
    sandbox.provider.name)
end

--- Brings the files to a sandbox whose agent is ready.
---@param sandbox runner.Sandbox
---@return string? cwd where tests shall run now; nil: where they would anyway
---@async
function M.bring(sandbox)
  local run, place = sandbox.run, sandbox.place
  local settings = run.settings
  local project = wants_project(settings, place)
  local here = place.agent == "host"
  local inside, outside = split_copies(settings, here)
  if here and not project then return nil end -- it sees everything, and copies by itself
  if place.has_copies then inside, outside = {}, {} end
  if not project and #inside + #outside == 0 then return nil end
  if sandbox.agent.plain then return without_agent(sandbox, settings.sync or #inside + #outside > 0) end

  for _, copy in ipairs(outside) do
    push_shared(sandbox, "copy " .. copy.to, key_of(copy.from, copy.to), paths.absolute(copy.to, "/"), function()
      return { list_copy(copy) }
    end)
  end
  local working_dir = here and sandbox.cwd or settings.working_dir or settings.dir
  local into = not here and sandbox.cwd or nil
  if project then
    -- A folder of ours gets the whole project; one that was named for the tests gets what belongs there.
    local root, rest = working_dir, ""
    if not into then root, rest = M.root(settings, working_dir) end
    local folder = push_shared(sandbox, "project " .. root, key_of(root, into or ""), into, function()
      return { list_project(run, root), table.unpack(inside_trees(inside, rest)) }
    end)
    sandbox.project = { root = root, folder = folder }
    return folder .. rest
  elseif #inside > 0 then
    return push_shared(sandbox, "copies", key_of(working_dir, into or "", "copies"), into, function()
      return inside_trees(inside, "")
    end)
  end
end

--- Sends files of this machine that are not the project's, such as what a framework has built from it.
---@param sandbox runner.Sandbox
---@param name string of these files; the sandbox keeps them under it, so that a later run sends what has changed
---@param list fun(): runner.SyncTree[] asked once a run
---@return string folder in the sandbox, absolute
---@async
function M.send(sandbox, name, list)
  return push_shared(sandbox, name, key_of(sandbox.run.settings.dir, "sent", name), nil, list)
end

--- Runs the configuration's `init_command` in a sandbox, once its files are there.
---@param sandbox runner.Sandbox
---@async
--- Raises an error of kind "provider" when it fails.
function M.initialise(sandbox)
  local command = sandbox.run.settings.init_command
  if not command then return end
  local ctx = sandbox:context({ name = "init_command" })
  local output, size = {}, 0
  local exit = task.await(function(resume)
    local process = ctx.spawn({
      argv = { ctx.shell, "-c", command }, merge = true,
      on_output = function(_, _, bytes)
        output[#output + 1] = bytes
        size = size + #bytes
        if size > 65536 then
          local tail = table.concat(output):sub(-8192)
          output, size = { tail }, #tail
        end
      end,
      on_exit = function(_, exit) resume(exit) end,
    })
    return function() process:kill() end
  end)
  if exit.kind == "exited" and exit.code == 0 then return end
  local said = table.concat(output):gsub("%s+$", "")
  errors.raise("provider", ("init_command %s%s"):format(exits.verb(exit), said ~= "" and ": " .. said:sub(-2000) or ""))
end

return M
