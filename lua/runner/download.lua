--- Files that tests leave behind in a sandbox: found by patterns after an attempt, fetched into
--- artifacts/<attempt>/… of the results folder. What was there before the tests, and what was fetched before, stays.
--- The sandbox is not trusted: no path of its leads out of the attempt's folder, no size passes its limit.

local uv = require("luv")
local attempt_log = require("runner.attempt_log")
local errors = require("runner.errors")
local hash = require("runner.core.hash")
local path = require("runner.path")
local system = require("runner.core.system")
local task = require("runner.task")

local M = { folder = "artifacts" } -- inside the results folder

local CREDIT_CHUNK = 64 * 1024
local STALL_S = 120
--- An attempt begins, here, when its host gets round to hearing of it; and time stamps of files are as coarse as clock
--- ticks. Better a file too many than one too few.
local SLACK_S = 0.5

---@class runner.Downloads of one sandbox
---@field package seen table<string, string> path → state (size, change, inode) that needs no fetching
---@field package stored table<string, string> path → hash of what was fetched last
local Downloads = {}
Downloads.__index = Downloads

-- One request, its frames handed to `on_frame` in this task -----------------------------------------------------------

local function converse(agent, name, fields, kind, on_frame)
  local inbox = task.channel()
  local transfer = agent:transfer(name, fields, {
    [kind] = function(f) inbox:put(f) end,
    done = function(err, value, errno) inbox:put({ type = "done", err = err, value = value, errno = errno }) end,
  })
  local ok, result = pcall(function()
    while true do
      local met, f = task.deadline(STALL_S, function() return inbox:get() end)
      if not met then errors.raise("transport", ("the agent has said nothing for %d s"):format(STALL_S)) end
      if f.type == "done" then
        if f.err then errors.raise(f.errno and "provider" or "transport", f.err) end
        return f.value
      end
      on_frame(f, transfer)
    end
  end)
  if ok then return result end
  transfer:send("stop")
  error(result, 0)
end

local function is_plain(name)
  if name == "" or name:find("%z") or path.leads_out(name) or #name > 4000 then return false end
  for part in (name .. "/"):gmatch("([^/]*)/") do
    if part == "" or part == "." or #part > 255 then return false end
  end
  return true
end

-- So many µs before the request; the agent counts from when it comes. What the host hears of is later by the way to it,
-- and so is the request: both ends come out later than they were by a round trip at most.
local function ago_us(hrtime, slack_s)
  return math.max(1, math.floor((uv.hrtime() - hrtime) / 1e3 + slack_s * 1e6))
end

