-- The results folder. What is in it may be all that somebody has, so the rules are strict:
--
-- * A folder that was missing or empty becomes ours: it gets the marker file `.runner-results`.
-- * A folder of somebody else (`.`, `$HOME`, an artefacts folder) gets our files beside theirs, but
--   only if nothing of theirs has one of our names; else it is an error.
-- * Only in a folder with the marker are files of an earlier run removed, and of those only the names
--   that a run makes: `events.ndjson`, the JUnit report, the trace, and attempt logs in `logs/`.
-- * The marker is locked for the run. A second run waits a moment, then takes the folder `DIR-2`
--   (`DIR-3`, …) under the same rules, and says so.

local uv = require("luv")
local output_log = require("runner.results.output_log")
local errors = require("runner.base.errors")
local event_log = require("runner.results.event_log")
local files = require("runner.base.files")
local json_array = require("runner.results.trace.json_array")
local path = require("runner.base.path")
local system = require("runner.core.system")

local M = {
  MARKER = ".runner-results",
  EVENTS = "events.ndjson",
  REPORTS = { junit = "junit.xml", trace = "trace.json" }, -- unless they have other names
}

local marker_text = [[
This folder holds results of runner. The next run removes what this one made: events.ndjson, the
JUnit report, the trace, and the logs of attempts in logs/. Nothing else in here is touched.
]]

local patience = 1 -- seconds to wait for another run to leave the folder
local most_siblings = 100

---@class runner.ResultsDir
---@field path string absolute
local ResultsDir = {}
ResultsDir.__index = ResultsDir
ResultsDir.__name = "runner.results_dir"

local function fail(dir, problem, hint)
  errors.raise("config", ("results folder %s: %s"):format(dir, problem), {
    key = "report.dir", hint = hint or "choose another one with report.dir or --output-dir",
  })
end

local function exists(name)
  return uv.fs_lstat(name) ~= nil
end

--- What a run makes in the folder, by the names that are to be found there.
---@param options { junit: string|false|nil, trace: string|false|nil }
---@return string[]
function M.names(options)
  local names = { M.EVENTS, output_log.folder }
  if options.junit then names[#names + 1] = options.junit end
  if options.trace then table.move({ options.trace, json_array.beside(options.trace) }, 1, 3, #names + 1, names) end
  return names
end

--- The event log that somebody names: itself, or the folder that it is in.
---@param name string
---@return string
function M.log(name)
  local stat = uv.fs_stat(name)
  return stat and stat.type == "directory" and name .. "/" .. M.EVENTS or name
end

--- The name of the trace that a run made, which its event log tells: runs make one when they are asked to.
---@param log string
---@return string? name inside the folder
function M.trace(log)
  local first = event_log.at(log, 0)
  local name = first and first.trace
  return type(name) == "string" and not path.leads_out(name) and name or nil
end

local function is_empty(dir)
  local names, message = files.names(dir)
  if message then fail(dir, message) end
  return #names == 0
end

-- Whether the folder may be used at all; for a stranger's, whether our files fit in.
local function check(dir, options)
  local stat = uv.fs_stat(dir)
  if stat and stat.type ~= "directory" then fail(dir, "is not a folder") end
  if exists(dir .. "/" .. M.MARKER) or is_empty(dir) then return end
  for _, name in ipairs(M.names(options)) do
    if exists(dir .. "/" .. name) then
      fail(dir, ("runner did not make it (it has no %s), and it already holds %s")
        :format(M.MARKER, name))
    end
  end
end

local function remove_old_logs(dir)
  local folder = dir .. "/" .. output_log.folder
  local stat = uv.fs_lstat(folder)
  if not stat or stat.type ~= "directory" then return end -- a link would lead into a stranger's
  for _, name in ipairs(files.names(folder)) do
    if output_log.is_log(name) and not output_log.is_current(dir, name) then
      uv.fs_unlink(folder .. "/" .. name)
    end
  end
  uv.fs_rmdir(folder) -- stays when somebody put something in
end

-- Removes what an earlier run made, but for its logs: the run overwrites them, and `close` removes the rest.
-- Only called under the lock, in a folder with the marker.
local function clean(dir, options)
  local earlier = { trace = M.trace(dir .. "/" .. M.EVENTS) }
  for _, made in ipairs({ options, earlier }) do
    for _, name in ipairs(M.names(made)) do
      local file = dir .. "/" .. name
      local stat = uv.fs_lstat(file)
      if stat and stat.type ~= "directory" then uv.fs_unlink(file) end
    end
  end
end

--- Removes the logs of earlier runs and lets other runs use the folder. Twice is harmless.
function ResultsDir:close()
  if self.closed then return end
  self.closed = true
  remove_old_logs(self.path)
  if self.lock then self.lock:close() end
end
ResultsDir.__close = ResultsDir.close

local function write_marker(dir)
  local file = io.open(dir .. "/" .. M.MARKER, "r+b")
  if not file then return end
  if file:seek("end") == 0 then file:write(marker_text) end -- a full disk: the name is what counts
  file:close()
end

-- The lock; nil when another run holds it; false where the file system knows no locks.
local function take(dir, wait)
  local deadline = uv.hrtime() + wait * 1e9
  while true do
    local lock, message, code = system.lock(dir .. "/" .. M.MARKER)
    if lock then return lock end
    if code == "ENOLCK" or code == "ENOTSUP" or code == "ENOSYS" then return false end
    if code ~= "EAGAIN" then fail(dir, message) end
    if uv.hrtime() >= deadline then return nil end
    uv.sleep(20) -- nothing of the run has begun yet: there is nobody to hold up
  end
end

--- Opens the results folder for a run: made, locked, and free of the results of the run before.
--- Raises an error of kind "config" when it cannot be used; nothing was changed then.
---@param dir string absolute
---@param options { junit: string|false|nil, trace: string|false|nil, wait: number?, warn: fun(message: string)? }
---  `junit`, `trace`: names of reports inside the folder; `wait`: seconds for another run to end, default 1
---@return runner.ResultsDir results to be closed; `results.path` is the folder
function M.open(dir, options)
  local wanted = dir
  for number = 1, most_siblings do
    if number > 1 then dir = ("%s-%d"):format(wanted, number) end
    local made, message = files.make_folder(dir)
    if not made then fail(dir, message) end
    -- A sibling that belongs to somebody else is passed over; the folder that was asked for is not.
    local ok, err = pcall(check, dir, options)
    if not ok and number == 1 then error(err, 0) end
    local lock = nil
    if ok then lock = take(dir, number > 1 and 0 or options.wait or patience) end
    if lock ~= nil then
      local warn = options.warn or output_log.warn
      if lock == false then
        warn(("results folder %s: its file system has no locks; another run in it would spoil both")
          :format(dir))
      end
      if number > 1 then
        warn(("another run uses %s; the results of this one are in %s"):format(wanted, dir))
      end
      write_marker(dir)
      clean(dir, options)
      return setmetatable({ path = dir, lock = lock or nil }, ResultsDir)
    end
  end
  fail(wanted, "other runs use it and its siblings")
end

return M
