--- What discovery found, kept between runs under the content of all that it read: another content is another key, so a
--- stale entry cannot be found, let alone hide a new test. Only for sandboxes on this machine, whose files we see.

local uv = require("luv")
local cjson = require("cjson.safe")
local errors = require("runner.base.errors")
local file = require("runner.base.files")
local hash = require("runner.core.hash")
local system = require("runner.core.system")
local text = require("runner.base.text")

local M = {}

local EXPIRES_S = 30 * 24 * 3600 -- a project that was not listed for so long is asked again

--- Variables that differ from run to run, or from terminal to terminal, and on which no list of tests depends.
local PASSING = {
  COLUMNS = true, LINES = true, OLDPWD = true, PWD = true, SHLVL = true, SSH_CLIENT = true, SSH_CONNECTION = true,
  SSH_TTY = true, TERM_SESSION_ID = true, WINDOWID = true, XDG_SESSION_ID = true, _ = true,
}

--- What tests see of the environment, but for what is ours.
local function environment(ctx)
  local env = {}
  for _, variables in ipairs({ uv.os_environ(), ctx.sandbox.env }) do
    for name, value in pairs(variables) do
      if not PASSING[name] and not name:find("^RUNNER_") then env[name] = value end
    end
  end
  return env
end

--- One text for a value, whatever the order in which its keys were made.
local function canonical(value)
  if type(value) ~= "table" then return ("%s:%s"):format(math.type(value) or type(value), tostring(value)) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = canonical(key) .. "=" .. canonical(item) end
  table.sort(parts)
  for i, part in ipairs(parts) do parts[i] = #part .. "," .. part end
  return "{" .. table.concat(parts) .. "}"
end

--- So much of a project may be told by identity and time, and lie around it; with more it is not cached.
local MOST_UNSEEN = 20000

--- What the result depends on, as one text; what is missing counts, too. nil: it cannot be told.
---@param root string
---@param list string[] relative to it, or absolute
---@return string?
---@async
local function digest_of(root, list)
  local manifest = require("runner.files.sync.manifest")
  local inside, other = {}, {}
  for _, path in ipairs(list) do
    local kind, mode, size, mtime, ctime, inode = system.lstat(path:sub(1, 1) == "/" and path or root .. "/" .. path)
    if path:sub(1, 1) ~= "/" then
      inside[#inside + 1] = path
    else
      other[#other + 1] = { path, kind, mode, size, mtime, ctime, inode }
    end
  end
  return canonical(other) .. (#inside > 0 and manifest.build({ { root = root, paths = inside } }).digest or "")
end

--- The same of files outside, in a form for JSON.
local function state_of_others(root, list)
  return text.hex(hash.sha256(digest_of(root, list)))
end

--- The repository of which a project is but a folder: its tests may use what lies beside it.
local function repository_around(root)
  local folder = root
  while folder and folder ~= "" do
    if system.lstat(folder .. "/.git") then return folder ~= root and folder or nil end
    folder = folder:match("^(.*)/[^/]*$")
  end
end

--- Lists all of a project and of the repository around it, but for results and our history, which differ after each
--- run.
---@return boolean whether that is possible
---@async
local function add_project(ctx, root, listed)
  local listing, own = require("runner.files.sync.listing"), { ctx.settings.report and ctx.settings.report.dir }
  own[#own + 1] = ctx.settings.history and ctx.settings.history.path or nil
  local function is_in(path, folder) return path == folder or path:sub(1, #folder + 1) == folder .. "/" end
  local function is_own(path)
    for _, name in ipairs(own) do
      if is_in(path, name) then return true end
    end
    return false
  end
  local function all_of(folder)
    local paths = listing.project(folder, { skip = function(path) return is_own(folder .. "/" .. path) end }).paths
    return paths, listing.unseen(folder, paths, MOST_UNSEEN)
  end
  local function add(path)
    if not is_own(path) then listed[#listed + 1] = path end
  end
  local paths, unseen = all_of(root)
  if not unseen then return false end
  table.move(paths, 1, #paths, #listed + 1, listed)
  for _, path in ipairs(unseen) do add(path) end
  local around = repository_around(root)
  if not around then return true end
  paths, unseen = all_of(around)
  if not unseen or #paths > #listed + MOST_UNSEEN then return false end
  for _, path in ipairs(paths) do
    path = around .. "/" .. path
    -- What was listed by content stays so; of folders only the names count, and what is in them is named, too.
    if not is_in(path, root) and system.lstat(path) ~= "directory" then add(path) end
  end
  for _, path in ipairs(unseen) do
    if not is_in(path, root) then add(path) end
  end
  return true
end

---@class runner.CacheKey
---@field name string what is cached, one entry a project and name
---@field key any options and versions that the result depends on
---@field files string[]? what is read: below the working folder by content, absolute paths by identity and time
---@field project boolean? every file of the project (as git sees it) is read

local function path_of(root, name)
  return ("%s/discovery/%s.json"):format(file.cache_folder(), text.hex(hash.sha256(root .. "\0" .. name)):sub(1, 24))
end

--- Forgets what is kept: it has turned out to be wrong.
---@param ctx table of the framework
---@param name string
function M.forget(ctx, name)
  if file.cache_folder() and ctx.sandbox.is_host then os.remove(path_of(ctx.sandbox.cwd, name)) end
end

--- The cached value, or what `produce` returns, which is then kept. `produce` may raise, or return nil: not kept.
---@param ctx table of the framework
---@param key runner.CacheKey
---@param produce fun(): any, string[]? a value that JSON can hold; absolute paths of what was read besides `key.files`
---@return any value
---@async
function M.get(ctx, key, produce)
  local folder, root = file.cache_folder(), ctx.sandbox.cwd
  if ctx.settings.no_cache or not folder or not ctx.sandbox.is_host or root ~= ctx.settings.working_dir then
    return produce()
  end
  local ok, state = pcall(function()
    local listed = table.move(key.files or {}, 1, #(key.files or {}), 1, {})
    if key.project and not add_project(ctx, root, listed) then return nil end
    return digest_of(root, listed)
  end)
  if not ok and not errors.is(state, "provider") then error(state, 0) end
  if not ok or not state then return produce() end -- a file that cannot be read, say
  local digest = text.hex(hash.sha256(canonical({
    require("runner.version"), key.name, key.key, root, environment(ctx), state,
  })))
  local path = path_of(root, key.name)
  local entry = cjson.decode(file.read(path) or "")
  if type(entry) == "table" and entry.digest == digest and entry.value ~= nil and type(entry.read) == "table"
    and entry.state == state_of_others(root, entry.read) then
    uv.fs_utime(path, os.time(), os.time()) -- when it was last used
    return entry.value
  end
  local value, read = produce()
  read = read or {}
  local entry_text = value ~= nil and cjson.encode({
    digest = digest, value = value, read = read, state = state_of_others(root, read),
  })
  if entry_text and file.make_folder(folder .. "/discovery", 448) then -- 0700
    file.write(path, entry_text)
    file.expire(folder .. "/discovery", EXPIRES_S)
  end
  return value
end

return M
