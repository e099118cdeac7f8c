-- Reads JUnit XML, in the dialects that test runners really write, as a stream: each test case is handed on as soon as
-- its element ends, so memory is bounded by the largest case whatever the size of the report. What is whole counts: a
-- truncated or ill-formed file yields the cases before the damage and one problem that says where and why.
--
-- Strings are bytes: a report that smuggled control characters or invalid UTF-8 past the rules of XML is read all the
-- same, and they arrive as the test wrote them (`runner.text` makes them fit for showing).

local errors = require("runner.base.errors")
local case = require("runner.worker.formats.junit.case")
local xml = require("runner.core.xml")

local M = {}

---@class runner.junit.Suite
---@field name string?
---@field file string?
---@field hostname string?
---@field timestamp string? as written
---@field properties table<string, string>?
---@field package lists integer? how many <properties> it had
---@field stdout string? of the suite as a whole; like `stderr` often known only after its cases
---@field stderr string?
---@field parent runner.junit.Suite?

---@class runner.junit.Outcome one failed run of a test that was run again
---@field kind "failure"|"error"
---@field message string?
---@field type string?
---@field trace string?
---@field time number? seconds
---@field stdout string?
---@field stderr string?

---@class runner.junit.Case
---@field name string "" when the report gives none
---@field classname string?
---@field file string? the case's, else the nearest suite's that has one
---@field line integer? as the tool counts: pytest from 0, others from 1
---@field time number? seconds
---@field status "passed"|"failed"|"error"|"skipped"
---@field message string? of the failure, error or skip; else the first line of its text
---@field type string?
---@field trace string? the text of every failure and error
---@field stdout string?
---@field stderr string?
---@field properties table<string, string>? a repeated name has its values on lines of their own
---@field attachments string[]? paths from [[ATTACHMENT|path]] lines of the output
---@field reruns runner.junit.Outcome[]? later runs, of a test that never passed
---@field flaky runner.junit.Outcome[]? earlier runs, of a test that passed in the end
---@field suite runner.junit.Suite?
---@field source string path or name of the report

---@class runner.junit.Problem
---@field kind "lost"|"suite"|"mended"|"shortened" lost: results may be missing; suite: a failure outside any test;
--- mended: the report broke the rules of XML, nothing is lost; shortened: output was too long to keep
---@field source string path or name of the report
---@field message string one line
---@field code string? "lost": ETRUNCATED EXML EDOCTYPE EDEPTH ESIZE ENOTJUNIT, or of the file: ENOENT EISDIR …
---@field line integer?
---@field case string? "lost": the name of the case that was cut off
---@field suite string? "suite": its name
---@field text string? "suite": the whole text

---@class runner.junit.Summary
---@field cases integer
---@field passed integer
---@field failed integer
---@field error integer
---@field skipped integer
---@field time number seconds, the sum of what the cases say
---@field complete boolean every report was there and whole
---@field problems runner.junit.Problem[]

---@class runner.junit.Options
---@field text_limit integer? bytes kept of one text or attribute (default 1 MiB): of texts head and tail
---@field element_limit integer? bytes kept of one test case (default 16 MiB)
---@field depth_limit integer? how deep elements may be nested (default 200)

---@alias runner.junit.Source
---| string # path
---| { bytes: string, name: string? }
---| { read: fun(): string?; name: string? } # nil at the end; may await

local whole = { "testcase", "properties", "system-out", "system-err", "failure", "error" }
local roots = { testsuites = true, testsuite = true }
local AGAIN = {} -- more bytes are needed
-- What belongs to no case is kept while its suite is open: of each there is only so much.
local PROBLEMS_MAX = 1000
local LISTS_MAX = 100 -- <properties> of one suite

local mended = {
  { "controls", "%d character(s) that XML forbids" },
  { "invalid", "%d byte(s) that are no %s" },
  { "ampersands", "%d bare ampersand(s)" },
  { "brackets", "%d stray ]]> in text" },
}

local Reader = {}
Reader.__index = Reader

function Reader:problem(problem)
  problem.source = self.source
  local problems = self.summary.problems
  if #problems < PROBLEMS_MAX or problem.kind == "lost" then problems[#problems + 1] = problem end
  if problem.kind == "lost" then self.summary.complete = false end
end

--- An element that belongs to a suite, not to a case.
function Reader:suite_element(element, suite)
  local tag = element[0]
  if tag == "properties" then
    suite.lists = (suite.lists or 0) + 1
    if suite.lists <= LISTS_MAX then suite.properties = case.properties(element, suite.properties) end
  elseif tag == "system-out" then
    suite.stdout = case.join(suite.stdout, case.text(element))
  elseif tag == "system-err" then
    suite.stderr = case.join(suite.stderr, case.text(element))
  else
    local outcome = case.outcome(element, tag)
    self:problem({
      kind = "suite", suite = suite.name, text = outcome.trace or outcome.message,
      message = ("suite %s: %s"):format(suite.name or "without a name", outcome.message or tag),
    })
  end
end

local function new_suite(attributes, parent)
  return {
    name = attributes.name,
    file = attributes.file or attributes.filepath or (parent and parent.file),
    hostname = attributes.hostname, timestamp = attributes.timestamp, parent = parent,
  }
end

local function no_report(tag)
  return ("<%s> is no JUnit report: <testsuites> or <testsuite> expected"):format(tag:sub(1, 100)),
    "ENOTJUNIT"
