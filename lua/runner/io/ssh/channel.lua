--- One command on one channel of a session: a two-way byte stream (`start`, `write`, `close`) with a second stream for
--- stderr and an exit status.
---
--- Reading is as fast as `on_bytes` takes: what was not taken stays within the channel's window of 2 MiB. Writing never
--- waits, but says when to: `write` returns false above HIGH_WATER, and `drain` waits until there is room.

local task = require("runner.base.task")

local M = {}

local HIGH_WATER = 1024 * 1024
local STDERR_TAIL = 4096 -- kept of a stderr nobody listens to

---@class runner.ssh.Channel
---@field on_stderr fun(bytes: string)? set it before `start`
---@field stderr_tail string the end of stderr, when there is no `on_stderr`
---@field error runner.Error? why it broke
local Channel = {}
Channel.__index = Channel
Channel.__name = "runner.io.ssh.channel"

-- The life of a channel, as steps of a job: opening, starting, reading, closing, freeing.

local function finish(self)
  self.core = nil
  self.ended, self.write_ended = true, true
  self:forget_writes()
  self.exit:set(true)
  return "done"
end

local function freeing(self)
  local _, _, code, direction = self.core:free()
  if code == "EAGAIN" then return direction end
  self.link.channels = self.link.channels - 1
  return finish(self)
end

local function closing(self)
  if self.closed then return self:turn(freeing) end
  local ok, message, code, direction = self.core:wait_closed()
  if code == "EAGAIN" then return direction end
  if not ok then
    if not self.link:survives(message, code) then return "done" end
  else
    self.code, self.signal = self.core:exit_status()
    self.exited = true
  end
  return self:turn(freeing)
end

local function deliver(self, stream, bytes)
  if stream == 0 then
    self.on_bytes(bytes)
  elseif self.on_stderr then
    self.on_stderr(bytes)
  else
    self.stderr_tail = (self.stderr_tail .. bytes):sub(-STDERR_TAIL)
  end
end

local function reading(self)
  if self.closed then return self:turn(freeing) end
  if not self.on_bytes then return "idle" end
  local moved, ends, direction = false, 0, nil
  for stream = 0, 1 do
    local bytes, message, code, wait = self.core:read(stream)
    if bytes then
      moved = true
      deliver(self, stream, bytes)
      if self.closed or self.link.closed then return "again" end
    elseif code == "EOF" then
      ends = ends + 1
    elseif code ~= "EAGAIN" then
      if self.link:survives(message, code) then self:fail(message, code) end
      return "done"
    elseif wait == "w" then
      return "w"
    else
      direction = wait
    end
  end
  if moved then return "again" end
  if ends < 2 then return direction end
  self.life = closing
  self.on_bytes(nil)
  return "again"
end

local function give_up(self, message, code)
  self.closed = true
  self.ready(nil, message, code)
end

local function starting(self)
  local ok, message, code, direction = self.core:exec(self.command)
  if code == "EAGAIN" then return direction end
  if not ok then
    if not self.link:survives(message, code) then return "done" end
    give_up(self, ("the host refused to run a command: %s"):format(message), code)
  else
    self.running = true
    self.ready(true)
  end
  return self:turn(reading)
end

local function opening(self)
  local link = self.link
  if link.opener ~= self then
    if self.closed then return finish(self) end
    if link.opener then return "r" end
    link.opener = self -- libssh2 opens one at a time
  end
  local core, message, code, direction = link.session:channel()
  if code == "EAGAIN" then return direction end
  link.opener = nil
  if core then
    self.core = core
    link.channels = link.channels + 1
    return self:turn(self.closed and freeing or starting)
  end
  if not link:survives(message, code) then return "done" end
  if code == "ECHANNEL" then
    code = "ESESSIONS"
    message = ("%s refuses another command on this connection, which has %d channels open: its "
      .. "sshd "
      .. "allows no more (MaxSessions, usually 10); open another connection"):format(link.where,
      link.channels)
  end
  give_up(self, message, code)
  return finish(self)
end

--- Opens a channel and runs `command` on it, in the login shell of the user.
---@param link runner.ssh.Link
---@param command string
---@return runner.ssh.Channel
---@async
function M.open(link, command)
  local self = setmetatable({
    link = link, command = command, life = opening, stderr_tail = "",
    queue = {}, first = 1, last = 0, offset = 0, pending = 0, exit = task.event(),
      room = task.event(),
  }, Channel)
  local ok, message, code = task.await(function(resume)
    self.ready = resume
    link:add(self)
    return function() self:close() end
  end)
  if not ok then error(link:error(message, code), 0) end
  return self
