--- Files that tests leave behind in a sandbox: found by patterns after an attempt, fetched into
--- artifacts/<attempt>/… of the results folder. What was there before the tests, and what was fetched before, stays.
--- The sandbox is not trusted: no path of its leads out of the attempt's folder, no size passes its limit.

local uv = require("luv")
local agent_files = require("runner.files.artifacts.agent")
local output_log = require("runner.results.output_log")
local errors = require("runner.base.errors")
local names_in = require("runner.base.files").names
local path = require("runner.base.path")
local plain_files = require("runner.files.artifacts.shell")
local system = require("runner.core.system")
local task = require("runner.base.task")

local M = { folder = "artifacts" } -- inside the results folder

local LISTED_MAX = 20000

---@class runner.Downloads of one sandbox
---@field package source runner.AgentFiles|runner.PlainFiles what finds and brings them
---@field package seen table<string, string> path → state (size, change, inode) that needs no fetching
---@field package stored table<string, string> path → hash of what was fetched last
local Downloads = {}
Downloads.__index = Downloads

local function is_plain(name)
  if name == "" or name:find("%z") or path.leads_out(name) or #name > 4000 then return false end
  for part in (name .. "/"):gmatch("([^/]*)/") do
    if part == "" or part == "." or #part > 255 then return false end
  end
  return true
end

