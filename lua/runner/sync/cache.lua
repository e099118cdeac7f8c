--- Remembers the hashes of a project's files between runs, so that only what changed is read. A hint and no more: a
--- cache that is missing, damaged or of somebody else is as good as an empty one.

local uv = require("luv")
local hash = require("runner.core.hash")
local paths = require("runner.path")

local M = {}

local MAGIC = "runner hashes 1\n"
local RECORD = "<s4i8i8i8i8c32" -- path, size, mtime, ctime, inode, hash
local DIGEST = 32

--- A file that changes twice within one tick of the file system's clock looks unchanged the second time: what was
--- written less than this before it was read is not remembered.
local TICK_NS = 50e6
local COARSE_TICK_NS = 2e9 -- where time stamps are whole seconds

---@class runner.HashCache
---@field package path string
---@field package known table<string, { [1]: integer, [2]: integer, [3]: integer, [4]: integer, [5]: string }>
---@field package used table same, of this run
---@field package changed boolean
local Cache = {}
Cache.__index = Cache

local function make_folder(path)
  if uv.fs_mkdir(path, 448) then return end -- 0700
  local parent = paths.dirname(path)
  if parent ~= "/" and not uv.fs_stat(parent) then
    make_folder(parent)
    uv.fs_mkdir(path, 448)
  end
end

--- Where caches are, or nil: $XDG_CACHE_HOME/runner, ~/.cache/runner.
local function folder()
  local cache, home = os.getenv("XDG_CACHE_HOME"), os.getenv("HOME")
  if cache and cache:sub(1, 1) == "/" then return cache .. "/runner" end
  return home and home:sub(1, 1) == "/" and home .. "/.cache/runner" or nil
end

local function decode(bytes)
  local known = {}
  if bytes:sub(1, #MAGIC) ~= MAGIC or #bytes < #MAGIC + DIGEST then return known end
  if hash.sha256(bytes:sub(1, -DIGEST - 1)) ~= bytes:sub(-DIGEST) then return known end
  local at, last = #MAGIC + 1, #bytes - DIGEST
  local unpack = string.unpack
  while at <= last do
    local path, size, mtime, ctime, inode, digest
    path, size, mtime, ctime, inode, digest, at = unpack(RECORD, bytes, at)
    known[path] = { size, mtime, ctime, inode, digest }
  end
  return known
end

--- Opens the cache of one folder.
---@param root string absolute
---@return runner.HashCache
function M.open(root)
  local self = setmetatable({ known = {}, used = {}, changed = false }, Cache)
  local base = folder()
  if not base then return self end
  local name = hash.sha256(root):sub(1, 12):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  self.path = base .. "/hashes/" .. name
  local file = io.open(self.path, "rb")
  if file then
    self.known = decode(file:read("a") or "")
    file:close()
  end
  return self
end

--- The hash of a file as it is now, if it is known.
---@param path string
---@param size integer
---@param mtime integer ns, as is ctime
---@param ctime integer
---@param inode integer
---@return string? digest 32 bytes
function Cache:get(path, size, mtime, ctime, inode)
  local known = self.known[path]
  if not known or known[1] ~= size or known[2] ~= mtime or known[3] ~= ctime or known[4] ~= inode then return nil end
  self.used[path] = known
  return known[5]
end

--- Remembers a hash. The other values are from before the file was read.
---@param now integer ns since 1970, before that
function Cache:set(path, size, mtime, ctime, inode, digest, now)
  local tick = ctime % 1000000000 == 0 and COARSE_TICK_NS or TICK_NS
  self.changed = true
  if ctime + tick < now then self.used[path] = { size, mtime, ctime, inode, digest } end
end

local function write(path, bytes)
  make_folder(paths.dirname(path))
  local fd, temporary = uv.fs_mkstemp(path .. ".XXXXXX")
  if not fd then return end
  local written = uv.fs_write(fd, bytes, -1)
  uv.fs_close(fd)
  if written ~= #bytes or not uv.fs_rename(temporary, path) then uv.fs_unlink(temporary) end
end

--- Keeps what was used since `open`. Failing costs time in the next run, nothing else.
function Cache:save()
  if not self.changed or not self.path then return end
  local parts, pack = { MAGIC }, string.pack
  for path, r in pairs(self.used) do parts[#parts + 1] = pack(RECORD, path, r[1], r[2], r[3], r[4], r[5]) end
  local bytes = table.concat(parts)
  write(self.path, bytes .. hash.sha256(bytes))
end

return M
