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

local WORDS = {
  PASSED = "passed", XPASS = "passed", FAILED = "failed", ERROR = "failed", SKIPPED = "skipped", XFAIL = "skipped",
  SUBFAILED = "failed",
}

--- The word of a line behind a test's id. Parts of a test have words of their own, "SUBFAILED[part] (n=1)" and, with
--- pytest-subtests, "[part] (n=1) SUBFAIL": a part decides nothing, unless it failed.
local function word_of(rest)
  if rest:find("^SUBFAIL") or rest:find("^[%[(].*[%])] SUBFAIL") then return "SUBFAILED" end
  return rest:match("^(%u+)%f[%s(\0]")
end

---@class pytest.Tracker
---@field feed fun(bytes: string)
---@field words table<string, string> the last word of each test, or the first that says that it failed
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
    local word = word_of(rest)
    if word and WORDS[self.words[found]] ~= "failed" then self.words[found] = word end
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

--- The result of a test that ended, of which no report tells because the process did not live to write it.
local function result_of_word(word)
  local status = WORDS[word or ""]
  if not status then return nil end
  return {
    status = status, xfail = word == "XFAIL" or nil,
    message = status == "failed" and "it failed; pytest's report does not say why" or nil,
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

local RANK = { skipped = 1, passed = 2, failed = 3 }

--- The result of a test of which two cases of the report tell: it failed in its teardown, too, or several tests share
--- the name and no id tells them apart. The worst counts.
local function merged(a, b)
  local decisive = RANK[b.status] > RANK[a.status] and b or a
  return {
    status = decisive.status, message = decisive.message, type = decisive.type, reason = decisive.reason,
    xfail = decisive.xfail, trace = joined(a.trace, b.trace), duration = (a.duration or 0) + (b.duration or 0),
    stdout = joined(a.stdout, b.stdout), stderr = joined(a.stderr, b.stderr), name = a.name,
  }
end

--- Reads the report as it comes.
---@return fun(bytes: string) feed
---@return fun(): table<string, table>, boolean finish returns results by `nodeid.key`, each with the case's `name`, and
---  whether the report is whole
local function report_reader()
  local results, size = {}, 0
  local parser = junit.parser("pytest's report", function(case)
    local key, result = nodeid.joined(case.classname or "", case.name), result_of(case)
    result.name = case.classname and case.classname ~= "" and case.classname .. "." .. case.name or case.name
    results[key] = results[key] and merged(results[key], result) or result
  end)
  return function(bytes)
    size = size + #bytes
    if size <= REPORT_LIMIT then parser.feed(bytes) end
  end, function()
    local summary = parser.finish()
    return results, summary.complete
  end
end

--- Failures of the report that none of the batch's tests bears the name of: `record_xml_attribute` renames cases.
local function unclaimed(results, claimed)
  local list = {}
  for key, result in pairs(results) do
    if result.status == "failed" and not claimed[key] then list[#list + 1] = result end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
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

--- Whether `item` may be in one batch with `items`: not when the report would call two of them the same.
---@return fun(items: runner.Item[], item: runner.Item): boolean
function M.fits()
  local seen = setmetatable({}, { __mode = "k" }) -- by batch: how many of its items are in `keys`
  return function(items, item)
    local known = seen[items] or { count = 0, keys = {} }
    seen[items] = known
    for i = known.count + 1, #items do known.keys[nodeid.key(items[i].test.nodeid) or ""] = true end
    known.count = #items
    return not known.keys[nodeid.key(item.test.nodeid) or ""]
  end
end

--- What the report and the lines say of a test, together: what failed by either has failed.
---@param result table? of the report
---@param word string? of the lines
---@param strays table[] failures of the report that bear no test's name
local function reconciled(result, word, strays)
  local by_word = WORDS[word or ""]
  if not result or by_word == "failed" and result.status ~= "failed" then
    result = result_of_word(word)
    if by_word == "failed" and #strays == 1 then -- of several nobody knows which is whose
      local stray = table.remove(strays)
      result.message, result.type, result.trace = stray.message, stray.type, stray.trace
    end
  elseif result.status == "skipped" and by_word == "passed" then -- a part of it was
    result.status, result.reason, result.xfail = "passed", nil, nil
  end
  return result
end

local COVERAGE = "Required test coverage of"

--- A failure that the results do not show: one of no test's name, or an exit status that a hook has set.
local function tell_rest(exit, strays, failed, tail, sink)
  for _, stray in ipairs(strays) do
    sink.problem({ kind = "teardown", text = stray.trace,
      message = ("pytest reports a failure of %s, which is none of the tests it was given: %s")
        :format(stray.name, stray.message or "?") })
  end
  if failed or #strays > 0 or exit.kind ~= "exited" or exit.code == 0 or exit.timed_out then return end
  -- Of a batch alone pytest-cov cannot say what the run has covered.
  if exit.code == 1 and tail:find(COVERAGE, 1, true) then return end
  sink.problem({ kind = "teardown", text = tail,
    message = ("pytest ended with exit status %d, though none of its tests failed"):format(exit.code) })
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
    result.name = nil
    sink.finished(item, result)
  end

  local function ended(exit, done)
    -- Its time or its status say nothing of one test among others.
    if exit.kind == "signaled" and not exit.timed_out then suspects[1] = by_id[tracker.current] end
    local results, is_complete = results_of_report()
    local claimed = {}
    for id in pairs(by_id) do claimed[nodeid.key(id) or ""] = true end
    local strays, failed, is_whole = unclaimed(results, claimed), false, true
    for _, item in ipairs(items) do
      local id = item.test.nodeid
      local result, word = results[nodeid.key(id) or ""], tracker.words[id]
      if result or is_complete or id ~= tracker.current then result = reconciled(result, word, strays) end
      if result then tell(item, result) end
      failed, is_whole = failed or result and result.status == "failed", is_whole and result ~= nil
    end
    if is_whole then tell_rest(exit, strays, failed, tail:text(), sink) end
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
