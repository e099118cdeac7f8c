--- Who may run now: many at once, or one alone. In the order in which they came.

local M = {}

---@class runner.Gate
---@field package running integer
---@field package is_closed boolean one runs alone
---@field package queue { alone: boolean, fn: fun(leave: fun()) }[]
local Gate = {}
Gate.__index = Gate

---@return runner.Gate
function M.new()
  return setmetatable({ running = 0, is_closed = false, queue = {} }, Gate)
end

local function pump(self)
  while true do
    local head = self.queue[1]
    if not head or self.is_closed or head.alone and self.running > 0 then return end
    table.remove(self.queue, 1)
    self.running, self.is_closed = self.running + 1, head.alone
    local left = false
    head.fn(function()
      if left then return end
      left = true
      self.running, self.is_closed = self.running - 1, false
      pump(self)
    end)
  end
end

--- Calls `fn` when it may run, at once or later; `fn` calls what it is given at its end.
---@param alone boolean
---@param fn fun(leave: fun())
function Gate:enter(alone, fn)
  table.insert(self.queue, { alone = alone, fn = fn })
  pump(self)
end

local shared = setmetatable({}, { __mode = "k" })

--- The gate that all groups of a sandbox share under a name.
---@param agent table of the sandbox
---@param name string
---@return runner.Gate
function M.of(agent, name)
  shared[agent] = shared[agent] or {}
  shared[agent][name] = shared[agent][name] or M.new()
  return shared[agent][name]
end

return M
