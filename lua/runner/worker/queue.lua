--- Holds the tests that were pushed to a worker and wait for its process: in order, some of them to be run alone. Gives
--- back what is asked for from its end. Pure.
---
--- A request to give something back that cannot be met now is answered later (`answer`), when a process begins or ends:
--- to say "nothing" would be asked again at once. What has started before and waits for another try is not given back:
--- it is the slot's to end.

local M = {}

---@class runner.WorkerQueue
---@field package items runner.Item[]
---@field package alone table<runner.Item, true> to be run in a process of its own
---@field package started table<runner.Item, true>
---@field package asked integer? so many are to be given back
local Queue = {}
Queue.__index = Queue

---@param report { returned: fun(items: runner.Item[]) }
---@param unit (fun(item: runner.Item): any)? tests of one unit run together and are given back together (default: each
---  is one by itself)
---@return runner.WorkerQueue
function M.new(report, unit)
  return setmetatable({
    report = report, unit = unit or function(item) return item end, items = {}, alone = {}, started = {},
  }, Queue)
end

---@return integer
function Queue:count() return #self.items end

---@return runner.Item?
function Queue:first() return self.items[1] end

---@param items runner.Item[]
function Queue:push(items)
  table.move(items, 1, #items, #self.items + 1, self.items)
end

--- Puts tests in front that a process has left without a result.
---@param items runner.Item[]
---@param ledger runner.Ledger of that process
function Queue:put_back(items, ledger)
  for _, item in ipairs(items) do
    if ledger:has_started(item) then self.started[item] = true end
  end
  table.move(self.items, 1, #self.items, #items + 1)
  table.move(items, 1, #items, 1, self.items)
end

--- These run in a process of their own from now on.
---@param items runner.Item[]
function Queue:isolate(items)
  for _, item in ipairs(items) do self.alone[item] = true end
end

--- Takes out the first, and all that run with it.
---@param fits (fun(chosen: runner.Item[], item: runner.Item): boolean)? does `item` go with these? (default: those of
---  its unit do)
---@return runner.Item[]
function Queue:next(fits)
  local first, chosen, rest = self.items[1], {}, {}
  local unit = first and self.unit(first)
  for _, item in ipairs(self.items) do
    local goes = item == first or not self.alone[first] and not self.alone[item]
    if goes and item ~= first then
      if fits then goes = fits(chosen, item) else goes = self.unit(item) == unit end
    end
    local list = goes and chosen or rest
    list[#list + 1] = item
  end
  self.items = rest
  return chosen
end

--- Takes out all.
---@return runner.Item[]
function Queue:drain()
  local items = self.items
  self.items = {}
  return items
end

--- Where the last unit begins; nil where one of it has started.
local function last_unit(self)
  local items, from = self.items, #self.items + 1
  local unit = items[1] and self.unit(items[#items])
  while from > 1 and self.unit(items[from - 1]) == unit do
    from = from - 1
    if self.started[items[from]] then return nil end
  end
  return from <= #items and from or nil
end

--- Gives back whole units from the end, so that none is begun twice. Not the one that is about to begin, unless all is
--- wanted back: workers that have not begun would take it from each other for ever.
---@param n integer
---@param is_busy boolean a process has tests: it will begin or end, and then is the time for an answer
function Queue:take(n, is_busy)
  local items, returned = self.items, {}
  local all = n >= #items
  while #returned < n do
    local from = last_unit(self)
    if not from or from == 1 and not all and not is_busy then break end
    table.move(returned, 1, #returned, #items - from + 2)
    table.move(items, from, #items, 1, returned)
    for i = #items, from, -1 do items[i] = nil end
  end
  if #returned == 0 and (is_busy or #items > 0) then self.asked = n else self.report.returned(returned) end
end

--- Meets a request that had to wait.
---@param is_busy boolean
function Queue:answer(is_busy)
  local asked = self.asked
  self.asked = nil
  if asked then self:take(asked, is_busy) end
end

return M
