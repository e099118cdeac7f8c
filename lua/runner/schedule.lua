--- The queue: which tests a slot gets next. Pure: no I/O, no clock, no randomness, so that a simulator can run this
--- very code. The caller reports what happened; the queue answers what to do.
---
--- A dynamic queue in the given order (list scheduling, Graham 1966), handed out in batches that shrink towards the end
--- (guided self-scheduling, Polychronopoulos & Kuck 1987), so that the fixed cost of a hand-out is paid seldom and no
--- slot is left with a long tail. What a slot was given but has not started can be taken back for an idle one.
---
--- An item is one pending attempt: { id, attempt, group, file?, avoid?, … }; every item is in exactly one place:
--- pending, or leased to one slot.

local M = {}

---@class runner.Item one attempt of a test, pending or leased
---@field id string
---@field group string
---@field file string?
---@field attempt integer
---@field avoid any? a sandbox that should not get it while another can

---@class runner.GroupPolicy
---@field individual boolean? hand out one test at a time
---@field order integer? groups with a lower number are served first
---@field only_on table<string, true>? names of the providers that may run it; nil: all

---@class runner.Schedule
---@field package queues table<string, table> by group: { first, last, [i] = item }
---@field package groups string[] in order of service
---@field package leases table<any, table> by slot: set of items
---@field pending integer items that wait
local Schedule = {}
Schedule.__index = Schedule

---@param spec { groups: table<string, runner.GroupPolicy>, slots: integer } `slots`: how many will ask
---@return runner.Schedule
function M.new(spec)
  local names = {}
  for name in pairs(spec.groups) do names[#names + 1] = name end
  local groups = spec.groups
  table.sort(names, function(a, b)
    local x, y = groups[a].order or 0, groups[b].order or 0
    if x ~= y then return x < y end
    return a < b
  end)
  local queues = {}
  for _, name in ipairs(names) do queues[name] = { first = 1, last = 0 } end
  return setmetatable({
    policies = groups, groups = names, queues = queues, leases = {}, slots = math.max(1, spec.slots), pending = 0,
    leased = 0,
  }, Schedule)
end

--- Tells how many slots share the queue; batches are sized by it.
---@param slots integer
function Schedule:resize(slots)
  self.slots = math.max(1, slots)
end

--- Adds items at the end of their group's queue, or at its front: retries and returned items go first, because a late
--- start of theirs would make the tail longer.
---@param items runner.Item[]
---@param front boolean?
function Schedule:add(items, front)
  for i = front and #items or 1, front and 1 or #items, front and -1 or 1 do
    local item = items[i]
    local queue = assert(self.queues[item.group], "unknown group")
    if front then
      queue.first = queue.first - 1
      queue[queue.first] = item
    else
      queue.last = queue.last + 1
      queue[queue.last] = item
    end
    self.pending = self.pending + 1
  end
end

local function length(queue) return queue.last - queue.first + 1 end

--- How many items a slot gets at once: half of its fair share of what is left.
local function batch_size(self, queue, individual)
  if individual then return 1 end
  return math.max(1, length(queue) // (2 * self.slots))
end

--- A batch should end where a file ends: its fixtures and imports are then paid once. Looks for the end of a file
--- between half and one and a half times the wanted size.
local function cut_at_file(queue, size)
  local low, high = math.max(1, size // 2), math.min(length(queue), size + size // 2)
  for distance = 0, high - low do
    for _, n in ipairs({ size - distance, size + distance }) do
      if n >= low and n <= high then
        local at, after = queue[queue.first + n - 1], queue[queue.first + n]
        if not after or after.file ~= at.file then return n end
      end
    end
  end
  return size
end

local function pop(queue)
  local item = queue[queue.first]
  queue[queue.first] = nil
  queue.first = queue.first + 1
  return item
end

--- The group a slot is served from: the one it works for already while that has work, else the first with work.
local function choose(self, preferred, provider)
  if preferred and self.queues[preferred] and length(self.queues[preferred]) > 0 then return preferred end
  for _, name in ipairs(self.groups) do
    local only_on = self.policies[name].only_on
    if length(self.queues[name]) > 0 and (not only_on or only_on[provider]) then return name end
  end
end

--- The groups that have items waiting.
---@return string[]
function Schedule:waiting()
  local names = {}
  for _, name in ipairs(self.groups) do
    if length(self.queues[name]) > 0 then names[#names + 1] = name end
  end
  return names
end

--- Leases the next batch to `slot`: items of one group.
---@param slot any identity of the slot
---@param options { group: string?, only: boolean?, provider: string?, sandbox: any?, picky: boolean? }
---   group: preferred; only: no other group; provider: name of the one that the slot belongs to;
---   sandbox: where the slot is; picky: leave what should avoid this sandbox to others
---@return runner.Item[]|nil items nil when there is nothing (for this slot)
function Schedule:lease(slot, options)
  local name = choose(self, options.group, options.provider)
  if not name or (options.only and name ~= options.group) then return nil end
  local queue, policy = self.queues[name], self.policies[name]
  local size = batch_size(self, queue, policy.individual)
  if size > 1 then size = cut_at_file(queue, size) end
  local items, passed = {}, {}
  while #items < size and length(queue) > 0 do
    local item = pop(queue)
    if item.avoid and item.avoid == options.sandbox and options.picky then
      passed[#passed + 1] = item
    else
      items[#items + 1] = item
    end
  end
  self.pending = self.pending - #items - #passed
  self:add(passed, true)
  if #items == 0 then return nil end
  local lease = self.leases[slot] or {}
  self.leases[slot] = lease
  for _, item in ipairs(items) do lease[item] = true end
  self.leased = self.leased + #items
  return items
end

local function unlease(self, slot, item)
  local lease = self.leases[slot]
  if not lease or not lease[item] then return false end
  lease[item] = nil
  self.leased = self.leased - 1
  return true
end

--- An item of `slot` has ended.
---@return boolean known false for a late or duplicate report, which must not count
function Schedule:finished(slot, item)
  return unlease(self, slot, item)
end

--- `slot` gave items back: they wait again, in front.
---@param items runner.Item[]
---@return integer accepted
function Schedule:returned(slot, items)
  local known = {}
  for _, item in ipairs(items) do
    if unlease(self, slot, item) then known[#known + 1] = item end
  end
  self:add(known, true)
  return #known
end

--- Empties the queue, or that of one group, when nothing more is to be handed out of it.
---@param group string?
---@return runner.Item[] what was pending
function Schedule:drain(group)
  local items = {}
  for _, name in ipairs(group and { group } or self.groups) do
    local queue = self.queues[name]
    while length(queue) > 0 do items[#items + 1] = pop(queue) end
  end
  self.pending = self.pending - #items
  return items
end

--- Nothing waits and nothing is leased.
---@return boolean
function Schedule:is_done()
  return self.pending == 0 and self.leased == 0
end

return M
