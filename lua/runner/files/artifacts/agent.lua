--- Artifacts by the agent: it finds the files and sends their contents.

local uv = require("luv")
local errors = require("runner.base.errors")
local hash = require("runner.core.hash")
local task = require("runner.base.task")

local M = {}

local CREDIT_CHUNK = 64 * 1024
local STALL_S = 120
--- An attempt begins, here, when its host gets round to hearing of it; and time stamps of files are as coarse as clock
--- ticks. Better a file too many than one too few.
local SLACK_S = 0.5

---@class runner.AgentFiles
local Source = {}
Source.__index = Source

--- One request, its frames handed to `on_frame` in this task.
local function converse(agent, name, fields, kind, on_frame)
  local inbox = task.channel()
  local transfer = agent:request(name, fields, {
    [kind] = function(f) inbox:put(f) end,
    done = function(err, value, errno) inbox:put({ type = "done", err = err, value = value, errno = errno }) end,
  })
  local ok, result = pcall(function()
    while true do
      local met, f = task.deadline(STALL_S, function() return inbox:get() end)
      if not met then errors.raise("transport", ("the agent has said nothing for %d s"):format(STALL_S)) end
      if f.type == "done" then
        if f.err then errors.raise(f.errno and "provider" or "transport", f.err) end
        return f.value
      end
      on_frame(f, transfer)
    end
  end)
  if ok then return result end
  transfer:send("stop")
  error(result, 0)
end

-- So many µs before the request; the agent counts from when it comes. What the host hears of is later by the way to it,
-- and so is the request: both ends come out later than they were by a round trip at most.
local function ago_us(hrtime, slack_s)
  return math.max(1, math.floor((uv.hrtime() - hrtime) / 1e3 + slack_s * 1e6))
end

---@param agent runner.Agent
---@param folder string
---@param globs string[]
---@return runner.AgentFiles
---@async
function M.new(agent, folder, globs)
  local asked = uv.hrtime()
  task.await(function(resume) agent:ping(resume) end)
  local round_trip = (uv.hrtime() - asked) / 1e9
  return setmetatable({ agent = agent, folder = folder, globs = globs, round_trip = round_trip }, Source)
end

--- Calls `add` for what matches, and was last changed between two times of the host's clock.
---@param add fun(path: string, size: integer, state: string)
---@param since integer? uv.hrtime(), as is till
---@param till integer?
---@return boolean more there are more than the agent lists
---@async
function Source:list(add, since, till)
  local fields = {
    folder = self.folder, globs = self.globs,
    newer_us = since and ago_us(since, 2 * self.round_trip + SLACK_S) or 0,
    older_us = till and ago_us(till, 0) or 0,
  }
  return converse(self.agent, "list", fields, "found", function(f)
    local at = 1
    while at <= #f.bytes do
      local ok, size, changed, inode, name, after = pcall(string.unpack, "<I8I8I8s4", f.bytes, at)
      if not ok then errors.raise("transport", "the agent sent a malformed FOUND") end
      at = after
      add(name, size, ("%d %d %d"):format(size, changed, inode))
    end
  end) == "more"
end

local function write_all(fd, bytes)
  while #bytes > 0 do
    local written, message = uv.fs_write(fd, bytes, -1)
    if not written then errors.raise("provider", message) end
    bytes = bytes:sub(written + 1)
  end
end

--- Writes a file here. Raises an error of kind "provider" when it is gone or has grown, or there is no room for it.
---@param file { path: string }
---@param target string absolute; must not exist
---@param most integer bytes
---@return string digest
---@return integer size
---@async
function Source:receive(file, target, most)
  local fd, message = uv.fs_open(target, "wx", 420) -- 0644
  if not fd then errors.raise("provider", message) end
  local digest, size, owed = hash.new(), 0, 0
  local ok, err = pcall(converse, self.agent, "get", { folder = self.folder, path = file.path, most = most }, "data",
    function(f, transfer)
      size = size + #f.bytes
      if size > most then errors.raise("transport", "the agent sent more of a file than it has") end
      digest:add(f.bytes)
      write_all(fd, f.bytes)
      owed = owed + #f.bytes
      if owed >= CREDIT_CHUNK then
        transfer:send("credit", { bytes = owed })
        owed = 0
      end
    end)
  uv.fs_close(fd)
  local hashed = digest:digest()
  if not ok then error(err, 0) end
  return hashed, size
end

return M
