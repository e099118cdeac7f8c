--- Result files: a command is wrapped in a script that brings what it wrote back behind its output, in the same
--- process, so that it works wherever a shell does and costs no round trip. On an agent the files come through the
--- control channel; where there is none, through stdout behind a mark that nobody can guess.
---
--- What lay there before is never taken for this command's: a file with a plain path is removed before, and of those
--- that a glob finds only the ones count that have another inode, size or time afterwards.

local marker = require("runner.base.marker")
local shell = require("runner.io.shell")
local system = require("runner.core.system")

local M = {}

local LINE_LIMIT = 16 * 1024 -- of what follows a mark: a path

--- $1$2: the mark. The command runs without our channel. TERM is for the command; we still bring back what there is.
local SCRIPT = [[
runner_mark=$1$2; shift 2
say() { printf '\n%%s %%s\n' "$runner_mark" "$1"; } >&%d
send() { say "file $1"; cat -- "$1"; } >&%d
list() { find -L "$1" -type f -path "$2" -exec stat -c '%%i %%s %%z %%n' {} + 2>/dev/null; }
runner_nl='
'
%s
trap : TERM
"$@" %s
runner_status=$?
%s
say "end $runner_status"
exit $runner_status
]]

local BEFORE_FILE = [[
runner_file=%s; rm -f -- "$runner_file"; [ ! -e "$runner_file" ] || { say "kept $runner_file"; exit 1; }
]]
local AFTER_FILE = [[
runner_file=%s; [ ! -f "$runner_file" ] || send "$runner_file"%s
]]
local BEFORE_GLOB = [[
runner_old%d="$runner_nl$(list %s %s)$runner_nl"
]]
-- `stat` prints: inode, size, date, time, zone, name.
local AFTER_GLOB = [[
list %s %s | while IFS= read -r runner_line; do
  runner_file=${runner_line#* * * * * }; [ -f "$runner_file" ] || continue
  case $runner_old%d in *"$runner_nl$runner_line$runner_nl"*) say "old $runner_file" ;; *) send "$runner_file" ;; esac
done
]]

--- Is it a glob, or a plain path?
---@param path string
---@return boolean
function M.is_glob(path)
  return path:find("[%*%?%[]") ~= nil
end

local function normal(path)
  return (path:gsub("^%./+", ""):gsub("//+", "/"))
end

--- A glob for `find -path`, whose * crosses slashes: it finds more than is meant, see `matches`.
local function for_find(glob)
  glob = normal(glob)
  local folder = glob:match("^([^%*%?%[]*)/") or (glob:sub(1, 1) == "/" and "/" or ".")
  if folder == "" then folder = "/" end
  local pattern = glob:gsub("%*%*/", "*"):gsub("%*+", "*")
  if folder == "." then pattern = "./" .. pattern end
  return shell.quote(folder:find("^%-") and "./" .. folder or folder), shell.quote(pattern)
end

--- Does a glob mean this path? * and ? within a part of it, [a-z], ** over parts.
---@param glob string
---@param path string
---@return boolean
function M.matches(glob, path)
  return system.glob(normal(glob), normal(path))
end

---@class command.Handlers
---@field output fun(stream: string, bytes: string) what the command printed
---@field file fun(path: string) a result file begins
---@field bytes fun(bytes: string) of that file
---@field old fun(path: string) a file that was there before and is as it was
---@field kept fun(path: string) a file that cannot be removed: nothing was run
---@field status fun(status: integer) the command's, as a shell has it

---@param paths string[] plain ones and globs
---@param own boolean they are ours, and go afterwards
---@param argv string[]
---@param plain boolean there is no control channel
---@return string[] argv of the script
---@return string mark
function M.wrap(paths, own, argv, plain)
  local before, after = {}, {}
  for i, path in ipairs(paths) do
    if M.is_glob(path) and not own then
      local folder, pattern = for_find(path)
      before[i] = BEFORE_GLOB:format(i, folder, pattern)
      after[i] = AFTER_GLOB:format(folder, pattern, i)
    else
      local quoted = shell.quote(path)
      before[i] = BEFORE_FILE:format(quoted)
      after[i] = AFTER_FILE:format(quoted, own and '; rm -f -- "$runner_file"' or "")
    end
  end
  local fd = plain and 1 or 3
  local script = SCRIPT:format(fd, fd, table.concat(before), plain and "" or "3>&-", table.concat(after))
  local first, second = marker.half(), marker.half()
  local wrapped = { "/bin/sh", "-c", script, "sh", first, second }
  table.move(argv, 1, #argv, #wrapped + 1, wrapped)
  return wrapped, first .. second
end

--- Takes apart what a wrapped command sends.
---@param border string its mark
---@param paths string[] what may come
---@param handlers command.Handlers
---@param plain boolean
---@return fun(stream: string, bytes: string) feed
---@return fun() finish no more bytes will come
function M.reader(border, paths, handlers, plain)
  local start, held, inside = "\n" .. border .. " ", "", nil

  local function wanted(path)
    for _, one in ipairs(paths) do
      if one == path or M.is_glob(one) and M.matches(one, path) then return true end
    end
    return false
  end

  local function word(line)
    local kind, rest = line:match("^(%l+) (.*)$")
    inside = "between"
    if kind == "file" then
      inside = wanted(rest) and "file" or "other"
      if inside == "file" then handlers.file(rest) end
    elseif kind == "end" then
      handlers.status(math.tointeger(tonumber(rest)) or 0)
    elseif (kind == "old" and wanted(rest)) or kind == "kept" then
      handlers[kind](rest)
    end
  end

  local function pass(bytes)
    if bytes == "" then return end
    if inside == "file" then handlers.bytes(bytes) elseif not inside then handlers.output("stdout", bytes) end
  end

  local function take(bytes)
    local text = held .. bytes
    held = ""
    while true do
      local at, after = text:find(start, 1, true)
      local line_end = at and text:find("\n", after, true)
      if not line_end then
        at = at and #text - at < LINE_LIMIT and at or marker.possible(text, start)
        pass(text:sub(1, at - 1))
        held = text:sub(at)
        return
      end
      pass(text:sub(1, at - 1))
      word(text:sub(after + 1, line_end - 1))
      text = text:sub(line_end + 1)
    end
  end

  local channel = plain and "stdout" or "control"
  return function(stream, bytes)
    if stream == channel then return take(bytes) end
    handlers.output(stream, bytes)
  end, function()
    pass(held)
    held = ""
  end
end

return M