end

--- Every event that is there. Returns "again" when it needs more bytes, else what ended it: nothing, or message, code,
--- unfinished, line.
function Reader:events(reader)
  local suites, depth = self.suites, self.depth -- suites[depth] encloses what comes next
  local summary, source, on_case, new = self.summary, self.source, self.on_case, case.new
  while true do
    local kind, a, b, c, d = reader:next()
    if kind == "element" then
      if a[0] == "testcase" then
        local result = new(a, suites[depth], source)
        local status, time = result.status, result.time
        summary.cases = summary.cases + 1
        summary[status] = summary[status] + 1
        if time then summary.time = summary.time + time end
        if b > 0 then self.left_out = self.left_out + 1 end
        on_case(result)
      elseif depth > 0 then
        self:suite_element(a, suites[depth])
      else
        return no_report(a[0])
      end
    elseif kind == "start" then
      if depth == 0 and not roots[a] then return no_report(a) end
      local parent = suites[depth]
      depth = depth + 1
      suites[depth] = roots[a] and new_suite(b, parent) or parent
    elseif kind == "end" then
      suites[depth] = nil
      depth = depth - 1
    elseif kind == nil then
      if b ~= "EAGAIN" then return a, b, c, d end
      self.depth = depth
      return AGAIN
    end
  end
end

function Reader:report_mended(reader)
  local tally, parts = reader:mended(), {}
  for _, rule in ipairs(mended) do
    local count = tally[rule[1]]
    if count > 0 then parts[#parts + 1] = rule[2]:format(count, tally.encoding) end
  end
  if tally.wrong_encoding then
    parts[#parts + 1] = ("encoding %s, unknown or not the one used: read as UTF-8"):format(
      tally.encoding)
  end
  if #parts > 0 then
    local message = "not well-formed, read all the same: " .. table.concat(parts, ", ")
    self:problem({ kind = "mended", message = message })
  end
  local shortened = tally.shortened + self.left_out
  if shortened > 0 then
    local message = ("%d attribute(s) or case(s) too long to keep whole"):format(shortened)
    self:problem({ kind = "shortened", message = message })
  end
end

function Reader:lost(message, code, unfinished, line)
  local name = unfinished and unfinished[0] == "testcase" and unfinished.name or nil
  self:problem({
    kind = "lost", code = code, line = line, case = name,
    message = message .. (line and (" (line %d)"):format(line) or "")
      .. (name and (", inside the case %q"):format(name:sub(1, 200)) or ""),
  })
end

function Reader:begin(name)
  self.source, self.suites, self.depth, self.left_out = name, {}, 0, 0
end

--- All that is there; true when the end, or the damage, has been reached.
function Reader:advance(reader)
  local message, code, unfinished, line = self:events(reader)
  if message == AGAIN then return false end
  if message then self:lost(message, code, unfinished, line) end
  self:report_mended(reader)
  return true
end

local function new_reader(on_case, options)
  local summary = {
    cases = 0, passed = 0, failed = 0, error = 0, skipped = 0, time = 0.0,
    complete = true, problems = {},
  }
  return setmetatable({ summary = summary, on_case = on_case }, Reader), {
    whole = whole, text_limit = options and options.text_limit, element_limit = options and options.element_limit,
    depth_limit = options and options.depth_limit,
  }
end

--- One string, then nil.
local function once(bytes)
  return function()
    local result = bytes
    bytes = nil
    return result
  end
end

function Reader:read(source, limits)
  if type(source) == "string" then
    self:begin(source)
    local reader, message, code = xml.open(source, limits)
    if not reader then return self:lost(message, code) end
    local open <close> = reader
    self:advance(open)
  elseif type(source) == "table" and (source.bytes or source.read) then
    self:begin(source.name or "report")
    local open <close> = xml.reader(limits)
    local more = source.read or once(source.bytes)
    while not self:advance(open) do open:feed(more()) end
  else
    errors.raise("internal", "a JUnit source is a path, { bytes = … } or { read = … }")
  end
end

--- Read reports, in the order given. `on_case` gets each case and may await; what it raises passes through.
---@param sources runner.junit.Source|runner.junit.Source[]
---@param on_case fun(case: runner.junit.Case)
---@param options runner.junit.Options?
---@return runner.junit.Summary
function M.read(sources, on_case, options)
  if type(sources) ~= "table" or sources.bytes or sources.read then sources = { sources } end
  local self, limits = new_reader(on_case, options)
  for _, source in ipairs(sources) do self:read(source, limits) end
  return self.summary
end

---@class runner.junit.Parser
---@field feed fun(bytes: string)
---@field finish fun(): runner.junit.Summary no more bytes will come

--- Read one report whose bytes come by themselves; `on_case` is called while they are fed.
---@param name string
---@param on_case fun(case: runner.junit.Case)
---@param options runner.junit.Options?
---@return runner.junit.Parser
function M.parser(name, on_case, options)
  local self, limits = new_reader(on_case, options)
  self:begin(name)
  local reader = xml.reader(limits)
  local over = self:advance(reader)
  local function feed(bytes)
    if over then return end
    reader:feed(bytes)
    over = self:advance(reader)
    if over then reader:close() end
  end
  return {
    feed = function(bytes)
      if bytes ~= "" then feed(bytes) end
    end,
    finish = function()
      feed(nil)
      return self.summary
    end,
  }
end

return M
