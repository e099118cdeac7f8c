--- Calls a function from the loop, never from inside the caller.

local uv = require("luv")

---@param fn fun()
---@return uv_timer_t timer to be closed by who no longer wants the call
return function(fn)
  local timer = uv.new_timer()
  timer:start(0, 0, function()
    timer:close()
    fn()
  end)
  return timer
end
