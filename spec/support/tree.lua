--- Trees of files for the specs of runner.sync: made, described, changed at random.

local uv = require("luv")
local hash = require("runner.core.hash")
local project = require("spec.support.project")
local system = require("runner.core.system")

local M = { remove = project.remove }

function M.write(path, bytes, mode)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  file:close()
  if mode then assert(uv.fs_chmod(path, mode)) end
end

--- path → what is there, as text (long contents by their hash): two trees are the same when these are.
---@return table<string, string>
function M.describe(root, prefix, result)
  prefix, result = prefix or "", result or {}
  local scan = assert(uv.fs_scandir(root .. "/" .. prefix))
  for name in function() return (uv.fs_scandir_next(scan)) end do
    local path = prefix .. name
    local full = root .. "/" .. path
    local kind, mode = system.lstat(full)
    if kind == "directory" then
      result[path] = ("folder %o"):format(mode)
      M.describe(root, path .. "/", result)
    elseif kind == "link" then
      result[path] = "link " .. uv.fs_readlink(full)
    else
      local bytes = project.read(full)
      if #bytes > 60 then bytes = ("%d bytes %s"):format(#bytes, ("%q"):format(hash.sha256(bytes))) end
      result[path] = ("file %o %s"):format(mode, bytes)
    end
  end
  return result
end

local NAMES = { "a", "b", "a-b", "a b", "ä", "new\nline", "\255", ".hidden", "-x", "a.b", "*", "[", "'", "~" }

--- Makes or unmakes one thing somewhere in the tree.
---@param random fun(n: integer): integer
function M.change(root, random)
  local folder = root
  while random(3) > 1 do
    local below = folder .. "/" .. NAMES[random(#NAMES)]
    if system.lstat(below) ~= "directory" then break end
    folder = below
  end
  local path = folder .. "/" .. NAMES[random(#NAMES)]
  local what = random(8)
  if what <= 2 then M.remove(path) end
  if system.lstat(path) == "directory" and what ~= 3 then return end
  if what <= 5 then
    M.remove(path)
    M.write(path, ("x"):rep(random(4) == 1 and random(200000) or random(30)), ({ 420, 493, 384, 292 })[random(4)])
  elseif what == 6 then
    M.remove(path)
    assert(uv.fs_symlink(NAMES[random(#NAMES)], path))
  else
    M.remove(path)
    assert(uv.fs_mkdir(path, 493))
  end
end

return M
