-- The output of one attempt at one test: every byte goes to a file of its own, memory keeps only the
-- beginning and the end of each stream. One `open`, one `write` per chunk, one `close`.

local uv = require("luv")

local M = {
  keep = 8192, -- bytes kept of the beginning, and again of the end, of each stream
  folder = "logs", -- inside the results folder
}

--- Gets each disk error, once per results folder; replaced by the command line.
---@param message string
function M.warn(message)
  io.stderr:write("warning: ", message, "\n")
end

local told = {}
local written = {} -- by results folder: names of this process's logs

local function disk_failed(self, message)
  if self.fd then uv.fs_close(self.fd) end
  self.fd, self.failed = nil, true
  if told[self.dir] then return end
  told[self.dir] = true
  M.warn(("cannot write %s/%s: %s; the run goes on, output of tests may be incomplete")
    :format(self.dir, self.path, message))
end

-- FNV-1a, 64 bits: two tests whose names differ only where the file name cannot show it stay apart.
local function hash(s)
  local h = 0xcbf29ce484222325
  for i = 1, #s do
    h = (h ~ s:byte(i)) * 0x100000001b3
  end
  return ("%016x"):format(h)
end

--- The file name of an attempt: readable, at most 80 bytes of the id, safe on every file system.
---@param id string
---@param attempt integer
---@param is_copy boolean? of a copy that ran beside the attempt
---@return string
function M.file_name(id, attempt, is_copy)
  return M.slug(id, attempt) .. (is_copy and ".copy.log" or ".log")
end

--- The same without an ending: the name of a folder for what belongs to an attempt.
---@param id string
---@param attempt integer
---@return string
function M.slug(id, attempt)
  local slug = #id > 400 and id:sub(1, 200) .. "-" .. id:sub(-200) or id
  slug = slug:gsub("[^%w_.]+", "-"):gsub("^[-.]+", "")
  if #slug > 80 then
    slug = slug:sub(1, 40) .. slug:sub(-40)
  end
  return ("%s-%s.attempt%d"):format(slug ~= "" and slug or "test", hash(id), attempt)
end

--- Whether a file in the logs folder is one of ours, so that it may be removed.
---@param name string
---@return boolean
function M.is_log(name)
  return name:find("%-%x+%.attempt%d+%.log$") ~= nil or name:find("%-%x+%.attempt%d+%.copy%.log$") ~= nil
end

--- Whether this process wrote that log.
---@param dir string the results folder
---@param name string of a file in its logs folder
---@return boolean
function M.is_current(dir, name)
  return written[dir] ~= nil and written[dir][name] == true
end

---@class runner.KeptOutput the beginning and the end of a stream
---@field head string
---@field tail string? what follows, after `dropped` bytes that were left out
---@field dropped integer? bytes; nil when nothing is missing

local function keep(stream, bytes)
  local room = M.keep - stream.head_size
  if room > 0 then
    local part = #bytes <= room and bytes or bytes:sub(1, room)
    stream.head[#stream.head + 1] = part
    stream.head_size = stream.head_size + #part
    if #part == #bytes then return end
    bytes = bytes:sub(room + 1)
  end
  stream.rest = stream.rest + #bytes
  local tail = stream.tail
  tail[#tail + 1] = bytes
  stream.tail_size = stream.tail_size + #bytes
  if stream.tail_size > 4 * M.keep then
    local joined = table.concat(tail):sub(-M.keep)
    stream.tail, stream.tail_size = { joined }, #joined
  end
end

-- A cut inside a character would make two invalid bytes of it; at most three bytes are given up.
local function kept(stream)
  local head = table.concat(stream.head)
  if stream.rest == 0 then return { head = head } end
  local tail = table.concat(stream.tail)
  if stream.rest <= M.keep then return { head = head .. tail } end
  local lead = head:match("()[\xC2-\xF4][\x80-\xBF]?[\x80-\xBF]?$")
  if lead and not utf8.len(head, lead) then head = head:sub(1, lead - 1) end
  tail = tail:sub(-M.keep):gsub("^[\x80-\xBF][\x80-\xBF]?[\x80-\xBF]?", "")
  return {
    head = head,
    tail = tail,
    dropped = stream.head_size + stream.rest - #head - #tail,
  }
end

---@class runner.AttemptLog
local AttemptLog = {}
AttemptLog.__index = AttemptLog
AttemptLog.__name = "runner.results.output_log"

local function open_file(self)
  local path = self.dir .. "/" .. self.path
  -- Logs of an earlier run are overwritten, not removed first: making a file where one was removed a moment ago is what
  -- ext4 does most slowly (it shuns inodes freed in the last seconds), and is felt with thousands of tests.
  local fd, message, code = uv.fs_open(path, "w", 420) -- 0644
  if not fd and code == "ENOENT" then
    uv.fs_mkdir(self.dir .. "/" .. M.folder, 493) -- 0755
    fd, message = uv.fs_open(path, "w", 420)
  end
  local names = written[self.dir] or {}
  written[self.dir] = names
  names[self.path:sub(#M.folder + 2)] = true
  self.fd, self.has_file = fd, fd ~= nil
  if not fd then disk_failed(self, message) end
end

--- Begins the log of an attempt. The file is made at the first output: most tests print nothing, and thousands of
--- empty files are slow to make, to upload and to look through.
---@param dir string the results folder
---@param test { id: string }
---@param attempt integer from 1
---@param is_copy boolean?
---@return runner.AttemptLog
function M.open(dir, test, attempt, is_copy)
  return setmetatable({
    dir = dir,
    path = M.folder .. "/" .. M.file_name(test.id, attempt, is_copy),
  }, AttemptLog)
end

--- Appends output.
---@param stream "stdout"|"stderr"
---@param bytes string
function AttemptLog:write(stream, bytes)
  if bytes == "" then return end
  local state = self[stream]
  if not state then
    state = { head = {}, head_size = 0, tail = {}, tail_size = 0, rest = 0 }
    self[stream] = state
  end
  keep(state, bytes)
  if not self.fd and not self.failed then open_file(self) end
  while self.fd and bytes ~= "" do
    local size, message = uv.fs_write(self.fd, bytes, -1)
    if not size then return disk_failed(self, message) end
    bytes = size == #bytes and "" or bytes:sub(size + 1)
  end
end

--- Ends the log.
---@return { path: string?, stdout: runner.KeptOutput?, stderr: runner.KeptOutput? } `path` is relative
---  to the results folder, nil without a file of this attempt's; a stream without output is nil
function AttemptLog:close()
  if self.fd then uv.fs_close(self.fd) end
  self.fd, self.failed = nil, true
  return {
    path = self.has_file and self.path or nil, -- else it may be that of an earlier run
    stdout = self.stdout and kept(self.stdout),
    stderr = self.stderr and kept(self.stderr),
  }
end

--- Ends a log that nobody needs.
function AttemptLog:discard()
  local opened = self.fd ~= nil
  if opened then
    self:close()
    uv.fs_unlink(self.dir .. "/" .. self.path)
  end
  self.failed = true
end

--- Kept output as one text, with a line where bytes are missing.
---@param output runner.KeptOutput|string|nil
---@param log string? where the whole output is, for that line
---@return string text "" without output
function M.text(output, log)
  if type(output) ~= "table" then return output or "" end
  local head, tail = output.head or "", output.tail or ""
  if (output.dropped or 0) == 0 then return head .. tail end
  return ("%s%s[%d bytes left out%s]\n%s"):format(head, head:sub(-1) == "\n" and "" or "\n",
    output.dropped, log and ("; whole output: " .. log) or "", tail)
end

return M
