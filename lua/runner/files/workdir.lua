--- Private folders for local sandboxes: they hold a copy of the project, of the listed folders, or both.

local uv = require("luv")
local errors = require("runner.base.errors")
local listing = require("runner.files.sync.listing")
local paths = require("runner.base.path")
local process = require("runner.io.process")
local system = require("runner.core.system")
local task = require("runner.base.task")

local M = {}

---@param base string absolute
---@param path string?
---@return string absolute
function M.resolve(base, path)
  if not path or path == "." then return base end
  if path:sub(1, 1) == "/" then return path end
  return base .. "/" .. path
end

local function run_or_raise(argv, what)
  local result = process.run(argv)
  if result.code ~= 0 then
    errors.raise("provider", ("%s: %s"):format(what, (result.stderr:gsub("%s+$", ""))))
  end
end

--- Makes an empty one.
---@return string folder absolute
function M.new()
  local folder, message = uv.fs_mkdtemp(paths.absolute(os.getenv("TMPDIR") or "/tmp") .. "/runner-work-XXXXXX")
  return folder or errors.raise("provider", "cannot make a working folder: " .. tostring(message))
end

-- Not hard links: what tests write into a file must not reach the original.
local function copy_file(from, to)
  local failed = task.await(function(resume)
    uv.fs_copyfile(from, to, { excl = true, ficlone = true }, function(err) resume(err) end)
  end)
  if failed and not failed:find("^ENOENT") then
    errors.raise("provider", ("cannot copy %s: %s"):format(from, failed))
  end
end

local function copy_entry(root, folder, path, mode_later)
  local from, to = root .. "/" .. path, folder .. "/" .. path
  local kind, mode = system.lstat(from)
  if kind == "directory" then
    uv.fs_mkdir(to, 448) -- 0700
    mode_later[#mode_later + 1] = { to, mode }
  elseif kind == "link" then
    local target = uv.fs_readlink(from)
    if target then uv.fs_symlink(target, to) end
  elseif kind == "file" then
    copy_file(from, to)
  end
end

--- Copies a project: git's view of it, sharing blocks with the original where the file system can do that.
---@param root string absolute
---@param folder string an empty one of ours
---@param options { extra: string[]?, skip: fun(path: string): boolean }? see runner.sync.listing
---@async
function M.copy_project(root, folder, options)
  local entries, seen, mode_later = {}, {}, {}
  for _, path in ipairs(listing.project(root, options).paths) do
    -- Git does not name the folders above a file. One that is a link has nothing of the project's below it.
    local at, inside = 0, true
    while inside do
      at = path:find("/", at + 1, true)
      if not at then break end
      local parent = path:sub(1, at - 1)
      if seen[parent] == nil then
        seen[parent] = system.lstat(root .. "/" .. parent) == "directory"
        if seen[parent] then entries[#entries + 1] = parent end
      end
      inside = seen[parent]
    end
    if inside and not seen[path] then
      seen[path] = true
      entries[#entries + 1] = path
    end
  end
  for _, path in ipairs(entries) do copy_entry(root, folder, path, mode_later) end
  for _, entry in ipairs(mode_later) do uv.fs_chmod(entry[1], entry[2] | 448) end
end

--- Copies each `copies[i].from` (relative to `base`) to `copies[i].to` in a folder of ours, sharing blocks likewise.
---@param base string absolute
---@param copies { from: string, to: string }[]
---@param folder string
---@async
function M.copy(base, copies, folder)
  for _, copy in ipairs(copies) do
    local from = M.resolve(base, copy.from)
    local to = folder .. "/" .. copy.to:gsub("^/+", "")
    if ("/" .. copy.to .. "/"):find("/../", 1, true) then
      errors.raise("config", ("copy_dirs: %q leaves the sandbox's working folder"):format(copy.to))
    end
    local stat, err = uv.fs_stat(from)
    if not stat then errors.raise("config", ("copy_dirs: cannot copy %s: %s"):format(from, err)) end
    run_or_raise({ "mkdir", "-p", stat.type == "directory" and to or (to:match("^(.*)/") or folder) }, "mkdir " .. to)
    local source = stat.type == "directory" and from .. "/." or from
    run_or_raise({ "cp", "-a", "--reflink=auto", "--", source, to }, "copying " .. from)
  end
end

--- Is this the name of a folder that `new` made?
---@param folder any
---@return boolean
function M.is_ours(folder)
  return type(folder) == "string" and folder:find("^/") ~= nil and folder:find("/runner%-work%-%w+$") ~= nil
end

--- Removes one.
---@param folder string
---@async
function M.remove(folder)
  assert(M.is_ours(folder), "not a working folder of ours")
  run_or_raise({ "rm", "-rf", "--", folder }, "cannot remove " .. folder)
end

return M