--- What matches, and was last changed between two times of the host's clock.
---@return { path: string, size: integer, state: string }[] files
---@return boolean more there are more than the agent lists
local function list(self, since, till)
  local files, named = {}, {}
  local fields = {
    folder = self.sandbox.cwd, globs = self.options.globs,
    newer_us = since and ago_us(since, 2 * self.round_trip + SLACK_S) or 0,
    older_us = till and ago_us(till, 0) or 0,
  }
  local more = converse(self.sandbox.agent, "list", fields, "found", function(f)
    local at = 1
    while at <= #f.bytes do
      local ok, size, changed, inode, name, after = pcall(string.unpack, "<I8I8I8s4", f.bytes, at)
      if not ok then errors.raise("transport", "the agent sent a malformed FOUND") end
      if not is_plain(name) or size < 0 then
        errors.raise("transport", ("the agent named a file that leads out of its folder: %q"):format(name:sub(1, 200)))
      end
      at = after
      if not named[name] then
        named[name] = true
        files[#files + 1] = { path = name, size = size, state = ("%d %d %d"):format(size, changed, inode) }
      end
    end
    if #files > 2 * 10000 then errors.raise("transport", "the agent does not stop naming files") end
  end) == "more"
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

local function write_all(fd, bytes)
  while #bytes > 0 do
    local written, message = uv.fs_write(fd, bytes, -1)
    if not written then errors.raise("provider", message) end
    bytes = bytes:sub(written + 1)
  end
end

--- Fetches one file under a temporary name; it gets its own when it is whole, and is new.
---@param most integer bytes, should it have grown
---@return integer? size nil: its contents are known
local function fetch(self, file, folder, most)
  local target, temporary = folder .. "/" .. file.path, folder .. ".part"
  make_folders(folder, file.path)
  local fd, message = uv.fs_open(temporary, "wx", 420) -- 0644
  if not fd then errors.raise("provider", message) end
  local digest, size, owed = hash.new(), 0, 0
  local ok, err = pcall(converse, self.sandbox.agent, "get", {
    folder = self.sandbox.cwd, path = file.path, most = most,
  }, "data", function(f, transfer)
    size = size + #f.bytes
    if size > most then errors.raise("transport", "the agent sent more of a file than it has") end
    digest:add(f.bytes)
    write_all(fd, f.bytes)
    owed = owed + #f.bytes
    if owed >= CREDIT_CHUNK then
      transfer:send("credit", { bytes = owed })
      owed = 0
    end
  end)
  uv.fs_close(fd)
  local hashed = digest:digest()
  if not ok or self.stored[file.path] == hashed then
    uv.fs_unlink(temporary)
    if not ok then error(err, 0) end
    return nil
  end
  local renamed, why = uv.fs_rename(temporary, target)
  if not renamed then
    uv.fs_unlink(temporary)
    errors.raise("provider", why)
  end
  self.stored[file.path] = hashed
  return size
end

-- An attempt ----------------------------------------------------------------------------------------------------------

local function fetch_all(self, item, files, more)
  local run = self.sandbox.run
  local slug = attempt_log.slug(item.id, item.attempt)
  local folder = run.dir .. "/" .. M.folder .. "/" .. slug
  local total, left_out, made = 0, 0, false
  for _, file in ipairs(files) do
    local room, known = self.options.max - total, self.seen[file.path] == file.state
    if not known and file.size > room then
      left_out = left_out + 1
    elseif not known then
      if not made then make_folders(run.dir, M.folder .. "/" .. slug .. "/") end
      made = true
      local ok, size = pcall(fetch, self, file, folder, room)
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
  if sandbox.agent.plain then
    run.log("warning", "%s: no agent runs there: nothing is downloaded", sandbox.id)
    return nil
  end
  local self = setmetatable({
    sandbox = sandbox, options = options, seen = {}, stored = {}, queue = task.channel(), idle = task.event(),
  }, Downloads)
  sandbox.cwd = sandbox.cwd or sandbox.info.cwd
  local asked = uv.hrtime()
  task.await(function(resume) sandbox.agent:ping(resume) end)
  self.round_trip = (uv.hrtime() - asked) / 1e9
  for _, file in ipairs((list(self))) do self.seen[file.path] = file.state end
  run.downloading[self] = true
  run.body:spawn(function()
    local ok, err = pcall(work, self)
    self.idle:set(true)
    if not ok then error(err, 0) end
  end)
  return self
end

local function remove_tree(folder)
  local scan = uv.fs_scandir(folder)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local below = folder .. "/" .. name
    if system.lstat(below) == "directory" then remove_tree(below) else uv.fs_unlink(below) end
  end
  uv.fs_rmdir(folder)
end

--- Removes what earlier runs fetched; nothing else.
---@param dir string results folder, locked by this run
function M.clean(dir)
  local folder = dir .. "/" .. M.folder
  if system.lstat(folder) ~= "directory" then return end -- a link would lead into a stranger's
  local scan = uv.fs_scandir(folder)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local below = folder .. "/" .. name
    local ours = name:find("%-%x+%.attempt%d+$") or name:find("%-%x+%.attempt%d+%.part$")
    local kind = ours and system.lstat(below)
    if kind == "directory" then remove_tree(below) elseif kind then uv.fs_unlink(below) end
  end
  uv.fs_rmdir(folder) -- stays when somebody put something in
end

return M
