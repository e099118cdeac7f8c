--- Waits until `condition` holds, for what has no event of its own: the files and processes of other programs.

local uv = require("luv")
local task = require("runner.base.task")

---@param condition fun(): any
---@param seconds number? default 20
---@return any what it returned
---@async
return function(condition, seconds)
  local limit = uv.hrtime() + (seconds or 20) * 1e9
  while true do
    local value = condition()
    if value then return value end
    assert(uv.hrtime() < limit, "it never came to pass")
    task.sleep(0.005)
  end
end
