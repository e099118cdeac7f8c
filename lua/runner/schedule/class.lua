--- Tests under the same rules, with a queue of their own. Pure.

local bundle = require("runner.schedule.bundle")

local M = {}

---@class runner.Class
---@field group string
---@field individual boolean?
---@field only_on table<string, true>?
---@field locks string[] mutexes
---@field serial boolean nothing else may run meanwhile
---@field weight integer
---@field priority number
---@field max_parallel integer? of its group
---@field is_constrained boolean has mutexes or a weight: handed out one by one, never on top of something else
---@field queue runner.PileQueue
---@field pending integer
---@field work number
local Class = {}
Class.__index = Class

local function sorted(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

--- What items of one class have in common.
---@param item runner.Item
---@param policy runner.GroupPolicy
---@return string
function M.key(item, policy)
  local weight, priority = item.weight or policy.weight, item.priority or policy.priority
  local exclusive, only_on = item.exclusive or policy.exclusive, item.only_on or policy.only_on
  if not (weight or priority or exclusive or only_on) then return item.group end
  local locks = type(exclusive) == "table" and table.concat(exclusive, "\1") or tostring(exclusive)
  return table.concat({
    item.group, weight or 1, priority or 0, locks, only_on and table.concat(sorted(only_on), "\1") or "",
  }, "\0")
end

---@param item runner.Item the first of the class
---@param policy runner.GroupPolicy
---@return runner.Class
function M.new(item, policy)
  local exclusive = item.exclusive or policy.exclusive
  local locks = type(exclusive) == "table" and exclusive or {}
  local weight = item.weight or policy.weight or 1
  return setmetatable({
    group = item.group, individual = policy.individual, only_on = item.only_on or policy.only_on,
    locks = locks, serial = exclusive == true, weight = weight, priority = item.priority or policy.priority or 0,
    max_parallel = policy.max_parallel, order = policy.order or 0,
    is_constrained = exclusive == true or #locks > 0 or weight > 1,
    queue = bundle.queue(), pending = 0, work = 0,
  }, Class)
end

--- How long the class keeps the run waiting if it is not served now: its longest test, or the length of what has to run
--- one after the other.
---@return number
function Class:urgency()
  local longest = self.queue:top().key
  if self.serial or #self.locks > 0 then return math.max(longest, self.work) end
  if self.max_parallel then return math.max(longest, self.work / self.max_parallel) end
  return longest
end

--- The same by place: where a given order is to be kept.
---@return number
function Class:earliness()
  local first = self.queue:top()
  return first.key < math.huge and -first.order or math.huge
end

--- Is `a` more urgent than `b`? Both have their `urgent` from the same moment.
---@param a runner.Class
---@param b runner.Class
function M.before(a, b)
  if a.priority ~= b.priority then return a.priority > b.priority end
  if a.urgent ~= b.urgent then return a.urgent > b.urgent end
  return a.order < b.order
end

return M
