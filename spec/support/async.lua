--- `it("…", async(function() … end))`: the test runs as the root task of a fresh loop run, and fails when it leaves a
--- uv handle open. Handles are not garbage: a leak here is a leak in the product.

local uv = require("luv")
local task = require("runner.base.task")

local function open_handles()
  local open = {}
  uv.walk(function(handle)
    if not handle:is_closing() then open[#open + 1] = tostring(handle) end
  end)
  return open
end

---@param fn async fun()
---@return fun()
return function(fn)
  return function()
    local before = #open_handles()
    task.main(fn)
    uv.run("nowait") -- lets closing handles finish
    local after = open_handles()
    assert(#after <= before, "handles left open: " .. table.concat(after, ", "))
  end
end
