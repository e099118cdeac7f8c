--- Which files make up a project: git's view of them where there is one (tracked and untracked, not ignored; those of
--- submodules too), else all but what is known to be nobody's code.

local uv = require("luv")
local exit_text = require("runner.io.exit_text")
local process = require("runner.io.process")
local system = require("runner.core.system")
local task = require("runner.base.task")

local M = {}

local LIMIT = 1 << 30 -- bytes of git's answer
local SLICE = 2000 -- folder entries after which others get their turn

--- A hook of git's runs with these set; they would lead every call to the hook's repository.
local GIT_ENV = {
  GIT_DIR = false, GIT_WORK_TREE = false, GIT_INDEX_FILE = false, GIT_PREFIX = false,
  GIT_OPTIONAL_LOCKS = "0", LC_ALL = "C",
}

local CACHES = {
  [".git"] = true, [".hg"] = true, [".svn"] = true, [".tox"] = true, [".nox"] = true, ["__pycache__"] = true,
  [".pytest_cache"] = true, [".mypy_cache"] = true, [".ruff_cache"] = true,
}

---@class runner.Listing
---@field paths string[] relative; files, links and folders worth making although they may be empty; no order
---@field complaint string? why git was not asked

--- Calls fn(name, type) for what a folder holds; nothing when it cannot be read.
local function each(folder, fn)
  local scan = uv.fs_scandir(folder)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then return end
    if not kind or kind == "unknown" then kind = system.lstat(folder .. "/" .. name) end
    fn(name, kind)
  end
end

