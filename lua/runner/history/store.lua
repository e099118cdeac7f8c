--- The file of a history: read into lines by key, changed under a lock, written whole.
---
--- What cannot be understood is never lost: a file with conflict markers, of a newer version, too large, or that is no
--- history at all is left as it is; of one with damaged lines a copy is kept beside it before it is written.

local uv = require("luv")
local files = require("runner.base.files")
local format = require("runner.history.format")
local merge = require("runner.history.merge")
local paths = require("runner.base.path")
local system = require("runner.core.system")

local M = {}

--- Larger files are not read: they would be no history that somebody can want.
M.LARGEST = 256 << 20

local MOST_RUNS = 200 -- that are described; samples of older ones still count
local PATIENCE_S = 20 -- for other runs that write the file
local POLL_MS = 10

---@class runner.history.Index
---@field limit integer samples of each outcome
---@field tests table<string, string> lines by key
---@field costs table<string, string>
---@field runs table<string, runner.history.Run> by key
---@field run_keys string[] sorted
---@field order string[] keys of tests as they stand in the file
---@field is_sorted boolean
---@field damaged integer lines that cannot be understood
---@field problem string? what is wrong with the file
---@field is_foreign boolean? it must not be written

---@return runner.history.Index
local function empty()
  return {
    tests = {}, costs = {}, runs = {}, run_keys = {}, order = {}, is_sorted = true, damaged = 0,
    limit = format.DEFAULT_SAMPLES,
  }
end

--- Runs and places that are not as fast as the reference.
---@param index runner.history.Index
---@return table<string, number> by run and place, as samples name them
function M.speeds(index)
  local speeds = {}
  for key, run in pairs(index.runs) do
    for i, place in ipairs(run.places) do
      if place[3] ~= 1 then speeds[i == 1 and key or key .. "." .. i] = place[3] end
    end
  end
  return speeds
end

-- Reading -----------------------------------------------------------------------------------------------------------

local MARKERS = { ["<<<<<<<"] = true, ["======="] = true, [">>>>>>>"] = true, ["|||||||"] = true }

--- A line that is not just as we write it: by hand, by another JSON writer, or damaged.
---@return string? kind
---@return string? key
---@return string? line as we write it
local function read_slowly(line)
  local test, key = format.read_test(line)
  if test then return "tests", key, format.test(key, test) end
  local cost, cost_key = format.read_cost(line)
  if cost then return "costs", cost_key, format.cost(cost_key, cost) end
end

