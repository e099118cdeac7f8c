--- The journal of live sandboxes: what a run has made elsewhere and a later `runner gc` has to remove if the run dies
--- before it could. One file a run in the user's state folder, locked while the run's process lives: a file that can be
--- locked belongs to a dead run. The operating system releases the lock however the process ended.
---
--- Lines of a file are JSON: {"add": n, …entry} and {"forget": n}. An entry is written before the thing is made,
--- or, if others name it, as soon as it has a name.

local cjson = require("cjson.safe")
local uv = require("luv")
local errors = require("runner.base.errors")
local files = require("runner.base.files")
local system = require("runner.core.system")
local text = require("runner.base.text")

local M = {}

local MODE_FOLDER, MODE_FILE = tonumber("700", 8), tonumber("600", 8)
local SUFFIX = ".ndjson"

---@class runner.journal.Entry
---@field provider string name of the provider that removes it
---@field [string] any what that provider needs for it

--- The user's folder for what outlives a run.
---@return string? absolute nil when the user has no home
function M.folder()
  local own = os.getenv("RUNNER_STATE_DIR")
  if own and own:sub(1, 1) == "/" then return own end
  local state = os.getenv("XDG_STATE_HOME")
  if state and state:sub(1, 1) == "/" then return state .. "/runner" end
  local home = os.getenv("HOME")
  return home and home ~= "" and home .. "/.local/state/runner" or nil
end

--- A folder inside the user's state folder, made when missing. Raises an error of kind "provider".
---@param name string?
---@return string absolute
function M.make_folder(name)
  local folder = M.folder()
  if not folder then
    errors.raise("provider", "no folder for the journal of sandboxes: set HOME or RUNNER_STATE_DIR")
  end
  local path, made, err = "", nil, nil
  for part in (name and folder .. "/" .. name or folder):gmatch("[^/]+") do
    path = path .. "/" .. part
    if not uv.fs_stat(path) then made, err = uv.fs_mkdir(path, MODE_FOLDER) end
  end
  local stat = uv.fs_stat(path)
  if not stat or stat.type ~= "directory" then
    local why = not made and err or "a file is there"
    errors.raise("provider", ("cannot make the folder %s: %s"):format(path, why))
  end
  return path
end

local function random_name()
  return text.hex(assert(uv.random(8)))
end

--- Names this user on this machine: sandboxes of others at the same place are none of our business.
---@return string
function M.owner()
  local path = M.make_folder() .. "/owner"
  local owner = (files.read(path) or ""):match("^%x+")
  if owner then return owner end
  -- Of two processes that come here at once, one makes the file and both read it.
  local own = path .. "." .. random_name()
  local file, err = io.open(own, "wb")
  if not file then errors.raise("provider", ("cannot write %s: %s"):format(own, err)) end
  file:write(random_name(), "\n")
  file:close()
  uv.fs_link(own, path)
  uv.fs_unlink(own)
  owner = (files.read(path) or ""):match("^%x+")
  if not owner then errors.raise("provider", "cannot read " .. path) end
  return owner
end

---@param run string
---@return string path
local function path_of(run)
  assert(run:find("^[%w._-]+$") and not run:find("^%."), "not the name of a run: " .. run)
  return M.make_folder("live") .. "/" .. run .. SUFFIX
end

-- The journals that this process writes, by run.
local own = {}

local function open(run)
  if own[run] then return own[run] end
  local path = path_of(run)
  for _ = 1, 10 do
    local lock, message, code = system.lock(path)
    if not lock and code ~= "EAGAIN" then
      errors.raise("provider", "cannot write the journal of sandboxes: " .. message)
    end
    -- `runner gc` may have removed the file between its opening and its locking.
    if lock and uv.fs_stat(path) then
      local fd, err = uv.fs_open(path, "a", MODE_FILE)
      if not fd then errors.raise("provider", "cannot write the journal of sandboxes: " .. err) end
      own[run] = { path = path, lock = lock, fd = fd, last = 0, live = 0 }
      return own[run]
    end
    if lock then lock:close() end
  end
  errors.raise("provider", ("the journal of sandboxes %s belongs to another process"):format(path))
end

local function write(journal, line)
  local written, err = uv.fs_write(journal.fd, assert(cjson.encode(line)) .. "\n")
  if not written then errors.raise("provider", ("cannot write %s: %s"):format(journal.path, err)) end
end

--- Notes that something is about to be made. Raises an error of kind "provider" when that cannot be written.
---@param run string
---@param entry runner.journal.Entry
---@return fun() forget to be called when it is gone
function M.add(run, entry)
  local journal = open(run)
  journal.last = journal.last + 1
  local id, line = journal.last, { add = journal.last }
  for key, value in pairs(entry) do line[key] = value end
  write(journal, line)
  journal.live = journal.live + 1
  return function()
    if not id then return end
    journal.live = journal.live - 1
    if journal.live > 0 then
      write(journal, { forget = id })
    else
      own[run] = nil
      uv.fs_unlink(journal.path)
      uv.fs_close(journal.fd)
      journal.lock:close()
    end
    id = nil
  end
end

-- Dead runs whose journals this process holds.
local held = {}

--- Does a process on this machine still run this?
---@param run string
---@return boolean
function M.is_alive(run)
  if own[run] then return true end
  if held[run] then return false end
  if not run:find("^[%w._-]+$") or run:find("^%.") then return false end
  local path = path_of(run)
  if not uv.fs_stat(path) then return false end
  local lock, _, code = system.lock(path)
  if lock then lock:close() end
  return code == "EAGAIN"
end

---@class runner.journal.Dead
---@field run string
---@field entries runner.journal.Entry[] what was not forgotten, in order
---@field package path string
---@field package lock runner.Lock
local Dead = {}
Dead.__index = Dead

--- What dead runs have left. Each is locked until `close`, so that nobody else cleans up after it at the same time.
---@return runner.journal.Dead[]
function M.dead()
  local list = {}
  local folder = M.folder()
  for _, name in ipairs(folder and files.names(folder .. "/live") or {}) do
    local run = name:sub(-#SUFFIX) == SUFFIX and name:sub(1, -#SUFFIX - 1)
    local path = folder .. "/live/" .. name
    local lock = run and not own[run] and system.lock(path)
    if lock then
      local entries, order = {}, {}
      for json in (files.read(path) or ""):gmatch("[^\n]+") do
        local line = cjson.decode(json) -- the last may be cut short
        if type(line) == "table" and line.add then
          entries[line.add], order[#order + 1] = line, line.add
        elseif type(line) == "table" and line.forget then
          entries[line.forget] = nil
        end
      end
      local dead = setmetatable({ run = run, entries = {}, path = path, lock = lock }, Dead)
      for _, id in ipairs(order) do dead.entries[#dead.entries + 1] = entries[id] end
      held[run] = true
      list[#list + 1] = dead
    end
  end
  table.sort(list, function(a, b) return a.run < b.run end)
  return list
end

--- Nothing is left of the run.
function Dead:remove()
  uv.fs_unlink(self.path)
  self:close()
end

function Dead:close()
  held[self.run] = nil
  self.lock:close()
end

return M
