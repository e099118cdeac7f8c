--- What the specs of runner.http share: a folder for unix sockets, errors looked at, patience, plain servers.

local errors = require("runner.base.errors")
local project = require("spec.support.project")
local uv = require("luv")

local M = { wait_until = require("spec.support.eventually") }

--- A temporary folder, removed with what is in it when its scope ends.
---@return { path: string }
function M.folder()
  local path = assert(uv.fs_mkdtemp("/tmp/runner-http-XXXXXX"))
  return setmetatable({ path = path }, {
    __close = function() project.remove(path) end,
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
