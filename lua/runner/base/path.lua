--- Paths as text.

local uv = require("luv")

local M = {}

--- An absolute path without `.`, `..`, doubled or final slashes. Symbolic links are not followed.
---@param path string
---@param base string? absolute folder that a relative path starts from; default: the current one
---@return string
function M.absolute(path, base)
  if path:sub(1, 1) ~= "/" then
    path = (base or assert(uv.cwd())) .. "/" .. path
  end
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return "/" .. table.concat(parts, "/")
end

--- Does the path, taken as relative, lead out of the folder that it starts from (or start elsewhere)?
---@param path string
---@return boolean
function M.leads_out(path)
  return path:sub(1, 1) == "/" or ("/" .. path .. "/"):find("/../", 1, true) ~= nil
end

--- The folder that holds an absolute path.
---@param path string
---@return string
function M.dirname(path)
  local dir = path:match("^(.+)/[^/]*$")
  return dir or "/"
end

return M