--- What matches, and was last changed between two times of the host's clock, as far as that can be told.
---@return { path: string, size: integer, state: string }[] files
---@return boolean more there are more than are listed
local function list(self, since, till)
  local files, named = {}, {}
  local more = self.source:list(function(name, size, state)
    if not is_plain(name) or size < 0 then
      errors.raise("transport", ("the sandbox named a file that leads out of its folder: %q"):format(name:sub(1, 200)))
    end
    if named[name] then return end
    named[name] = true
    files[#files + 1] = { path = name, size = size, state = state }
    if #files > LISTED_MAX then errors.raise("transport", "the agent does not stop naming files") end
  end, since, till)
  table.sort(files, function(a, b) return a.path < b.path end)
  return files, more
end

local function make_folders(base, name)
  local at = base
  for part in name:gmatch("([^/]+)/") do
    at = at .. "/" .. part
    uv.fs_mkdir(at, 493) -- 0755
  end
end

--- Fetches one file under a temporary name; it gets its own when it is whole, and is new.
---@param slug string of the attempt
---@param most integer bytes, should it have grown
---@return integer? size nil: its contents are known
local function fetch(self, file, slug, most)
  local base, place = self.sandbox.run.dir, M.folder .. "/" .. slug
  local target, temporary = ("%s/%s/%s"):format(base, place, file.path), ("%s/%s.part"):format(base, place)
  make_folders(base, place)
  local ok, digest, size = pcall(self.source.receive, self.source, file, temporary, most)
  if not ok or self.stored[file.path] == digest then
    uv.fs_unlink(temporary)
    if not ok then error(digest, 0) end
    return nil
  end
  make_folders(base, place .. "/" .. file.path) -- not before: attempts that left nothing new have no folder
  local renamed, why = uv.fs_rename(temporary, target)
  if not renamed then
    uv.fs_unlink(temporary)
    errors.raise("provider", why)
  end
  self.stored[file.path] = digest
  return size
end

local function remove_tree(folder)
  for _, name in ipairs(names_in(folder)) do
    local below = folder .. "/" .. name
    if system.lstat(below) == "directory" then remove_tree(below) else uv.fs_unlink(below) end
  end
  uv.fs_rmdir(folder)
end

-- An attempt ----------------------------------------------------------------------------------------------------------

local function new_files(self, files)
  local new = {}
  for _, file in ipairs(files) do
    if self.seen[file.path] ~= file.state then new[#new + 1] = file end
  end
  return new
end

--- Those that are fetched, when they come all at once.
local function fitting(self, files)
  local chosen, total = {}, 0
  for _, file in ipairs(files) do
    if total + file.size <= self.options.max then
      chosen[#chosen + 1], total = file, total + file.size
    end
  end
  return chosen, #files - #chosen
end

local function fetch_all(self, item, files, more)
  local run = self.sandbox.run
  local slug = output_log.slug(item.id, item.attempt)
  local folder = run.dir .. "/" .. M.folder .. "/" .. slug
  local total, left_out = 0, 0
  files = new_files(self, files)
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    if self.source.bring then remove_tree(folder .. ".parts") end
  end })
  if self.source.bring then
    files, left_out = fitting(self, files)
    if #files > 0 then
      make_folders(run.dir, M.folder .. "/" .. slug .. ".parts/")
      self.source:bring(files, folder .. ".parts")
    end
  end
  for _, file in ipairs(files) do
    local room = self.options.max - total
    if file.size > room then
      left_out = left_out + 1
    else
      local ok, size = pcall(fetch, self, file, slug, room)
      if ok then
        self.seen[file.path] = file.state
      elseif errors.is(size, "provider") then -- gone, grown, or no room for it here
        run.log("warning", "%s: %s was not fetched: %s", item.id, file.path, tostring(size))
      else
        error(size, 0)
      end
      if ok and size then
        total = total + size
        run.bus:emit({
          event = "artifact", id = item.id, attempt = item.attempt, size = size,
          path = ("%s/%s/%s"):format(M.folder, slug, file.path),
        })
      end
    end
  end
  if left_out > 0 then
    run.log("warning", "%s: %d files were not fetched: together they are larger than download.max (%d bytes)",
      item.id, left_out, self.options.max)
  end
  if more then run.log("warning", "%s: more files match than are fetched at once", item.id) end
end

--- Fetches what an attempt left behind, in the background: the next test may be running, and what it has overwritten
--- meanwhile counts as its own. Where several slots share a folder, files go to whoever ended after they were written.
--- `close` waits for it.
---@param item runner.Item
---@param status string of the attempt
function Downloads:attempt_finished(item, status)
  if status == "lost" or self.closed or self.broken then return end
  if self.options.on == "failure" and (status == "passed" or status == "skipped") then return end
  local now = uv.hrtime()
  self.queue:put({ item = item, started = item.started or now, ended = now })
end

local function work(self)
  while true do
    local job = self.queue:get()
    if not job then return end
    local ok, err = pcall(function()
      local files, more = list(self, job.started, job.ended)
      fetch_all(self, job.item, files, more)
    end)
    task.checkpoint()
    if not ok then
      if not self.sandbox.lost then
        self.sandbox.run.log("warning", "%s: artifacts: %s", self.sandbox.id, tostring(err))
      end
      self.broken = errors.is(err, "transport") or not errors.is(err)
      if self.broken then return end
    end
  end
end

--- Waits for what is being fetched.
---@async
function Downloads:close()
  self.closed = true
  self.queue:close()
  self.sandbox.run.downloading[self] = nil
  self.idle:wait()
end

--- Remembers what matches now, so that it is not taken for something that a test made.
---@param sandbox runner.Sandbox
---@return runner.Downloads? nil when nothing is to be fetched
---@async
function M.open(sandbox)
  local run = sandbox.run
  local options = run.settings.download
  if not options or not run.dir or not run.body or run.collect_only then return nil end
  if sandbox.agent.plain and not sandbox.place.download then
    run.log("warning", "%s: no agent runs there: nothing is downloaded", sandbox.id)
    return nil
  end
  local self = setmetatable({
    sandbox = sandbox, options = options, seen = {}, stored = {}, queue = task.channel(), idle = task.event(),
  }, Downloads)
  sandbox.cwd = sandbox.cwd or sandbox.info.cwd
  self.source = sandbox.agent.plain and plain_files.new(sandbox, options.globs)
    or agent_files.new(sandbox.agent, sandbox.cwd, options.globs)
  for _, file in ipairs((list(self))) do self.seen[file.path] = file.state end
  run.downloading[self] = true
  run.body:spawn(function()
    local ok, err = pcall(work, self)
    self.idle:set(true)
    if not ok then error(err, 0) end
  end)
  return self
end

--- Removes what earlier runs fetched; nothing else.
---@param dir string results folder, locked by this run
function M.clean(dir)
  local folder = dir .. "/" .. M.folder
  if system.lstat(folder) ~= "directory" then return end -- a link would lead into a stranger's
  for _, name in ipairs(names_in(folder)) do
    local below = folder .. "/" .. name
    local ours = name:find("%-%x+%.attempt%d+$") or name:find("%-%x+%.attempt%d+%.parts?$")
    local kind = ours and system.lstat(below)
    if kind == "directory" then remove_tree(below) elseif kind then uv.fs_unlink(below) end
  end
  uv.fs_rmdir(folder) -- stays when somebody put something in
end

return M
