--- What the binary runs: one command line, inside the root task, and an orderly end whatever happens.
--- `runner lua SCRIPT ARGS…` (hidden) runs a plain script inside this host instead; the specs run that way.

local uv = require("luv")

--- Closes every handle that is still open, so that the loop and the state can be closed cleanly.
local function close_handles()
  uv.walk(function(handle)
    if not handle:is_closing() then handle:close() end
  end)
  -- A stop asked for earlier makes `run` return at once; the handles must really be closed before the state is.
  while uv.loop_alive() do uv.run() end
end

local function run_script(script, ...)
  _G.arg = { [0] = script, ... }
  -- busted ends with os.exit, which would skip the clean-up above: it becomes an error that carries the status.
  local exit = {}
  os.exit = function(status) ---@diagnostic disable-line: duplicate-set-field
    exit.status = (status == true or status == nil) and 0 or status == false and 1 or status
    error(exit)
  end
  local chunk, message = loadfile(script)
  if not chunk then
    io.stderr:write("runner lua: ", message, "\n")
    return 70
  end
  local ok, err = xpcall(chunk, function(e)
    return e == exit and e or debug.traceback(tostring(e), 2)
  end, ...)
  if ok then return 0 end
  if err == exit then return exit.status end
  io.stderr:write("runner lua: ", tostring(err), "\n")
  return 70
end

---@param ... string the arguments after the program's name
---@return integer exit status
return function(...)
  collectgarbage("setpause", 180) -- percent (default: 200): of many tests most is kept to the end
  local status
  if ... == "lua" and select("#", ...) > 1 then
    status = run_script(select(2, ...))
  else
    local argv = { ... }
    status = require("runner.base.task").main(function() return require("runner.cli").main(argv) end)
  end
  close_handles()
  io.stdout:flush()
  return status
end
