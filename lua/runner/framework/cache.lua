--- What discovery found, kept between runs under the content of all that it read: another content is another key, so a
--- stale entry cannot be found, let alone hide a new test. Only for sandboxes on this machine, whose files we see.

local cjson = require("cjson.safe")
local errors = require("runner.errors")
local file = require("runner.file")
local hash = require("runner.core.hash")
local text = require("runner.text")

local M = {}

--- Variables that are ours and differ in each run.
local function is_ours(name) return name:find("^RUNNER_") ~= nil end

--- One text for a value, whatever the order in which its keys were made.
local function canonical(value)
  if type(value) ~= "table" then return ("%s:%s"):format(math.type(value) or type(value), tostring(value)) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = canonical(key) .. "=" .. canonical(item) end
  table.sort(parts)
  for i, part in ipairs(parts) do parts[i] = #part .. "," .. part end
  return "{" .. table.concat(parts) .. "}"
end

--- So much of a project may be told by identity and time; with more it is not cached.
local MOST_UNSEEN = 20000

--- What the result depends on, as one text; what is missing counts, too. nil: it cannot be told.
---@param root string
---@param list string[] relative to it, or absolute
---@return string?
---@async
local function digest_of(root, list)
  local manifest = require("runner.sync.manifest")
  local system = require("runner.core.system")
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

--- Lists all of a project, but for results and our history, which differ after each run.
---@return boolean whether that is possible
local function add_project(ctx, root, listed)
  local listing, own = require("runner.sync.listing"), { ctx.settings.report and ctx.settings.report.dir }
  own[#own + 1] = ctx.settings.history and ctx.settings.history.path or nil
  local function is_own(path)
    for _, name in ipairs(own) do
      if path == name or path:sub(1, #name + 1) == name .. "/" then return true end
    end
    return false
  end
  local paths = listing.project(root, { skip = function(path) return is_own(root .. "/" .. path) end }).paths
  local unseen = listing.unseen(root, paths, MOST_UNSEEN)
  table.move(paths, 1, #paths, #listed + 1, listed)
  for _, path in ipairs(unseen or {}) do
    if not is_own(path) then listed[#listed + 1] = path end
  end
  return unseen ~= nil
end

---@class runner.CacheKey
---@field name string what is cached, one entry a project and name
---@field key any options and versions that the result depends on
---@field files string[]? what is read: below the working folder by content, absolute paths by identity and time
---@field project boolean? every file of the project (as git sees it) is read

--- The cached value, or what `produce` returns, which is then kept. `produce` may raise, or return nil: not kept.
---@param ctx table of the framework
---@param key runner.CacheKey
---@param produce fun(): any a value that JSON can hold
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
  local env = { PATH = os.getenv("PATH") }
  for name, value in pairs(ctx.sandbox.env) do
    if not is_ours(name) then env[name] = value end
  end
  local digest = text.hex(hash.sha256(canonical({
    require("runner.version"), key.name, key.key, root, env, state,
  })))
  local path = ("%s/discovery/%s.json"):format(folder, text.hex(hash.sha256(root .. "\0" .. key.name)):sub(1, 24))
  local entry = cjson.decode(file.read(path) or "")
  if type(entry) == "table" and entry.digest == digest and entry.value ~= nil then return entry.value end
  local value = produce()
  local entry_text = value ~= nil and cjson.encode({ digest = digest, value = value })
  if entry_text and file.make_folder(folder .. "/discovery", 448) then file.write(path, entry_text) end -- 0700
  return value
end

return M
