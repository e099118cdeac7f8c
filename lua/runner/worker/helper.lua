--- Brings a file of ours to where a test tool runs that is to load it. Where commands find no files of one another,
--- each command brings it along and takes it away again.

local host = require("runner.core.host")
local marker = require("runner.base.marker")

local M = {}

-- $1: folder, $2: name, $3: contents
local SCRIPT = [[runner_helper=$1; mkdir -m 700 -- "$1" && printf %s "$3" >"$1/$2" || exit 126; shift 3; ]]
  .. [["$@"; runner_status=$?; rm -rf -- "$runner_helper"; exit $runner_status]]

---@class runner.Helper
---@field argv fun(build: fun(path: string): string[]): string[] of a command that finds the file at `path`

---@param ctx table of the framework
---@param resource string path of the file in this repository
---@return runner.Helper
---@async
function M.place(ctx, resource)
  local name, source = resource:match("[^/]*$"), host.resource(resource)
  local place = ctx.agent.place
  if not (place and place.stateless) then
    local path = ("%s/%s"):format(ctx.tmpdir(), name)
    ctx.put(path, source)
    return { argv = function(build) return build(path) end }
  end
  return { argv = function(build)
    local folder = "/tmp/runner-" .. marker.half()
    local argv = { "/bin/sh", "-c", SCRIPT, "sh", folder, name, source }
    local inner = build(folder .. "/" .. name)
    return table.move(inner, 1, #inner, #argv + 1, argv)
  end }
end

return M
