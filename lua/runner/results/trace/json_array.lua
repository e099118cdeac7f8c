--- A file that is one whole JSON array at any moment while it grows, also when its writer is killed.
---
--- SIGKILL may cut a write that crosses a page in two, so what readers see is not written to: the array is kept in two
--- files. The spare one is brought up to date and changes names with the other; then that one is the spare. It is
--- called like the array with `.tmp` at the end, and shortly also `.old`; when the array is closed it is gone.

local uv = require("luv")
local files = require("runner.base.files")
local path = require("runner.base.path")

local M = {}

local CLOSING = "\n]\n"
local EVERY_MS = 250 -- readers are that much behind
local MOST_WAITING = 256 * 1024 -- bytes; with more, at once

---@class runner.JsonArray
---@field failure string? why the array no longer grows; what is there stays
---@field package seen { fd: integer, size: integer } the file that has the name; `size`: without the closing bracket
---@field package spare { fd: integer, size: integer } lacks `latest`
---@field package latest string
local JsonArray = {}
JsonArray.__index = JsonArray
JsonArray.__name = "runner.json_array"

--- Names that files of an array have for a while.
---@param name string
---@return string spare
---@return string old
function M.beside(name)
  return name .. ".tmp", name .. ".old"
end

--- Brings a file up to date.
local function append(file, text)
  local rest, at = text .. CLOSING, file.size
  while rest ~= "" do
    local written, message = uv.fs_write(file.fd, rest, at)
    if not written then return nil, message end
    rest, at = rest:sub(written + 1), at + written
  end
  file.size = file.size + #text
  return true
end

local function open(self)
  local fd, message = uv.fs_open(self.other, "wx", 420) -- 0644
  if not fd then return nil, message end
  local file = { fd = fd, size = 0 }
  local ok, why = append(file, "[")
  if ok then return file end
  uv.fs_close(fd)
  uv.fs_unlink(self.other)
  return nil, why
end

--- Makes an empty array in the place of what has that name. Raises when it cannot.
---@param name string absolute
---@return runner.JsonArray
function M.create(name)
  local self = setmetatable({ name = name, waiting = {}, bytes = 0, latest = "", separator = "\n" }, JsonArray)
  self.other, self.old = M.beside(name)
  files.make_folder(path.dirname(name))
  uv.fs_unlink(self.other) -- of a writer that was killed; they may be one file
  uv.fs_unlink(self.old)
  self.seen = assert(open(self))
  local ok, message = uv.fs_rename(self.other, name)
  if ok then self.spare, message = open(self) end
  if not self.spare then
    uv.fs_close(self.seen.fd)
    uv.fs_unlink(self.other)
    error(message, 0)
  end
  self.timer = uv.new_timer()
  self.timer:start(EVERY_MS, EVERY_MS, function() self:flush() end)
  self.timer:unref()
  return self
end

--- Appends one value; readers see it a little later.
---@param value string JSON
function JsonArray:add(value)
  self.waiting[#self.waiting + 1] = value
  self.bytes = self.bytes + #value
  if self.bytes >= MOST_WAITING then self:flush() end
end

local function swap(self)
  if self.has_no_links or not uv.fs_link(self.name, self.old) then
    self.has_no_links, self.latest = true, ""
    return true
  end
  local ok, message = uv.fs_rename(self.other, self.name)
  if not ok then return nil, message end
  self.seen, self.spare = self.spare, self.seen
  return uv.fs_rename(self.old, self.other)
end

--- Shows what waits. A file system without hard links shows it only when the array is closed.
function JsonArray:flush()
  if #self.waiting == 0 or self.failure then return end
  local text = self.separator .. table.concat(self.waiting, ",\n")
  self.waiting, self.bytes, self.separator = {}, 0, ",\n"
  local ok, message = append(self.spare, self.latest .. text)
  self.latest = text
  if ok then ok, message = swap(self) end
  if not ok then self.failure = message end
end

--- Shows what waits and closes the array.
function JsonArray:close()
  self:flush()
  self.timer:close()
  uv.fs_close(self.seen.fd)
  uv.fs_close(self.spare.fd)
  if self.spare.size > self.seen.size and not self.failure then
    local _, message = uv.fs_rename(self.other, self.name)
    self.failure = message
  end
  uv.fs_unlink(self.other)
  uv.fs_unlink(self.old)
end

return M
