--- What a sandbox's folder shall hold: the entries of some trees, hashed, sorted, and in the form that the agent reads
--- (src/agent/wire/protocol.h, ENTRIES).

local uv = require("luv")
local cache = require("runner.files.sync.cache")
local errors = require("runner.base.errors")
local frame = require("runner.agent.frame")
local hash = require("runner.core.hash")
local system = require("runner.core.system")
local task = require("runner.base.task")

local M = {}

local HASH_STEP = 4 * 1024 * 1024 -- bytes hashed before others get their turn
local FILE_SLICE = 1000 -- files looked at before others do
local FOLDER_MODE = 493 -- 0755, for folders that no tree has

---@class runner.SyncEntry
---@field kind "file"|"link"|"directory"
---@field path string relative to the sandbox's folder
---@field source string absolute path on this machine
---@field mode integer
---@field size integer
---@field hash string 32 bytes of a file, else ""
---@field target string of a link, else ""

---@class runner.Manifest
---@field entries runner.SyncEntry[] in the order of their paths' bytes, parents included
---@field bytes string what the agent reads
---@field digest string 32 bytes
---@field files integer

---@class runner.SyncTree
---@field root string absolute folder on this machine
---@field paths string[] relative to it
---@field into string? relative folder; default: the sandbox's folder itself

local function now_ns()
  local seconds, microseconds = uv.gettimeofday()
  return seconds * 1000000000 + microseconds * 1000
end

-- nil: it has gone, or cannot be read; a project changes while it is looked at.
local function hash_file(source, budget)
  local file, message, code = hash.file(source)
  if not file then
    if code == "ENOENT" then return nil end
    errors.raise("provider", "cannot read " .. message)
  end
  local started <close> = file -- luacheck: ignore
  while true do
    local digest, size = file:step(HASH_STEP)
    if digest == nil then errors.raise("provider", ("cannot read %s: %s"):format(source, size)) end
    if digest then
      budget.bytes = budget.bytes + size
      if budget.bytes > HASH_STEP then
        budget.bytes = 0
        task.sleep(0)
      end
      return digest, size
    end
    task.sleep(0)
  end
end

-- Git still names what lay in a folder that has become a link: lstat would find other files by that name.
local function is_below_folders(tree, path, folders)
  local parent = path:match("^(.*)/[^/]*$")
  if not parent then return true end
  local known = folders[parent]
  if known == nil then
    known = is_below_folders(tree, parent, folders) and system.lstat(tree.root .. "/" .. parent) == "directory"
    folders[parent] = known
  end
  return known
end

local function entry_of(tree, path, hashes, budget)
  local source = tree.root .. "/" .. path
  local kind, mode, size, mtime, ctime, inode = system.lstat(source)
  local full = tree.into and tree.into .. "/" .. path or path
  if kind == "directory" then
    return { kind = kind, path = full, source = source, mode = mode | 448, size = 0, hash = "", target = "" }
  elseif kind == "link" then
    local target = uv.fs_readlink(source)
    if not target then return nil end
    return { kind = kind, path = full, source = source, mode = 511, size = 0, hash = "", target = target }
  elseif kind ~= "file" then
    return nil -- gone; or a socket or FIFO, which no copy can stand for
  end
  local digest = hashes:get(path, size, mtime, ctime, inode)
  if not digest then
    local started = now_ns()
    digest, size = hash_file(source, budget)
    if not digest then return nil end
    hashes:set(path, size, mtime, ctime, inode, digest, started)
  end
  return { kind = kind, path = full, source = source, mode = mode, size = size, hash = digest, target = "" }
end

-- Folders between a tree's own and the entry, which git does not name.
local function add_parents(by_path, tree, path)
  local parent = path:match("^(.*)/[^/]*$")
  while parent and not by_path[parent] do
    local inside = not tree.into and parent
      or parent:sub(1, #tree.into + 1) == tree.into .. "/" and parent:sub(#tree.into + 2)
    local kind, mode = nil, FOLDER_MODE
    if inside then kind, mode = system.lstat(tree.root .. "/" .. inside) end
    by_path[parent] = {
      kind = "directory", path = parent, source = "", mode = kind == "directory" and mode | 448 or FOLDER_MODE,
      size = 0, hash = "", target = "",
    }
    parent = parent:match("^(.*)/[^/]*$")
  end
  -- A later tree may have a folder where an earlier one has a file.
  if parent and by_path[parent].kind ~= "directory" then
    errors.raise("config", ("%s would have to be a folder in the sandbox, for %s"):format(parent, path))
  end
end

local function add_tree(by_path, tree)
  local hashes, budget, folders = cache.open(tree.root), { bytes = 0 }, {}
  for i, path in ipairs(tree.paths) do
    local entry = is_below_folders(tree, path, folders) and entry_of(tree, path, hashes, budget)
    if entry then
      add_parents(by_path, tree, entry.path)
      local there = by_path[entry.path]
      if there and (there.kind == "directory") ~= (entry.kind == "directory") then
        errors.raise("config", ("%s would be both a file and a folder in the sandbox"):format(entry.path))
      end
      by_path[entry.path] = entry
    end
    if i % FILE_SLICE == 0 then task.sleep(0) end
  end
  if tree.into and not by_path[tree.into] then -- an empty folder is one nevertheless
    add_parents(by_path, tree, tree.into .. "/.")
  end
  hashes:save()
end

--- Builds a manifest; reads the files that changed since the last time.
---@param trees runner.SyncTree[] a later one wins over an earlier one
---@return runner.Manifest
---@async
function M.build(trees)
  local by_path, entries, files = {}, {}, 0
  for _, tree in ipairs(trees) do add_tree(by_path, tree) end
  for _, entry in pairs(by_path) do
    entries[#entries + 1] = entry
    if entry.kind ~= "directory" then files = files + 1 end
  end
  -- Lua compares strings as the locale does; the host sets none, so by their bytes, as the agent expects.
  table.sort(entries, function(a, b) return a.path < b.path end)
  local parts, pack, kinds = {}, string.pack, frame.entries
  for i, e in ipairs(entries) do
    parts[i] = pack("<BI4I8s4s4s4", kinds[e.kind], e.mode, e.size, e.hash, e.path, e.target)
  end
  local bytes = table.concat(parts)
  return { entries = entries, bytes = bytes, digest = hash.sha256(bytes), files = files }
end

return M
