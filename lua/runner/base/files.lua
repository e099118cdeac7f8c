--- Small files of our own: read whole, written atomically, kept in the user's cache folder.

local uv = require("luv")
local paths = require("runner.base.path")

local M = {}

--- Makes a folder and those above it.
---@param path string absolute
---@param mode integer? default 0755
---@return boolean? ok
---@return string? message
function M.make_folder(path, mode)
  mode = mode or 493
  local ok, message, code = uv.fs_mkdir(path, mode)
  if code == "ENOENT" then
    ok, message = M.make_folder(paths.dirname(path), mode)
    if not ok then return nil, message end
    ok, message, code = uv.fs_mkdir(path, mode)
  end
  if ok or code == "EEXIST" then return true end
  return nil, message
end

---@param path string
---@return string? bytes
---@return string? message
function M.read(path)
  local file <close>, message = io.open(path, "rb")
  if not file then return nil, message end
  local bytes, why = file:read("a")
  if not bytes then return nil, ("%s: %s"):format(path, why) end
  return bytes
end

--- The user's cache folder for us: $XDG_CACHE_HOME/runner or ~/.cache/runner. nil: there is none.
---@return string?
function M.cache_folder()
  local cache, home = os.getenv("XDG_CACHE_HOME"), os.getenv("HOME")
  if cache and cache:sub(1, 1) == "/" then return cache .. "/runner" end
  return home and home:sub(1, 1) == "/" and home .. "/.cache/runner" or nil
end

--- Writes a file so that others see the old one or the new one, whole; a crash of the machine, too, leaves one of
--- them, but in the cache folder: what can be made again is not worth waiting for the disk at the end of every run. A
--- link stays a link, and the mode of a file that is there is kept.
---@param path string absolute
---@param bytes string
---@return boolean? ok
---@return string? message
function M.write(path, bytes)
  local target = uv.fs_realpath(path) or path
  local there = uv.fs_stat(target)
  local fd, temporary = uv.fs_mkstemp((target:gsub("([^/]*)$", ".%1.runner-XXXXXX", 1)))
  if not fd then return nil, temporary end
  local written, message = 0, nil
  while written and written < #bytes do
    local n
    n, message = uv.fs_write(fd, written == 0 and bytes or bytes:sub(written + 1), -1)
    written = n and written + n
  end
  local cache = M.cache_folder()
  local synced, why = true, nil
  if not cache or path:sub(1, #cache + 1) ~= cache .. "/" then synced, why = uv.fs_fsync(fd) end
  uv.fs_fchmod(fd, there and there.mode & 511 or 420) -- 0644
  uv.fs_close(fd)
  local ok = written and synced
  if ok then
    ok, why = uv.fs_rename(temporary, target)
  end
  if ok then return true end
  uv.fs_unlink(temporary)
  return nil, message or why
end

--- Removes what those who were killed while they wrote a file have left beside it. Nobody else may be writing it.
---@param path string absolute
function M.tidy(path)
  local target = uv.fs_realpath(path) or path
  local folder, name = target:match("^(.*/)([^/]*)$")
  local start = "." .. name .. ".runner-"
  for _, found in ipairs(M.names(folder)) do
    local is_ours = found:sub(1, #start) == start and found:find("^%w%w%w%w%w%w$", #start + 1)
    if is_ours then uv.fs_unlink(folder .. found) end
  end
end

--- The names in a folder, sorted; none when it cannot be read.
---@param folder string
---@return string[] names
---@return string? message why it cannot be read
function M.names(folder)
  local scan, message = uv.fs_scandir(folder)
  local names = {}
  while scan do -- to its end: libuv 1.44 leaks the last entry else
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    names[#names + 1] = name
  end
  table.sort(names)
  return names, message
end

--- Removes the files of a cache that were not written (or touched) for so long.
---@param folder string
---@param seconds number
function M.expire(folder, seconds)
  local now = os.time()
  for _, name in ipairs(M.names(folder)) do
    local stat = uv.fs_lstat(folder .. "/" .. name)
    if stat and now - stat.mtime.sec > seconds then uv.fs_unlink(folder .. "/" .. name) end
  end
end

return M
