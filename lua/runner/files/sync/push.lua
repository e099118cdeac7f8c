--- Brings one folder of a sandbox into the state of a manifest. The agent says which contents it lacks; they go in
--- chunks, as many at a time as it has granted.

local uv = require("luv")
local errors = require("runner.base.errors")
local frame = require("runner.agent.frame")
local task = require("runner.base.task")

local CHUNK = 256 * 1024
local STALL_S = 120 -- without a word from the agent, with all its disk may do
local EBUSY, EILSEQ = 16, 84 -- Linux: so does the agent
local BUSY_PAUSE_S, BUSY_LIMIT_S = 0.2, 60

---@class runner.Pushed
---@field folder string absolute, in the sandbox
---@field sent_files integer
---@field sent_bytes integer of contents

local Push = {}
Push.__index = Push

local function changed(path)
  errors.raise("provider", ("%s changed while it was sent"):format(path), { changed = true })
end

local function send_entries(self)
  local bytes = self.manifest.bytes
  for at = 1, #bytes, CHUNK do self.transfer:send("entries", { bytes = bytes:sub(at, at + CHUNK - 1) }) end
  self.transfer:send("entries")
end

local function on_need(self, f)
  if f.what == frame.needs.listing then return send_entries(self) end
  if f.what ~= frame.needs.files then return end
  if #f.bytes % 4 ~= 0 then errors.raise("transport", "the agent sent a malformed NEED") end
  for at = 1, #f.bytes, 4 do
    local index = string.unpack("<I4", f.bytes, at)
    local entry = self.manifest.entries[index + 1]
    if not entry or entry.kind ~= "file" or entry.size == 0 or self.asked[index] then
      errors.raise("transport", "the agent asked for a file that is not there")
    end
    self.asked[index] = true
    self.last = self.last + 1
    self.queue[self.last] = index
  end
end

local function close_file(self)
  if self.fd then uv.fs_close(self.fd) end
  self.fd = nil
end

--- Sends what fits into the window.
local function pump(self)
  while self.first <= self.last and self.outstanding < frame.SYNC_WINDOW do
    local index = self.queue[self.first]
    local entry = self.manifest.entries[index + 1]
    if not self.fd then
      self.fd, self.left = uv.fs_open(entry.source, "r", 0), entry.size
      if not self.fd then changed(entry.path) end
    end
    local size = math.min(CHUNK, self.left, frame.SYNC_WINDOW - self.outstanding)
    local bytes = uv.fs_read(self.fd, size, -1)
    if not bytes or #bytes == 0 then changed(entry.path) end
    self.transfer:send("chunk", { index = index, bytes = bytes })
    self.left = self.left - #bytes
    self.outstanding = self.outstanding + #bytes
    self.sent_bytes = self.sent_bytes + #bytes
    if self.left == 0 then
      close_file(self)
      self.sent_files = self.sent_files + 1
      self.queue[self.first] = nil
      self.first = self.first + 1
    end
  end
end

local function run(self)
  while true do
    pump(self)
    local ok, f = task.deadline(STALL_S, function() return self.inbox:get() end)
    if not ok then errors.raise("transport", ("the agent has said nothing for %d s"):format(STALL_S)) end
    if f.type == "done" then return f end
    if f.type == "need" then
      on_need(self, f)
    else
      self.outstanding = self.outstanding - f.bytes
      if self.outstanding < 0 then errors.raise("transport", "the agent took more than was sent") end
    end
  end
end

local function push_once(agent, manifest, key, into)
  local self = setmetatable({
    manifest = manifest, inbox = task.channel(), queue = {}, first = 1, last = 0, asked = {},
    outstanding = 0, sent_files = 0, sent_bytes = 0,
  }, Push)
  local function take(f) self.inbox:put(f) end
  self.transfer = agent:request("sync", { key = key, folder = into, digest = manifest.digest }, {
    need = take,
    taken = take,
    done = function(err, value, errno) take({ type = "done", err = err, value = value, errno = errno }) end,
  })
  local ok, result = pcall(run, self)
  close_file(self)
  if not ok then
    self.transfer:send("stop")
    error(result, 0)
  end
  return result, self
end

--- Pushes a manifest.
---@param agent runner.Agent
---@param options { manifest: runner.Manifest, key: string, into: string? } `key`: names the folder's history in the
---  sandbox; `into`: absolute; default: a folder of ours that belongs to the key
---@return runner.Pushed
---@async
--- Raises an error of kind "provider"; its context has `changed` when a file was written to meanwhile.
return function(agent, options)
  local waited = 0
  while true do
    local result, self = push_once(agent, options.manifest, options.key, options.into or "")
    if not result.err then
      return { folder = result.value, sent_files = self.sent_files, sent_bytes = self.sent_bytes }
    end
    if result.errno ~= EBUSY or waited >= BUSY_LIMIT_S then
      errors.raise(result.errno and "provider" or "transport", result.err, { changed = result.errno == EILSEQ })
    end
    waited = waited + BUSY_PAUSE_S
    task.sleep(BUSY_PAUSE_S)
  end
end
