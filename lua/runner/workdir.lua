--- The folder that a local sandbox works in: the project itself, or a private folder that holds a copy of the project,
--- the listed folders, or both.

local uv = require("luv")
local errors = require("runner.errors")
local listing = require("runner.sync.listing")
local process = require("runner.process")
local system = require("runner.core.system")
local task = require("runner.task")

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

local function new_folder()
  local folder, message = uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/runner-work-XXXXXX")
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

local function copy_tree(root, folder, options)
  local paths, seen, mode_later = {}, {}, {}
  for _, path in ipairs(listing.project(root, options).paths) do
    -- Git does not name the folders above a file. One that is a link has nothing of the project's below it.
    local at, inside = 0, true
    while inside do
      at = path:find("/", at + 1, true)
      if not at then break end
      local parent = path:sub(1, at - 1)
      if seen[parent] == nil then
        seen[parent] = system.lstat(root .. "/" .. parent) == "directory"
        if seen[parent] then paths[#paths + 1] = parent end
      end
      inside = seen[parent]
    end
    if inside and not seen[path] then
      seen[path] = true
      paths[#paths + 1] = path
    end
  end
  for _, path in ipairs(paths) do copy_entry(root, folder, path, mode_later) end
  for _, entry in ipairs(mode_later) do uv.fs_chmod(entry[1], entry[2] | 448) end
end

--- A private copy of a project: git's view of it, sharing blocks with the original where the file system can do that.
---@param root string absolute
---@param options { extra: string[]?, skip: fun(path: string): boolean }? see runner.sync.listing
---@return string folder
---@async
function M.private(root, options)
  local folder = new_folder()
  local ok, err = pcall(copy_tree, root, folder, options)
  if ok then return folder end
  task.shield(function() M.remove(folder) end)
  error(err, 0)
end

--- A private working folder with each `copies[i].from` (relative to `base`) copied to `copies[i].to` in it, or nil when
--- nothing is to be copied. Copies share blocks with the originals where the file system can do that.
---@param base string absolute
---@param copies { from: string, to: string }[]
---@param folder string? a private folder that is there already
---@return string? folder
---@async
function M.with_copies(base, copies, folder)
  if not copies or #copies == 0 then return folder end
  folder = folder or new_folder()
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
  return folder
end

--- Removes a folder that `with_copies` made.
---@param folder string
---@async
function M.remove(folder)
  assert(folder:find("/runner-work-", 1, true), "not a working folder of ours")
  process.run({ "rm", "-rf", "--", folder })
end

return M
