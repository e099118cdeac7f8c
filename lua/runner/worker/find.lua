--- Files in a sandbox, by globs: * and ? within a part of a path, [a-z], ** over parts.

local call = require("runner.agent.call")
local system = require("runner.core.system")

local M = {}

local LIMIT = 64 * 1024 * 1024 -- bytes of names

--- Where to look: the folder above the first part that is not plain, and how deep.
local function start_of(glob)
  local plain = glob:match("^(.*)/[^/]*$") or "."
  if plain:find("[%*%?%[]") then plain = plain:match("^([^%*%?%[]*)/") or "." end
  local rest = plain == "." and glob or glob:sub(#plain + 2)
  if plain == "" then plain = "/" end
  local _, slashes = rest:gsub("/", "")
  return plain, not glob:find("**", 1, true) and slashes + 1 or nil
end

--- The programs (executable files) that match a glob, in order of their names.
---@param ctx table of the framework
---@param glob string relative to the sandbox's folder, or absolute
---@return string[] paths as the glob would name them
---@return string said what went wrong on the way
---@async
function M.programs(ctx, glob)
  glob = glob:gsub("^%./+", ""):gsub("//+", "/")
  local folder, depth = start_of(glob)
  local argv = { "find", "-L", folder:find("^%-") and "./" .. folder or folder }
  if depth then table.move({ "-maxdepth", tostring(depth) }, 1, 2, #argv + 1, argv) end
  table.move({ "-type", "f", "-perm", "-u+x", "-print0" }, 1, 5, #argv + 1, argv)
  local called = call.run(ctx, { argv = argv, limit = LIMIT })
  if called.exit.kind ~= "exited" or called.too_much then call.check(called, "find") end
  local list = {}
  for path in called.stdout:gmatch("[^%z]+") do
    path = path:gsub("^%./", "")
    if system.glob(glob, path) then list[#list + 1] = path end
  end
  table.sort(list)
  return list, called.stderr
end

return M
