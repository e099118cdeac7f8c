--- What the specs of runner.http share: a folder for unix sockets, errors looked at, patience, plain servers.

local errors = require("runner.errors")
local task = require("runner.task")
local uv = require("luv")

local M = {}

--- A temporary folder, removed with what is in it when its scope ends.
---@return { path: string }
function M.folder()
  local path = assert(uv.fs_mkdtemp("/tmp/runner-http-XXXXXX"))
  return setmetatable({ path = path }, {
    __close = function()
      for name in uv.fs_scandir_next, uv.fs_scandir(path) do uv.fs_unlink(path .. "/" .. name) end
      uv.fs_rmdir(path)
    end,
  })
end

--- The error object that `fn(...)` raises.
---@return runner.Error
function M.failure(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "no error was raised")
  assert(errors.is(err), tostring(err))
  return err
end

--- Waits until `condition()` is true.
---@async
function M.wait_until(condition)
  local ok = task.deadline(20, function()
    while not condition() do task.sleep(0.001) end
  end)
  assert(ok, "the condition never came true")
end

--- A handler that answers with what the request was.
function M.echo(request, connection)
  local about = "X-Method: %s\r\nX-Target: %s\r\n"
  connection:respond(200, request.body, about:format(request.method, request.target))
end

--- A handler that sends bytes as they are, then the end.
function M.sends(bytes)
  return function(_, connection)
    connection:write(bytes)
    connection:finish()
  end
end

return M
