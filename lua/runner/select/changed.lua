--- Which files differ from a commit: changed, added, renamed, not yet known to git.

local errors = require("runner.base.errors")
local process = require("runner.io.process")

local M = {}

local LIMIT = 1 << 30

local function git(dir, ...)
  local ok, result = pcall(process.run, { "git", "-C", dir, ... }, { limit = LIMIT })
  if not ok then errors.raise("usage", "changed(): git is not installed, or cannot be started") end
  if result.code ~= 0 then
    errors.raise("usage", ("changed(): git says: %s"):format(result.stderr:match("[^\n]+") or "nothing"))
  end
  return result.stdout
end

--- Files that differ between the working tree and where it left `ref`, relative to `dir`. Raises kind "usage".
---@param dir string absolute
---@param ref string branch, tag or commit
---@return table<string, true>
---@async
function M.since(dir, ref)
  local commit = git(dir, "rev-parse", "--verify", "--quiet", "--end-of-options", ref .. "^{commit}"):match("%x+")
  -- What came to the other branch since is no change of ours.
  local ok, base = pcall(git, dir, "merge-base", commit, "HEAD")
  local files = {}
  local changed = git(dir, "diff", "--name-only", "-z", "--relative", ok and base:match("%x+") or commit, "--", ".")
  for path in changed:gmatch("%Z+") do files[path] = true end
  for path in git(dir, "ls-files", "-z", "--others", "--exclude-standard"):gmatch("%Z+") do files[path] = true end
  return files
end

return M
