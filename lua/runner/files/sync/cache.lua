--- Remembers the hashes of a project's files between runs, so that only what changed is read. A hint and no more: a
--- cache that is missing, damaged or of somebody else is as good as an empty one.

local files = require("runner.base.files")
local hash = require("runner.core.hash")
local paths = require("runner.base.path")
local text = require("runner.base.text")
local uv = require("luv")

local M = {}

local MAGIC = "runner hashes 1\n"
local RECORD = "<s4i8i8i8i8c32" -- path, size, mtime, ctime, inode, hash
local DIGEST = 32

--- A file that changes twice within one tick of the file system's clock looks unchanged the second time: what was
--- written less than this before it was read is not remembered.
local TICK_NS = 50e6
local COARSE_TICK_NS = 2e9 -- where time stamps are whole seconds
local EXPIRES_S = 30 * 24 * 3600 -- a project that was not synced for so long is hashed again

---@class runner.HashCache
---@field package path string
---@field package known table<string, { [1]: integer, [2]: integer, [3]: integer, [4]: integer, [5]: string }>
---@field package used table same, of this run
---@field package changed boolean
local Cache = {}
Cache.__index = Cache

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
  local base = files.cache_folder()
  if not base then return self end
  self.path = base .. "/hashes/" .. text.hex(hash.sha256(root):sub(1, 12))
  self.known = decode(files.read(self.path) or "")
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

--- Keeps what was used since `open`. Failing costs time in the next run, nothing else.
function Cache:save()
  if not self.path then return end
  if not self.changed then
    uv.fs_utime(self.path, os.time(), os.time()) -- when it was last used
    return
  end
  local parts, pack = { MAGIC }, string.pack
  for path, r in pairs(self.used) do parts[#parts + 1] = pack(RECORD, path, r[1], r[2], r[3], r[4], r[5]) end
  local bytes = table.concat(parts)
  files.make_folder(paths.dirname(self.path), 448) -- 0700
  files.write(self.path, bytes .. hash.sha256(bytes))
  files.expire(paths.dirname(self.path), EXPIRES_S)
end

return M
