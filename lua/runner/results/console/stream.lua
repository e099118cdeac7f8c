-- Standard output as the console needs it: each write is one system call, and whatever happens to
-- the reader (gone, full disk), writing stays harmless.

local uv = require("luv")

local M = {}

---@class runner.ConsoleStream
---@field terminal boolean
---@field dead boolean? the reader is gone: nothing is written any more
local Stream = {}
Stream.__index = Stream
Stream.__name = "runner.console_stream"

---@param fd integer
---@return runner.ConsoleStream
function M.open(fd)
  return setmetatable({ fd = fd, terminal = uv.guess_handle(fd) == "tty" }, Stream)
end

--- Columns and rows of the terminal now; nil off a terminal.
---@return integer? columns
---@return integer? rows
function Stream:size()
  if not self.terminal then return nil end
  if not self.tty then
    -- luv would switch our own descriptor to non-blocking; it gets a fresh one of the same terminal.
    local fd = uv.fs_open("/proc/self/fd/" .. self.fd, "r+", 0)
    self.tty = fd and uv.new_tty(fd, false)
    if not self.tty then
      if fd then uv.fs_close(fd) end
      return nil
    end
  end
  local columns, rows = self.tty:get_winsize()
  if columns and columns > 0 then return columns, rows end
end

--- Writes all of `text`, waiting for a slow reader.
---@param text string
---@return boolean ok false once the reader is gone
function Stream:write(text)
  if self.dead then return false end
  while text ~= "" do
    local written, _, code = uv.fs_write(self.fd, text, -1)
    if written then
      text = written == #text and "" or text:sub(written + 1)
    elseif code == "EAGAIN" then
      -- Whoever shares the terminal or pipe made it non-blocking: wait as a blocking write would.
      uv.sleep(5)
    elseif code ~= "EINTR" then
      self.dead = true
      return false
    end
  end
  return true
end

function Stream:close()
  if self.tty then self.tty:close() end
  self.tty = nil
end

return M
