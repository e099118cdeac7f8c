--- Writes tar archives piece by piece, as POSIX has them since 2001: names of any length and bytes (pax headers),
--- files, folders and symbolic links. Nothing is read from the file system here.

local M = {}

local BLOCK = 512
local TYPES = { file = "0", link = "2", directory = "5", pax = "x" }
local NAME_MAX, LINK_MAX, SIZE_MAX = 100, 100, 8 ^ 11 - 1

local function octal(value, width)
  return ("%0" .. width - 1 .. "o\0"):format(value)
end

local function padded(text, width)
  return text .. ("\0"):rep(width - #text)
end

local function header(name, entry, size)
  local block = padded(name, 100) .. octal(entry.mode or 420, 8) .. octal(0, 8) .. octal(0, 8)
    .. octal(size, 12) .. octal(entry.mtime or 0, 12) .. (" "):rep(8) .. TYPES[entry.type]
    .. padded(entry.target or "", 100) .. "ustar\00000"
  block = padded(block, BLOCK)
  local sum = 0
  for i = 1, BLOCK do sum = sum + block:byte(i) end
  return block:sub(1, 148) .. ("%06o\0 "):format(sum) .. block:sub(157)
end

--- "LENGTH key=value\n", where the length counts itself.
local function record(key, value)
  local rest = #key + #value + 3
  local length = rest + #tostring(rest)
  if #tostring(length) > #tostring(rest) then length = length + 1 end
  return ("%d %s=%s\n"):format(length, key, value)
end

--- Zeros that fill the last block of `size` bytes.
---@param size integer
---@return string
function M.padding(size)
  return ("\0"):rep(-size % BLOCK)
end

---@class runner.tar.Entry
---@field name string relative path
---@field type "file"|"directory"|"link"
---@field mode integer? default 0644
---@field size integer? of a file
---@field target string? of a symbolic link
---@field mtime integer? seconds since 1970, default 0

--- The head of an entry; a file's bytes and `padding(size)` must follow.
---@param entry runner.tar.Entry
---@return string
function M.head(entry)
  local name, size = entry.name, entry.type == "file" and entry.size or 0
  if entry.type == "directory" and name:sub(-1) ~= "/" then name = name .. "/" end
  local target = entry.target or ""
  local records = ""
  if #name > NAME_MAX then records = records .. record("path", name) end
  if #target > LINK_MAX then records = records .. record("linkpath", target) end
  if size > SIZE_MAX then records = records .. record("size", ("%d"):format(size)) end
  local short = { type = entry.type, mode = entry.mode, mtime = entry.mtime, target = target:sub(1, LINK_MAX) }
  local own = header(name:sub(1, NAME_MAX), short, size > SIZE_MAX and 0 or size)
  if records == "" then return own end
  return header("pax", { type = "pax" }, #records) .. records .. M.padding(#records) .. own
end

--- What ends an archive.
M.END = ("\0"):rep(2 * BLOCK)

--- An archive of files that are in memory.
---@param files { name: string, bytes: string, mode: integer? }[]
---@return string
function M.of(files)
  local pieces = {}
  for _, file in ipairs(files) do
    local entry = { name = file.name, type = "file", mode = file.mode, size = #file.bytes }
    pieces[#pieces + 1] = M.head(entry) .. file.bytes .. M.padding(#file.bytes)
  end
  return table.concat(pieces) .. M.END
end

return M
