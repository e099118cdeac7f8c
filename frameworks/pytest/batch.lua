--- What a pytest process that ran a batch of tests tells of them: which one runs, from its terminal lines, and how
--- each went, from its JUnit report. Pure, but for the reading of XML.

local junit = require("runner.junit")
local nodeid = require("runner.junit.nodeid")

local M = {}

local LINE_LIMIT = 8192

---@class pytest.Tracker
local Tracker = {}
Tracker.__index = Tracker

--- Follows the lines of `pytest -v`: "NODEID " when a test starts, "NODEID WORD …" when a phase of it ends.
---@param ids table<string, any> the node ids of the batch
---@param on_start fun(nodeid: string)
---@return pytest.Tracker has `words`, the last word of each test, and `current`, the test that runs
function M.tracker(ids, on_start)
  return setmetatable({ ids = ids, on_start = on_start, line = "", words = {} }, Tracker)
end

local function look(self, line)
  local found, rest
  for at in line:gmatch("() ") do
    local id = line:sub(1, at - 1)
    if self.ids[id] then found, rest = id, line:sub(at + 1) end
  end
  if not found then return end
  if self.current ~= found then
    self.current = found
    self.on_start(found)
  end
  local word = rest:match("^(%u+)")
  if word then self.words[found] = word end
end

---@param bytes string
function Tracker:feed(bytes)
  local text = self.line .. bytes
  local at = 1
  while true do
    local line_end = text:find("\n", at, true)
    if not line_end then break end
    if line_end - at <= LINE_LIMIT then look(self, text:sub(at, line_end - 1)) end
    at = line_end + 1
  end
  self.line = text:sub(at)
  if #self.line > LINE_LIMIT then self.line = self.line:sub(1, LINE_LIMIT) end
  if self.line:sub(-1) == " " then look(self, self.line) end
end

local WORDS = {
  PASSED = "passed", XPASS = "passed", FAILED = "failed", ERROR = "failed", SKIPPED = "skipped", XFAIL = "skipped",
}

--- The result of a test that ended, of which no report tells because the process did not live to write it.
---@param word string?
---@return table? result
function M.result_of_word(word)
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

--- Reads the report.
---@param xml string
---@return table<string, table[]> results by `nodeid.key`; a key has more than one when test ids do not tell them apart
---@return runner.junit.Summary
function M.read(xml)
  local results = {}
  local summary = junit.read({ bytes = xml, name = "pytest's report" }, function(case)
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
  return results, summary
end

return M
