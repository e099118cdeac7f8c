--- Runs this very binary with a command line, inside a task.

local uv = require("luv")
local process = require("runner.process")

--- Run `runner ARGS…` in a folder.
---@param dir string
---@param ... string
---@return runner.ProcessResult
---@async
return function(dir, ...)
  local result = process.run({ uv.exepath(), ... }, { cwd = dir })
  assert(result.signal == 0, "ended by signal " .. result.signal .. ": " .. result.stderr)
  return result
end
