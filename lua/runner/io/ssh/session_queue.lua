--- One libssh2 session, and whoever wants something of it.
---
--- Everything that happens on a session is a job: `job:step()` makes calls into the session and says how they ended;
--- `job:fail(message, code)` tells it that the link is gone. Jobs take turns, under the two rules of libssh2:
---  - While a packet is half sent, only the step that began it may touch the session ("w"; see src/bindings/ssh.c).
---    That job is pinned, and nothing but room in the socket is waited for.
---  - Any step may take somebody else's data out of the socket, where no poll sees it again. So the jobs take turns
---    until a whole round moved nothing and took nothing from the socket; only then is the socket waited for.

local uv = require("luv")
local errors = require("runner.base.errors")
local task = require("runner.base.task")

local M = {}

local ROUNDS = 64 -- at most, before other handles of the loop get their turn
local SILENT_TICKS = 3 -- unanswered keepalives after which a link is dead

---@class runner.ssh.Job
---@field step fun(self): "done"|"again"|"idle"|"r"|"w" idle: waits for its owner, not for the host
---@field fail fun(self, message: string, code: string)

---@class runner.ssh.Link
---@field session runner.core.ssh.Session
---@field where string "user@host:port", for messages
---@field channels integer open now
---@field received integer? bytes that ever came; once closed
---@field opener table? the one channel that is being opened
---@field package jobs runner.ssh.Job[]
local Link = {}
Link.__index = Link
Link.__name = "runner.io.ssh.session_queue"

-- Errors that concern one call; any other one ends the session.
local harmless = {
  EAUTH = true, EKEYFILE = true, ECHANNEL = true, EDENIED = true, EPIPE = true, EOF = true,
    ESIGN = true,
}

local function close_handle(handle)
  if handle and not handle:is_closing() then handle:close() end
end

--- The link takes the session over: closing the link closes it.
---@param session runner.core.ssh.Session
---@param where string
---@return runner.ssh.Link
function M.new(session, where)
  local self = setmetatable({
    session = session, where = where, channels = 0, jobs = {},
    poll = assert(uv.new_poll(session:fd())), idle = uv.new_idle(),
  }, Link)
  self.poll:start("r", function()
    if self.events == "d" then
      self:survives("closed", "ECONNRESET")
    else
      self:pump()
    end
  end)
  return self
end

---@param message string
---@param code string?
---@return runner.Error
function Link:error(message, code)
  return errors.new("transport", message, { host = self.where, code = code })
end

--- Ends the link at once; every job learns why.
---@param message string?
---@param code string?
function Link:close(message, code)
  if self.closed then return end
  self.closed = true
  self.failure = { message or ("the connection to %s was closed"):format(self.where), code
    or "ECANCELED" }
  close_handle(self.poll)
  close_handle(self.idle)
  close_handle(self.timer)
  self.received = self.session:received()
  self.session:close()
  if self.on_close then self.on_close() end
  local jobs = self.jobs
  self.jobs, self.pinned = {}, nil
  for _, job in ipairs(jobs) do
    if not job.over then job:fail(self.failure[1], self.failure[2]) end
  end
end

--- What a step does with an error: "done" when only that call failed; else the link ends, and the answer is nil.
---@return boolean harmless
function Link:survives(message, code)
  if harmless[code] then return true end
  local why = code == "ECONNRESET" and "the host closed it or the network broke" or message
  self:close(("the connection to %s was lost: %s"):format(self.where, why), code)
  return false
end

--- Every job once, the pinned one alone. → whether another round may move something
function Link:round()
  local jobs, moved, waiting = self.jobs, false, false
  if self.pinned then
    local job = self.pinned
    local state = job:step()
    if self.closed or state == "w" then return false end
    self.pinned = nil
    if state == "done" then job.over = true end
  end
  local i = 1
  while i <= #jobs do -- callbacks of a step may add jobs
    local job = jobs[i]
    if not job.over then
      local state = job:step()
      if self.closed then return false end
      if state == "w" then
        self.pinned = job
        return false
      end
      if state == "done" then job.over = true end
      moved = moved or state == "done" or state == "again"
      waiting = waiting or state == "r"
    end
    i = i + 1
  end
  local kept = 0
  for n = 1, #jobs do
    local job = jobs[n]
    jobs[n] = nil
    if not job.over then
      kept = kept + 1
      jobs[kept] = job
    end
  end
  self.waiting = waiting
  return moved
end

function Link:rounds()
  for _ = 1, ROUNDS do
    local before = self.session:received()
    local moved = self:round()
    if self.closed or self.pinned then return end
    if not moved and self.session:received() == before then return end
  end
  self:kick()
end

function Link:pump()
  if self.pumping or self.closed then return end
  self.pumping = true
  local ok, err = pcall(self.rounds, self)
  self.pumping = false
  if not ok then error(err, 0) end
  if self.closed then return end
  -- Where nobody reads, readable data would wake the loop for ever: then only the end of the link is of interest.
  local events = self.pinned and "w" or self.waiting and "r" or "d"
  if events == self.events then return end
  self.events = events
  assert(self.session:watch(events))
end

--- Has the jobs run from the loop, never from inside the caller.
function Link:kick()
  if self.closed or self.idle:is_active() then return end
  self.idle:start(function()
    self.idle:stop()
    self:pump()
  end)
end

---@param job runner.ssh.Job
function Link:add(job)
  if self.closed then return job:fail(self.failure[1], self.failure[2]) end
  self.jobs[#self.jobs + 1] = job
  self:kick()
end

--- Makes one call into the session to its end. Cancelled, the call goes on for libssh2's sake, and nobody learns of it.
---@param call fun(): any, string?, string?, string?
---@return any value
---@return string? message
---@return string? code
---@async
function Link:call(call)
  return task.await(function(resume)
    self:add {
      step = function()
        local value, message, code, direction = call()
        if code == "EAGAIN" then return direction end
        if value ~= nil or self:survives(message, code) then resume(value, message, code) end
        return "done"
      end,
      fail = function(_, message, code) resume(nil, message, code) end,
    }
  end)
end

--- From now on a link on which somebody waits and nothing comes for three times `seconds` is dead.
---@param seconds number at least 2
function Link:keepalive(seconds)
  local ticks, seen = 0, -1
  self.timer = uv.new_timer()
  local period = math.ceil(math.max(2, seconds) * 1000)
  self.timer:start(period, period, function()
    local received = self.session:received()
    if received ~= seen or #self.jobs == 0 then
      ticks, seen = 0, received
    else
      ticks = ticks + 1
      if ticks >= SILENT_TICKS then
        return self:close(("the connection to %s is dead: no answer for %g s"):format(
          self.where, ticks * period / 1000), "ETIMEDOUT")
      end
    end
    self.session:keepalive()
  end)
end

return M
