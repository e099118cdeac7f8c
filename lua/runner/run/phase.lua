--- Holds the phase that a run is in, and why. A run goes forward only, and may pass phases over:
---
---   discovering  tests are looked for
---   running      they are known: slots are handed work
---   draining     nothing more is handed out, what runs ends by itself; without a reason, because nothing is left
---   cancelling   what runs is stopped, with the grace period
---   killed       everything ends at once
---
--- Whoever has to do something when a phase begins says so with `on`; who has to wait for one uses `wait_for`.

local task = require("runner.base.task")

local M = {}

---@alias runner.PhaseName "discovering"|"running"|"draining"|"cancelling"|"killed"

local NAMES = { "discovering", "running", "draining", "cancelling", "killed" }
local RANK = {}
for rank, name in ipairs(NAMES) do RANK[name] = rank end

---@class runner.Phase
---@field name runner.PhaseName
---@field reason string? why nothing more is handed out: the first that was given
---@field signal string? "sigint", "sigterm" or "sighup", once one has come
---@field interrupted runner.Event set when it comes
---@field package handlers table<runner.PhaseName, (fun())[]>
---@field package events table<runner.PhaseName, runner.Event>
local Phase = {}
Phase.__index = Phase

---@return runner.Phase
function M.new()
  local self = setmetatable({
    name = NAMES[1], interrupted = task.event(), handlers = {}, events = {},
  }, Phase)
  for _, name in ipairs(NAMES) do self.handlers[name], self.events[name] = {}, task.event() end
  self.events[self.name]:set(true)
  return self
end

--- Is the run in this phase, or beyond it?
---@param name runner.PhaseName
---@return boolean
function Phase:reached(name)
  return RANK[self.name] >= RANK[name]
end

--- Goes on to a phase, through those between; each one's handlers are called in the order in which they came, when the
--- new name holds already. Towards an earlier phase nothing happens.
---@param name runner.PhaseName
---@param reason string? why; kept when it is the first
---@return boolean changed
function Phase:enter(name, reason)
  local from, to = RANK[self.name], assert(RANK[name], name)
  if to >= RANK.draining then self.reason = self.reason or reason end
  if to <= from then return false end
  self.name = name
  for rank = from + 1, to do
    self.events[NAMES[rank]]:set(true)
    for _, handler in ipairs({ table.unpack(self.handlers[NAMES[rank]]) }) do handler() end
  end
  return true
end

--- Takes a signal: the first cancels the run, the next kills it.
---@param signal "sigint"|"sigterm"|"sighup"
---@return boolean first
function Phase:interrupt(signal)
  if self.signal then
    self:enter("killed")
    return false
  end
  self.signal = signal
  self:enter("cancelling", "interrupted by " .. signal:upper())
  self.interrupted:set(true)
  return true
end

--- Calls `handler` when the phase begins, or is passed over; at once if that has been.
---@param name runner.PhaseName
---@param handler fun()
---@return fun() off takes it back
function Phase:on(name, handler)
  if self:reached(name) then
    handler()
    return function() end
  end
  local list = self.handlers[name]
  list[#list + 1] = handler
  return function()
    for i, other in ipairs(list) do
      if other == handler then return table.remove(list, i) end
    end
  end
end

--- The event that is set when the phase begins.
---@param name runner.PhaseName
---@return runner.Event
function Phase:event(name)
  return self.events[name]
end

---@param name runner.PhaseName
---@async
function Phase:wait_for(name)
  self.events[name]:wait()
end

return M
