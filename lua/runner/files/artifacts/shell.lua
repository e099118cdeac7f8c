--- Artifacts where no agent runs: a shell in the sandbox lists the files, and the provider copies them here, many in
--- one call. Which attempt wrote a file cannot be told by its time: what is new belongs to the one that ended.

local uv = require("luv")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local hash = require("runner.core.hash")
local system = require("runner.core.system")
local task = require("runner.base.task")

local M = {}

local FILES_MAX = 10000
local TEXT_MAX = 16 * 1024 * 1024
local WORDS_MAX = 64 * 1024 -- bytes of paths in one call: Linux takes 128 KiB in one argument
local HASH_STEP = 4 * 1024 * 1024

--- No path that `find` prints holds "//": so that ends a record, whatever the names are.
local SCRIPT = [[cd -- "$1" || exit 1; shift; command -v find >/dev/null && command -v stat >/dev/null || exit 127; ]]
  .. [[find "$@" -name .git -prune -o -type f -exec stat -c "%s %Z %i %n//" {} + 2>/dev/null; exit 0]]
local RECORD = "(%d+) (%d+) (%d+) (.-)//\n"

---@class runner.PlainFiles
local Source = {}
Source.__index = Source

--- Where to look for what a pattern means: the folder down to its first part that is not literal.
local function start_of(glob)
  local at = "."
  for part in glob:gmatch("[^/]+") do
    if part:find("[*?%[]") then return at end
    at = at .. "/" .. part
  end
  return at
end

---@param sandbox runner.Sandbox whose place can `download`
---@param globs string[]
---@return runner.PlainFiles
function M.new(sandbox, globs)
  local starts, seen = {}, {}
  for _, glob in ipairs(globs) do
    local start = start_of(glob)
    if not seen[start] then starts[#starts + 1] = start end
    seen[start] = true
  end
  return setmetatable({ sandbox = sandbox, folder = sandbox.cwd, globs = globs, starts = starts, parts = {} }, Source)
end

local function ask(self)
  local argv = { "sh", "-c", SCRIPT, "sh", self.folder, table.unpack(self.starts) }
  local parts, size = {}, 0
  local exit = task.await(function(resume)
    local command = self.sandbox.agent:spawn({
      argv = argv,
      on_output = function(_, stream, bytes)
        size = size + (stream == "stdout" and #bytes or 0)
        if stream == "stdout" and size <= TEXT_MAX then parts[#parts + 1] = bytes end
      end,
      on_exit = function(_, exit) resume(exit) end,
    })
    return function() command:kill(0) end
  end)
  if exit.kind == "exited" and exit.code == 0 then return table.concat(parts), size > TEXT_MAX end
  if exit.kind == "exited" and exit.code == 127 then
    errors.raise("transport", "the sandbox has no find or no stat: nothing is downloaded")
  end
  errors.raise("transport", "cannot list files: " .. exit_text.describe(exit))
end

local function matches(self, name)
  for _, glob in ipairs(self.globs) do
    if system.glob(glob, name) then return true end
  end
  return false
end

--- Calls `add` for each file that matches.
---@param add fun(path: string, size: integer, state: string)
---@return boolean more there are more than are listed
---@async
function Source:list(add)
  local text, more = ask(self)
  local count = 0
  for size, changed, inode, name in text:gmatch(RECORD) do
    name = name:gsub("^%./", "")
    if matches(self, name) then
      if count == FILES_MAX then return true end
      count = count + 1
      add(name, math.tointeger(tonumber(size)) or -1, ("%s %s %s"):format(size, changed, inode))
    end
  end
  return more
end

--- Copies files into a folder of ours, as calls of the provider's with many each.
---@param files { path: string }[]
---@param folder string absolute
---@async
function Source:bring(files, folder)
  local pairs_of_paths, words = {}, 0
  local function call()
    if #pairs_of_paths > 0 then self.sandbox.place.download(pairs_of_paths) end
    pairs_of_paths, words = {}, 0
  end
  self.parts = {}
  for i, file in ipairs(files) do
    local pair = { from = self.folder .. "/" .. file.path, to = ("%s/%d"):format(folder, i) }
    self.parts[file] = pair
    if not pair.from:find(":", 1, true) then -- REMOTE:LOCAL could not be taken apart
      if words + #pair.from + #pair.to > WORDS_MAX then call() end
      words = words + #pair.from + #pair.to + 8
      pairs_of_paths[#pairs_of_paths + 1] = pair
    end
  end
  call()
end

--- Gives a copied file its place. Raises an error of kind "provider" when it was not copied, or is not what was listed.
---@param file { path: string }
---@param target string absolute
---@param most integer bytes
---@return string digest
---@return integer size
---@async
function Source:receive(file, target, most)
  local pair = self.parts[file]
  local kind, _, size = system.lstat(pair.to)
  if pair.from:find(":", 1, true) then errors.raise("provider", "its name holds a colon") end
  if not kind then errors.raise("provider", "download_command did not copy it") end
  if kind ~= "file" then errors.raise("provider", "download_command made something else than a file of it") end
  if size > most then errors.raise("provider", "it has grown too large") end
  local started, message = hash.file(pair.to)
  if not started then errors.raise("provider", message) end
  local file_hash <close> = started
  local digest
  repeat
    digest, message = file_hash:step(HASH_STEP)
    if digest == nil then errors.raise("provider", message) end
    task.sleep(0)
  until digest
  local renamed, why = uv.fs_rename(pair.to, target)
  if not renamed then errors.raise("provider", why) end
  return digest, size
end

return M
