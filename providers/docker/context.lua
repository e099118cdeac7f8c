--- The context of an image's build: its files as .dockerignore leaves them, a hash of all that decides what the image
--- will hold, and a tar archive of it that is read while it is sent.

local uv = require("luv")
local errors = require("runner.base.errors")
local files = require("runner.base.files")
local ignore = require("providers.docker.ignore")
local path = require("runner.base.path")
local sync = require("runner.files.sync")
local tar = require("runner.base.tar")
local task = require("runner.base.task")

local M = {}

local CHUNK = 256 * 1024
local OUTSIDE = ".runner.Dockerfile" -- a Dockerfile from outside the context travels under this name

local function read_file(name)
  local file = io.open(name, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function unreadable(name, err)
  errors.raise("config", ("provider docker: cannot read %s: %s"):format(name, tostring(err)))
end

--- Calls `fn` with the bytes of a file, piece by piece.
local function each_chunk(name, fn)
  local fd, err = uv.fs_open(name, "r", 0)
  if not fd then unreadable(name, err) end
  local guard <close> = setmetatable({}, { __close = function() uv.fs_close(fd) end }) -- luacheck: ignore
  while true do
    local bytes, why = uv.fs_read(fd, CHUNK)
    if not bytes then unreadable(name, why) end
    if bytes == "" then return end
    fn(bytes)
  end
end

local function entry_of(root, name)
  local full = root .. "/" .. name
  local stat, err = uv.fs_lstat(full)
  if not stat then unreadable(full, err) end
  local mode = stat.mode & tonumber("7777", 8)
  if stat.type == "link" then
    return { name = name, type = "link", mode = mode, target = uv.fs_readlink(full) }
  elseif stat.type == "file" or stat.type == "directory" then
    return { name = name, type = stat.type, mode = mode, size = stat.size, path = full }
  end -- sockets and devices have no place in an image
end

--- The entries below `root` that are not ignored, sorted, so that equal contexts have equal archives.
local function walk(root, ignored, has_exceptions)
  local entries = {}
  local function visit(folder)
    task.checkpoint()
    local names, err = files.names(folder == "" and root or root .. "/" .. folder)
    if err then unreadable(root .. "/" .. folder, err) end
    for _, name in ipairs(names) do
      name = folder == "" and name or folder .. "/" .. name
      local out = ignored(name)
      local entry = (not out or has_exceptions) and entry_of(root, name)
      if entry and not out then entries[#entries + 1] = entry end
      if entry and entry.type == "directory" then visit(name) end
    end
  end
  visit("")
  return entries
end

---@class docker.Context
---@field dockerfile string its name in the archive
---@field text string of the Dockerfile
---@field entries runner.tar.Entry[]
local Context = {}
Context.__index = Context

--- Lists a context. Raises an error of kind "config" when something is missing or cannot be read.
---@param options { dockerfile: string?, context: string? }
---@param dir string what the paths are relative to
---@param settings runner.Config? its results change with each run: they stay out, or each run would build an image
---@return docker.Context
function M.new(options, dir, settings)
  local root = path.absolute(options.context or ".", dir)
  local dockerfile = path.absolute(options.dockerfile or (root .. "/Dockerfile"), dir)
  local stat = uv.fs_stat(root)
  if not stat or stat.type ~= "directory" then
    errors.raise("config", "provider docker: option context: there is no folder " .. root)
  end
  local text = read_file(dockerfile)
  if not text then errors.raise("config", "provider docker: there is no Dockerfile " .. dockerfile) end

  local name = dockerfile .. ".dockerignore" -- Docker takes this before the context's own
  if not uv.fs_stat(name) then name = root .. "/.dockerignore" end
  local ignored, has_exceptions = ignore.compile(read_file(name) or "", name)
  local inside = dockerfile:sub(1, #root + 1) == root .. "/" and dockerfile:sub(#root + 2)
  local self = setmetatable({ dockerfile = inside or OUTSIDE, text = text }, Context)
  -- The daemon needs the Dockerfile even where it is ignored.
  local is_result = sync.results_filter(root, settings or {})
  self.entries = walk(root, function(entry)
    return entry ~= inside and (ignored(entry) or is_result(entry))
  end, has_exceptions)
  local there = false
  for _, entry in ipairs(self.entries) do there = there or entry.name == self.dockerfile end
  if not there then
    self.entries[#self.entries + 1] = {
      name = self.dockerfile, type = "file", mode = 420, size = #text, path = dockerfile,
    }
  end
  return self
end

--- Feeds everything that decides about the image to `hash`: names, kinds, modes, targets, contents; not times.
---@param update fun(bytes: string)
function Context:feed(update)
  for _, entry in ipairs(self.entries) do
    task.checkpoint()
    update(("s4s4I4s4"):pack(entry.name, entry.type, entry.mode, entry.target or ""))
    if entry.type == "file" then each_chunk(entry.path, update) end
  end
end

--- The archive, as the body of a request: a function that gives pieces until nil.
---@return async fun(): string?
function Context:archive()
  return coroutine.wrap(function()
    for _, entry in ipairs(self.entries) do
      coroutine.yield(tar.head(entry))
      local sent = 0
      if entry.type == "file" then
        each_chunk(entry.path, function(bytes)
          -- What grows while it is sent is cut, and what shrinks filled: the archive stays one.
          bytes = bytes:sub(1, entry.size - sent)
          sent = sent + #bytes
          if bytes ~= "" then coroutine.yield(bytes) end
        end)
        while sent < entry.size do
          local zeros = ("\0"):rep(math.min(CHUNK, entry.size - sent))
          sent = sent + #zeros
          coroutine.yield(zeros)
        end
        if entry.size % 512 > 0 then coroutine.yield(tar.padding(entry.size)) end
      end
    end
    coroutine.yield(tar.END)
  end)
end

return M