--- Everything below root/prefix. Links are not followed, so that circles of them are harmless.
---@param root string
---@param prefix string "" or "a/b/"
---@param skip (fun(name: string, folder: string): boolean)? folders to leave out
---@param add fun(path: string)
---@async
local function walk(root, prefix, skip, add)
  local stack, seen = { prefix }, 0
  while #stack > 0 do
    local below = table.remove(stack)
    each(root .. "/" .. below, function(name, kind)
      seen = seen + 1
      local path = below .. name
      if kind ~= "directory" then
        add(path)
      elseif not (skip and skip(name, root .. "/" .. path)) then
        add(path)
        stack[#stack + 1] = path .. "/"
      end
    end)
    if seen > SLICE then
      seen = 0
      task.sleep(0)
    end
  end
end

-- CACHEDIR.TAG marks what a tool can make again: cargo's target, say.
local function is_cache(name, folder)
  return CACHES[name] or system.lstat(folder .. "/CACHEDIR.TAG") ~= nil
end

local function git(folder, ...)
  local argv = { "git", "-c", "core.quotepath=off", "ls-files", "-z", "--exclude-standard", ... }
  local ok, result = pcall(process.run, argv, { cwd = folder, env = GIT_ENV, limit = LIMIT })
  if not ok then
    task.checkpoint()
    return nil, "git is not installed"
  elseif result.code ~= 0 then
    return nil, result.stderr:match("[^\n]+") or "git ls-files " .. exit_text.verb(result)
  end
  return result.stdout
end

-- Whether there is anything but folders in a folder, at any depth. Stops at the first.
local function holds_file(folder)
  local below, found = {}, false
  each(folder, function(name, kind) -- to its end: a scan that is given up leaks in libuv
    found = found or kind ~= "directory"
    below[#below + 1] = folder .. "/" .. name
  end)
  if found then return true end
  for _, path in ipairs(below) do
    if holds_file(path) then return true end
  end
  return false
end

--- The folders of an untracked folder that hold no file. What only holds ignored files stays away.
local function empty_folders(root, path, known, add)
  if not known[path] then
    if holds_file(root .. "/" .. path) then return end
    add(path:sub(1, -2))
  end
  each(root .. "/" .. path, function(name, kind)
    if kind == "directory" and name ~= ".git" then empty_folders(root, path .. name .. "/", known, add) end
  end)
end

local add_repository

--- Adds what one `ls-files` said. A path that is a folder is a repository of its own: a submodule, or one nobody told
--- git about.
local function add_files(root, prefix, files, add)
  local known, last = {}, nil
  for path in files:gmatch("%Z+") do
    for slash in path:gmatch("()/") do known[prefix .. path:sub(1, slash)] = true end
    local full = prefix .. path
    local kind = path ~= last and system.lstat(root .. "/" .. full)
    last = path -- an unmerged file is named once for each side
    if kind == "directory" then
      full = full:gsub("/$", "")
      add(full)
      add_repository(root, full .. "/", add)
    elseif kind == "file" or kind == "link" then
      add(full)
    end -- else: deleted, but still in the index; or a socket
  end
  return known
end

---@async
add_repository = function(root, prefix, add)
  local folder = root .. "/" .. prefix
  local is_root = prefix == ""
  if not is_root and not system.lstat(folder .. ".git") then
    return walk(root, prefix, is_cache, add) -- a submodule that was not fetched
  end
  local files, folders, why
  task.scope(function(scope)
    scope:spawn(function() files, why = git(folder, "--cached", "--others") end)
    scope:spawn(function() folders = git(folder, "--others", "--directory") end)
  end)
  if files == "" and is_root then files, why = nil, "it knows none of the files here" end
  if not (files and folders) then
    walk(root, prefix, is_cache, add)
    return why or "git ls-files failed"
  end
  local known = add_files(root, prefix, files, add)
  for path in folders:gmatch("%Z+") do
    local full = prefix .. path
    if path:sub(-1) == "/" and not system.lstat(root .. "/" .. full .. ".git") then
      empty_folders(root, full, known, add)
    end
  end
end

--- Lists a project.
---@param root string absolute
---@param options { extra: string[]?, skip: fun(path: string): boolean }? `extra`: paths to be there although they are
---  ignored; `skip`: paths to leave out, with what is below them
---@return runner.Listing
---@async
function M.project(root, options)
  local paths, seen, skip = {}, {}, options and options.skip
  local function add(path)
    if seen[path] then return end
    seen[path] = true
    if not (skip and skip(path)) then paths[#paths + 1] = path end
  end
  local complaint = add_repository(root, "", add)
  for _, path in ipairs(options and options.extra or {}) do
    local kind = system.lstat(root .. "/" .. path)
    if kind then add(path) end
    if kind == "directory" then walk(root, path .. "/", nil, add) end
  end
  return { paths = paths, complaint = complaint }
end

--- Whether nobody has written what is in a folder, and no test is looked for there.
local function is_foreign(name, folder)
  return name == "node_modules" or is_cache(name, folder) or system.lstat(folder .. "/pyvenv.cfg") ~= nil
end

--- What belongs to a project although git does not see it: what it ignores, but for what is installed or cached, and
--- what lies behind links that lead out.
---@param root string absolute
---@param paths string[] what git sees
---@param most integer
---@return string[]? paths absolute; nil: more than `most`
---@async
function M.unseen(root, paths, most)
  local found, real_root = {}, uv.fs_realpath(root) or root
  local function look(path)
    local name, kind = path:match("[^/]*$"), system.lstat(path)
    if not kind or kind == "directory" and is_foreign(name, path) then return end
    found[#found + 1] = path
    if kind ~= "directory" or #found > most then return end
    walk(path, "", is_foreign, function(below) found[#found + 1] = path .. "/" .. below end)
  end
  for path in (git(root, "--others", "--ignored", "--directory") or ""):gmatch("%Z+") do
    look(root .. "/" .. path:gsub("/$", ""))
  end
  for _, path in ipairs(paths) do
    local real = system.lstat(root .. "/" .. path) == "link" and uv.fs_realpath(root .. "/" .. path)
    if real and real:sub(1, #real_root + 1) ~= real_root .. "/" then look(real) end
  end
  return #found <= most and found or nil
end

--- Lists all of a folder.
---@param root string absolute
---@return runner.Listing
---@async
function M.everything(root)
  local paths = {}
  walk(root, "", nil, function(path) paths[#paths + 1] = path end)
  return { paths = paths }
end

return M
