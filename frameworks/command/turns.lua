--- Commands that write one and the same file take turns: those of all slots, and of all groups, of a sandbox.

local M = {}

--- By agent, then by what is written: those who wait, the one whose turn it is among them.
local queues = setmetatable({}, { __mode = "k" })

---@param agent table of the sandbox
---@param folder string in which the commands run
---@param paths string[] what they write
---@return fun(go: fun(leave: fun())) turn
function M.of(agent, folder, paths)
  local key = folder .. "\0" .. table.concat(paths, "\0")
  queues[agent] = queues[agent] or {}
  local queue = queues[agent][key] or {}
  queues[agent][key] = queue
  local function leave()
    table.remove(queue, 1)
    if queue[1] then queue[1](leave) end
  end
  return function(go)
    queue[#queue + 1] = go
    if #queue == 1 then go(leave) end
  end
end

return M
