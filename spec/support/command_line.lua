--- Runs this very binary with a command line, inside a task: `runner(dir, "run")` to its end,
--- `runner.start(dir, "run")` in the background.

local uv = require("luv")
local process = require("runner.io.process")
local task = require("runner.base.task")

local M = {}

local running = {}

--- Starts `runner ARGS…` in a folder. What it prints goes to the file `printed` there.
---@param dir string
---@param ... string
---@return integer pid
---@return runner.Event done set to { code, signal }
function M.start(dir, ...)
  local done = task.event()
  local fd = assert(uv.fs_open(dir .. "/printed", "w", 420))
  local handle, pid
  handle, pid = uv.spawn(uv.exepath(), { args = { ... }, cwd = dir, stdio = { nil, fd, fd } }, function(code, signal)
    handle:close()
    running[pid] = nil
    done:set({ code = code, signal = signal })
  end)
  uv.fs_close(fd)
  assert(handle, pid)
  running[pid] = true
  return pid, done
end

--- Ends what a spec has started and left because it failed.
function M.kill_all()
  for pid in pairs(running) do uv.kill(pid, "sigkill") end
  running = {}
end

--- Runs `runner ARGS…` in a folder to its end.
---@param dir string
---@param ... string
---@return runner.ProcessResult
---@async
local function run(dir, ...)
  local result = process.run({ uv.exepath(), ... }, { cwd = dir })
  assert(result.signal == 0, "ended by signal " .. result.signal .. ": " .. result.stderr)
  return result
end

return setmetatable(M, { __call = function(_, ...) return run(...) end })
