--- What a pytest process that ran a batch of tests tells of them: which one runs, from its terminal lines, and how
--- each went, from its JUnit report, which comes behind them. Pure, but for the reading of XML.
---
--- Results wait for the report, which pytest writes at its end. If it does not get that far, the lines say how those
--- tests went that ended before.

local junit = require("runner.worker.formats.junit")
local lines = require("runner.worker.lines")
local marker = require("runner.base.marker")
local nodeid = require("runner.worker.formats.junit.nodeid")
local tails = require("runner.base.tail")

local M = {}

local LINE_LIMIT = 8192
local TAIL = 64 * 1024
local REPORT_LIMIT = 256 * 1024 * 1024

---@class pytest.Tracker
---@field feed fun(bytes: string)
---@field words table<string, string> the last word of each test
---@field begun table<string, true> what `on_start` was called for
---@field current string? the test that runs

--- Follows the lines of `pytest -v`: "NODEID " when a test starts, "NODEID WORD …" when a phase of it ends.
---
--- A provider may pass on whole lines only, or blocks, and then the last test that it told of is long over. So tests
--- start when one is told of that has not ended: nothing but pytest's own flush cuts its output there.
---@param ids table<string, any> the node ids of the batch
---@param on_start fun(nodeid: string) called once for each, if at all
---@return pytest.Tracker
function M.tracker(ids, on_start)
  local self, seen, waiting = { words = {}, begun = {} }, {}, {}

  --- What the line says of a test: nil, nothing; "", that it runs.
  local function look(line)
    local found, rest
    for at in line:gmatch("() ") do
      local id = line:sub(1, at - 1)
      if ids[id] then found, rest = id, line:sub(at + 1) end
    end
    if not found then return nil end
    self.current = found
    self.words[found] = rest:match("^(%u+)%f[%s(\0]") or self.words[found]
    if not seen[found] then waiting[#waiting + 1] = found end
    seen[found] = true
    return rest
  end

  local function start()
    for _, id in ipairs(waiting) do
      self.begun[id] = true
      on_start(id)
    end
    waiting = {}
  end

  local feed, pending = lines.reader(function(line)
    if #line <= LINE_LIMIT then look(line) end
  end)
  function self.feed(bytes)
    feed(bytes)
    local line = pending()
    if #line > LINE_LIMIT then
      pending(line:sub(1, LINE_LIMIT))
    elseif line:sub(-1) == " " and look(line) == "" then
      start()
    end
  end
  return self
end

local WORDS = {
  PASSED = "passed", XPASS = "passed", FAILED = "failed", ERROR = "failed", SKIPPED = "skipped", XFAIL = "skipped",
}

--- The result of a test that ended, of which no report tells because the process did not live to write it.
local function result_of_word(word)
  local status = WORDS[word or ""]
  if not status then return nil end
  return {
    status = status, xfail = word == "XFAIL" or nil,
    message = status == "failed" and "it failed; why is lost with the report that pytest could not write" or nil,
  }
end

--- The headings that pytest puts above what was captured, and sections with nothing below theirs, say nothing.
local function without_headers(text)
  if not text then return nil end
  text = ("\n" .. text):gsub("\n%-+ Captured %a+ %-+%f[\n\0]", "\n"):gsub("^\n+", "")
  return text:find("%S") and text or nil
end

local function result_of(case)
  local result = { duration = case.time, message = case.message, type = case.type, trace = case.trace }
  if case.status == "skipped" then
    result.status, result.reason = "skipped", case.message
    result.xfail = case.type == "pytest.xfail" or nil
    result.message, result.type, result.trace = nil, nil, nil
  else
    result.status = case.status == "passed" and "passed" or "failed"
  end
  result.stdout, result.stderr = without_headers(case.stdout), without_headers(case.stderr)
  return result
end

local function joined(a, b)
  return a and b and a .. "\n" .. b or a or b
end

--- Reads the report as it comes.
---@return fun(bytes: string) feed
---@return fun(): table<string, table[]> finish returns results by `nodeid.key`; a key has more than one when test ids
---  do not tell them apart
local function report_reader()
  local results, size = {}, 0
  local parser = junit.parser("pytest's report", function(case)
    local key = nodeid.joined(case.classname or "", case.name)
    local list = results[key] or {}
    results[key] = list
    local result, last = result_of(case), list[#list]
    -- A test that failed and whose teardown failed, too, has a second case.
    if last and last.status == "failed" and case.status == "error" then
      last.trace = joined(last.trace, result.trace)
      last.duration = (last.duration or 0) + (result.duration or 0)
    else
      list[#list + 1] = result
    end
  end)
  return function(bytes)
    size = size + #bytes
    if size <= REPORT_LIMIT then parser.feed(bytes) end
  end, function()
    parser.finish()
    return results
  end
end

--- Everything up to the border is pytest's, what follows its line the report's. A terminal in between ends lines with
--- "\r\n".
local function splitter(border, on_terminal, on_report)
  local held, is_behind, is_report = "", false, false
  local function behind(bytes)
    if not is_report then bytes = bytes:gsub("^%s+", "") end
    is_report = is_report or bytes ~= ""
    on_report(bytes)
  end
  return function(bytes)
    if is_behind then return behind(bytes) end
    local text = held .. bytes
    local at, last = text:find(border, 1, true)
    at = at or marker.possible(text, border)
    on_terminal(text:sub(1, at - 1))
    held, is_behind = text:sub(at), last ~= nil
    if last then behind(text:sub(last + 1)) end
  end
end

---@param border string what stands between the output and the report, on a line of its own
---@param items runner.Item[]
---@param sink runner.BatchSink
---@return runner.BatchReader
function M.reader(border, items, sink)
  local by_id, tail, suspects = {}, tails.new(TAIL), {}
  for _, item in ipairs(items) do by_id[item.test.nodeid] = item end
  local tracker = M.tracker(by_id, function(id) sink.started(by_id[id]) end)
  local feed_report, results_of_report = report_reader()
  local feed = splitter(border, function(bytes)
    tail:add(bytes)
    tracker.feed(bytes)
  end, feed_report)

  local function tell(item, result)
    if not tracker.begun[item.test.nodeid] then sink.started(item) end
    for _, stream in ipairs({ "stdout", "stderr" }) do
      if result[stream] then sink.output(item, stream, result[stream]) end
      result[stream] = nil
    end
    sink.finished(item, result)
  end

  local function ended(exit, done)
    -- Its time or its status say nothing of one test among others.
    if exit.kind == "signaled" and not exit.timed_out then suspects[1] = by_id[tracker.current] end
    local results = results_of_report()
    for _, item in ipairs(items) do
      local id = item.test.nodeid
      local list = results[nodeid.key(id)] or {}
      local result = table.remove(list, 1) or id ~= tracker.current and result_of_word(tracker.words[id])
      if result then tell(item, result) end
    end
    done()
  end

  return {
    output = function(stream, bytes)
      if stream == "stdout" then feed(bytes) else tail:add(bytes) end
    end,
    ended = ended,
    suspects = function() return suspects end,
    tail = function() return tail:text() end,
  }
end

return M
