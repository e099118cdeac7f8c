--- The threads of one slot in a trace. A slot runs one test at a time, but some frameworks run several in one process,
--- or say only at its end how long each took; and slices of one thread must not overlap. Pure; times are in ticks.

local M = {}

local SLACK = 50 -- ticks: told at the same time, and close enough to half of a duration

---@class runner.Lane
---@field place runner.TracePlace its thread
---@field ended integer when its last slice ended
---@field id string? of the attempt that runs
---@field started integer? when that was told
---@field told integer? when an attempt ended the last time
---@field room integer? start of what is free before the attempts that were told at about that time
---@field limit integer? its end

---@class runner.Lanes
---@field package list runner.Lane[]
local Lanes = {}
Lanes.__index = Lanes

---@param since integer nothing began before
---@param new_thread fun(number: integer): runner.TracePlace
---@return runner.Lanes
function M.new(since, new_thread)
  return setmetatable({ list = {}, since = since, new_thread = new_thread }, Lanes)
end

--- An attempt begins.
---@param id string
---@param now integer
---@return runner.Lane
function Lanes:start(id, now)
  local free
  for _, lane in ipairs(self.list) do
    if not lane.id and lane.ended <= now then
      free = lane
      break
    end
  end
  if not free then
    free = { place = self.new_thread(#self.list + 1), ended = self.since }
    self.list[#self.list + 1] = free
  end
  free.id, free.started = id, now
  return free
end

--- An attempt is over. One that was told too late for its duration (a result file at the end of the process) is put
--- before what was told with it, after what its process ran before.
---@param id string
---@param now integer
---@param duration integer?
---@return runner.Lane
---@return integer from
---@return integer to
function Lanes:finish(id, now, duration)
  local lane
  for _, other in ipairs(self.list) do
    if other.id == id then lane = other end
  end
  lane = lane or self:start(id, now)
  local from, to = math.max(lane.started, lane.ended), now
  local is_first = now - (lane.told or -math.huge) > SLACK
  if duration and now - from < duration // 2 - SLACK then
    if is_first then lane.room, lane.limit = lane.ended, now end
    from = lane.room
    to = math.min(lane.limit, from + duration)
    lane.room = to
  elseif is_first then
    lane.room, lane.limit = lane.ended, from
  end
  lane.id, lane.started, lane.told, lane.ended = nil, nil, now, math.max(lane.ended, to)
  return lane, from, to
end

--- Ids of the attempts that run.
---@return string[]
function Lanes:running()
  local ids = {}
  for _, lane in ipairs(self.list) do ids[#ids + 1] = lane.id end
  return ids
end

return M