end

function Channel:step()
  return self.life(self)
end

---@private
function Channel:turn(life)
  self.life = life
  return "again"
end

--- The link is gone, or only this channel: whoever waits learns why.
function Channel:fail(message, code)
  local was_closed, on_bytes = self.closed, self.on_bytes
  local had_end = self.life == closing or self.life == freeing or self.ended
  self.closed = true
  if not self.exited then self.error = self.link:error(message, code) end
  self.ready(nil, message, code)
  finish(self)
  if on_bytes and not was_closed and not had_end then on_bytes(nil, message) end
end

--- Begins reading. `on_bytes(nil)` is the end of stdout, `on_bytes(nil, message)` the loss of
--- the link; it is the last call.
---@param on_bytes fun(bytes: string?, err: string?)
function Channel:start(on_bytes)
  self.on_bytes = on_bytes
  if self.error then return on_bytes(nil, self.error.message) end
  self.link:kick()
end

-- The second job of a channel: it lives while there is something to write.

local Writer = {}
Writer.__index = Writer

function Writer:fail() end

function Writer:step()
  local channel = self.channel
  local head = channel.queue[channel.first]
  -- Once either side has closed, all that may still be written is the rest of a packet.
  local over = channel.closed or channel.life == freeing
  if not channel.core or over and channel.link.pinned ~= self then
    channel.writer = nil
    return "done"
  end
  local count, message, code, direction
  if head then
    count, message, code, direction = channel.core:write(head, channel.offset)
  else
    count, message, code, direction = channel.core:send_eof()
  end
  if code == "EAGAIN" then return direction end
  if not count then
    channel.writer, channel.write_ended = nil,
      true -- EPIPE: the command has ended; reading will tell
    channel:forget_writes()
    channel.link:survives(message, code)
    return "done"
  end
  if not head then
    channel.writer = nil
    return "done"
  end
  if count == 0 then return "r" end
  channel.offset = channel.offset + count
  channel.pending = channel.pending - count
  if channel.offset == #head then
    channel.queue[channel.first] = nil
    channel.first, channel.offset = channel.first + 1, 0
  end
  if channel.pending < HIGH_WATER then channel:make_room() end
  if channel.first <= channel.last or channel.write_ended then return "again" end
  channel.writer = nil
  return "done"
end

---@private
function Channel:make_room()
  local room = self.room
  self.room = task.event()
  room:set(true)
end

---@private
function Channel:forget_writes()
  self.queue, self.first, self.last, self.offset, self.pending = {}, 1, 0, 0, 0
  self:make_room()
end

---@private
function Channel:wake_writer()
  if self.writer then return end
  self.writer = setmetatable({ channel = self }, Writer)
  self.link:add(self.writer)
end

--- Queues bytes for stdin; never waits. Bytes for a command that has ended are dropped.
---@param bytes string
---@return boolean room false: call `drain` before writing more
function Channel:write(bytes)
  if self.closed or self.write_ended or bytes == "" then return true end
  self.last = self.last + 1
  self.queue[self.last] = bytes
  self.pending = self.pending + #bytes
  self:wake_writer()
  return self.pending < HIGH_WATER
end

--- Waits until less than 1 MiB is queued for writing, or nothing can be written any more.
---@async
function Channel:drain()
  while self.pending >= HIGH_WATER and not self.closed do self.room:wait() end
end

--- The end of stdin, after all that was written.
function Channel:close_write()
  if self.closed or self.write_ended then return end
  self.write_ended = true
  self:wake_writer()
end

--- Ends the channel: the command sees the end of its stdin and broken pipes. What was not yet written is dropped,
--- and no callback is called any more.
function Channel:close()
  if self.closed then return end
  self.closed = true
  self.exit:set(true)
  self:make_room()
  self.link:kick()
end

--- Waits for the end of the command. Discards its output if `start` was not called.
---@return integer? code nil when a signal ended it
---@return string? signal "TERM"
---@async
function Channel:exit_status()
  if not self.on_bytes then self:start(function() end) end
  self.exit:wait()
  if self.error then error(self.error, 0) end
  if not self.exited then error(self.link:error("the channel was closed", "ECANCELED"), 0) end
  return self.code, self.signal
end

return M