--- Where an entry comes twice, as after a careless merge, both count.
local function enter(index, kind, key, line)
  local there = index[kind][key]
  if there then
    index.speeds = index.speeds or M.speeds(index) -- runs stand before tests
    local unite = kind == "tests" and merge.tests(index.limit, index.speeds) or merge.costs(index.limit)
    line = merge.line(nil, there, line, unite)
  elseif kind == "tests" then
    local order = index.order
    if index.is_sorted and #order > 0 and order[#order] > key then index.is_sorted = false end
    order[#order + 1] = key
  end
  index[kind][key] = line
end

local function read_line(index, line, number)
  if line:byte(-1) == 13 then line = line:sub(1, -2) end -- a checkout with other line ends
  local kind, key = format.recognise(line)
  if kind == "runs" then
    local run
    run, key = format.read_run(line)
    if run then
      if not index.runs[key] then index.run_keys[#index.run_keys + 1] = key end
      index.runs[key] = run
      return
    end
  elseif kind then
    return enter(index, kind, key, line)
  elseif MARKERS[line:sub(1, 7)] then
    index.is_foreign = true
    index.problem = index.problem or ("it has conflict markers (line %d)"):format(number)
    return
  end
  local mended
  kind, key, mended = read_slowly(line)
  if kind then return enter(index, kind, key, mended) end
  if line == "" or format.read_header(line) then return end -- of a careless merge
  index.damaged = index.damaged + 1
  index.first_damaged = index.first_damaged or number
end

--- The index of a file's text. Nothing is raised, whatever the text is.
---@param bytes string
---@return runner.history.Index
function M.parse(bytes)
  local index = empty()
  if bytes == "" then return index end
  local stop = bytes:find("\n", 1, true) or #bytes + 1
  local first = bytes:sub(1, stop - 1)
  local version, samples = format.read_header(first)
  if not version and not MARKERS[first:sub(1, 7)] then
    index.is_foreign, index.problem = true, "it is no history of runner"
    return index
  elseif version and version > format.VERSION then
    index.is_foreign = true
    index.problem = ("it is of version %d, and this runner knows version %d"):format(version, format.VERSION)
    return index
  end
  index.limit = samples or index.limit
  local at, number = version and stop + 1 or 1, version and 1 or 0
  while at <= #bytes do
    stop = bytes:find("\n", at, true) or #bytes + 1
    number = number + 1
    read_line(index, bytes:sub(at, stop - 1), number)
    at = stop + 1
  end
  table.sort(index.run_keys)
  if index.damaged > 0 and not index.problem then
    index.problem = ("%d of its lines %s damaged (the first is line %d)"):format(
      index.damaged, index.damaged == 1 and "is" or "are", index.first_damaged)
  end
  return index
end

local function unreadable(message)
  local index = empty()
  index.is_foreign, index.problem = true, message
  return index
end

--- Reads a file; one that does not exist is an empty history.
---@param path string
---@return runner.history.Index
function M.read(path)
  local stat, message, code = uv.fs_stat(path)
  if code == "ENOENT" or code == "ENOTDIR" then return empty() end
  if not stat then return unreadable(message) end
  if stat.type ~= "file" then return unreadable(stat.type == "directory" and "it is a folder" or "it is no file") end
  if stat.size > M.LARGEST then
    return unreadable(("it has %d MB; more than %d are not read"):format(stat.size >> 20, M.LARGEST >> 20))
  end
  local bytes, why = files.read(path)
  if not bytes then return unreadable(why) end
  return M.parse(bytes)
end

--- What three versions of a history become; see runner.history.merge.
---@param base runner.history.Index
---@param ours runner.history.Index
---@param theirs runner.history.Index
---@return runner.history.Index
function M.unite(base, ours, theirs)
  local index = empty()
  index.limit, index.is_sorted = math.max(ours.limit, theirs.limit), false
  for _, side in ipairs({ theirs, ours }) do
    for key, run in pairs(side.runs) do index.runs[key] = run end
  end
  local unite = { tests = merge.tests(index.limit, M.speeds(index)), costs = merge.costs(index.limit) }
  for kind, fn in pairs(unite) do
    for _, side in ipairs({ ours, theirs }) do
      for key in pairs(side[kind]) do
        index[kind][key] = merge.line(base[kind][key], ours[kind][key], theirs[kind][key], fn)
      end
    end
  end
  return index
end

-- Writing -----------------------------------------------------------------------------------------------------------

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- The order of the tests' lines: as it was, when nothing has to be put in.
local function order_of(index)
  local count = 0
  for _ in pairs(index.tests) do count = count + 1 end
  local kept = {}
  for _, key in ipairs(index.order) do
    if index.tests[key] then kept[#kept + 1] = key end
  end
  return index.is_sorted and #kept == count and kept or sorted_keys(index.tests)
end

---@param index runner.history.Index
---@return string
function M.render(index)
  local out = { format.header(index.limit) }
  for _, key in ipairs(sorted_keys(index.costs)) do out[#out + 1] = index.costs[key] end
  local runs = sorted_keys(index.runs)
  for i = math.max(1, #runs - MOST_RUNS + 1), #runs do out[#out + 1] = format.run(runs[i], index.runs[runs[i]]) end
  for _, key in ipairs(order_of(index)) do out[#out + 1] = index.tests[key] end
  out[#out + 1] = ""
  return table.concat(out, "\n")
end

--- The lock of a file that writers replace: whoever waited for the one that was there before tries again.
local function lock_of(path)
  local deadline = uv.hrtime() + PATIENCE_S * 1e9
  while true do
    local before = uv.fs_stat(path)
    if not before then
      local made, message = io.open(path, "ab")
      if not made then return nil, message end
      made:close()
    else
      local lock, message, code = system.lock(path)
      if lock then
        local now = uv.fs_stat(path)
        if now and now.ino == before.ino then return lock end
        lock:close()
      elseif code == "ENOLCK" or code == "ENOTSUP" or code == "ENOSYS" then
        return false
      elseif code ~= "EAGAIN" then
        return nil, message
      elseif uv.hrtime() > deadline then
        return nil, ("other runs have held it for %d s"):format(PATIENCE_S)
      else
        uv.sleep(POLL_MS) -- a run records at its end: there is nobody to hold up
      end
    end
  end
end

--- Reads, changes and writes a history as one step: of two runs at once, neither undoes what the other wrote.
---@param path string absolute
---@param change fun(index: runner.history.Index)
---@return boolean? ok
---@return string? problem why it was not written, or (when `ok`) where the damaged original is
function M.update(path, change)
  local stat = uv.fs_stat(path)
  if stat and stat.type ~= "file" then return nil, M.read(path).problem end
  local made, why = files.make_folder(paths.dirname(path))
  if not made then return nil, why end
  local lock, message = lock_of(path)
  if lock == nil then return nil, message end
  local held <close> = lock or nil -- luacheck: ignore
  if lock then files.tidy(path) end
  local index = M.read(path)
  if index.is_foreign then return nil, index.problem .. ": it was left as it is" end
  change(index)
  local text = M.render(index)
  if #text > M.LARGEST then
    return nil, ("it would have %d MB: fewer history.samples make it smaller"):format(#text >> 20)
  end
  local kept
  if index.damaged > 0 then
    kept = ("%s.damaged-%s"):format(path, os.date("!%Y%m%d-%H%M%S"))
    local ok, err = uv.fs_copyfile(path, kept)
    if not ok then return nil, ("a copy of the damaged file could not be kept: %s"):format(err) end
  end
  local ok, err = files.write(path, text)
  if not ok then return nil, err end
  return true, kept and ("its damaged original is kept as %s"):format(kept) or nil
end

return M
