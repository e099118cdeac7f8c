--- Follows the output of a GoogleTest program: which test runs, what it prints, how it ends.
---
--- GoogleTest writes its own lines where its listener stands in the output, even in the middle of a line that a test
--- left open. A line counts only when the state allows it and it names the test in question to the letter, so that a
--- test which prints such lines (those of a program that it starts, say) confuses nobody.

local exit_text = require("runner.io.exit_text")
local exit_result = require("runner.worker.exit_result")
local tail = require("runner.base.tail")

local M = {}

local HEADS = {
  ["[ RUN      ] "] = "run", ["[       OK ] "] = "passed", ["[  FAILED  ] "] = "failed", ["[  SKIPPED ] "] = "skipped",
  ["[----------] "] = "suite", ["[==========] "] = "suite",
}
local HEAD_BYTES = 13
local KEPT = 128 * 1024 -- bytes of a test's output, its end, in which failures are looked for
local MESSAGE_BYTES = 4000
local NAME_BYTES = 64 * 1024
local FAILURE = "Failure"

-- What GoogleTest and its main() say of themselves.
local OWN = { "^Running main%(%) from ", "^Note: Google Test filter = ", "^%[", "^%s*$" }

local function is_own(line)
  for _, pattern in ipairs(OWN) do
    if line:find(pattern) then return true end
  end
  return false
end

local function is_head_begun(text)
  for head in pairs(HEADS) do
    if head:sub(1, #text) == text then return true end
  end
  return false
end

--- What GoogleTest says in the first place at which it uses a word: "FILE:LINE: WORD", then lines of text.
---@return string? where
---@return string? what
local function statement(text, word)
  local at, stop = text:find(": " .. word .. "\n", 1, true)
  if not at then return nil end
  local what = text:sub(stop + 1, stop + MESSAGE_BYTES)
  local next_one = what:match("\n()[^\n]+:%d+: %u%l+\n") or what:match("\n()unknown file: Failure\n")
  if next_one then what = what:sub(1, next_one - 1) end
  return text:sub(1, at - 1):match("[^\n]*$"), (what:gsub("^%s+", ""):gsub("%s+$", ""))
end

--- The first failure. What the test left on the line before it is cut off when the test's file is known.
local function failure_message(text, file)
  local where, what = statement(text, FAILURE)
  if not where then return nil end
  return where:sub(file and where:find(file, 1, true) or 1) .. ": " .. what
end

local function skip_reason(text)
  local where, why = statement(text, "Skipped")
  return why ~= "" and why or where or "GTEST_SKIP"
end

---@class runner.gtest.Reader
local Reader = {}
Reader.__index = Reader

--- How a test in its batch is called by GoogleTest.
local function name_of(item) return item.test.case end

---@param items runner.Item[]
---@param sink runner.BatchSink
---@param program string for messages
---@param together boolean several tests may share the process: what befalls it outside of tests is none's failure
---@return runner.BatchReader
function M.new(items, sink, program, together)
  local self = setmetatable({
    sink = sink, program = program, together = together, by_name = {}, broken = {}, left = #items,
    held = "", outside = tail.new(KEPT), failures = "", text = tail.new(KEPT), failed = 0,
  }, Reader)
  for _, item in ipairs(items) do
    self.by_name[name_of(item)] = item
    if name_of(item):find("\n", 1, true) then self.broken[#self.broken + 1] = item end
  end
  return {
    output = function(_, bytes) self:read(bytes) end,
    ended = function(exit, done) self:ended(exit, done) end,
    explain = function(exit) return self:explain(exit) end,
  }
end

--- Output that is none of GoogleTest's lines. What precedes a test (the set-up of its suite) is told with it.
function Reader:plain(bytes)
  if bytes == "" then return end
  if self.current then
    self.text:add(bytes)
    self.sink.output(self.current, "stdout", bytes)
  elseif not self.other then
    self.outside:add(bytes)
  end
end

--- What was printed between tests is no test's; failures there are told when the program has ended.
function Reader:keep_failures()
  local text = self.outside:text()
  if text:find(": Failure\n", 1, true) and #self.failures < KEPT then self.failures = self.failures .. text end
  self.outside:set("")
end

function Reader:start(item, name)
  self.suite_is_over = false
  if not item then -- a filter with wildcards may let more in
    self.other = name
    return
  end
  self.current = item
  self.text:set("")
  self.sink.started(item)
  local before = {}
  for line in self.outside:text():gmatch("[^\n]*\n?") do
    if not is_own(line) then before[#before + 1] = line end
  end
  local bytes = table.concat(before)
  self:keep_failures()
  if bytes ~= "" then self.sink.output(item, "stdout", bytes) end
end

function Reader:finish(status, line)
  local item = self.current
  local ms = tonumber(line:match("%((%d+) ms%)$"))
  local result = { status = status, duration = ms and ms > 0 and ms / 1000 or nil }
  if status == "failed" then
    self.failed = self.failed + 1
    result.message = failure_message(self.text:text(), item.test.file) or line:match("^, (where .*)$") or "failed"
  elseif status == "skipped" then
    result.reason = skip_reason(self.text:text())
  end
  self.current, self.left, self.suite_is_over = nil, self.left - 1, true
  self.sink.finished(item, result)
end

--- Where the line that starts at `at` ends. nil: more has to come; false: it is too long for one of GoogleTest's.
local function line_end(text, at)
  local stop = text:find("\n", at, true)
  if not stop and #text - at > NAME_BYTES then return false end
  return stop
end

--- The name after a `[ RUN      ]`, and where its line ends.
local function run_name(self, text, at)
  for _, item in ipairs(self.broken) do
    local line = name_of(item) .. "\n"
    local there = text:sub(at, at + #line - 1)
    if there == line then return name_of(item), at + #line - 1 end
    if line:sub(1, #there) == there then return nil end
  end
  local stop = line_end(text, at)
  return stop and text:sub(at, stop - 1), stop
end

--- Looks at what may be one of GoogleTest's lines.
---@param kind string of its head
---@param text string
---@param at integer what follows the head
---@return integer|false|nil stop where it ends; false: it is none of them; nil: more has to come
function Reader:line(kind, text, at)
  if kind == "suite" then
    if self.current then return false end
    local stop = line_end(text, at)
    if stop and text:find("^%d+ tests? from ", at) then
      self.suite_is_over = text:sub(stop - 7, stop - 1) == " total)"
      if self.suite_is_over then self:keep_failures() end
    end
    return stop
  elseif kind == "run" then
    if self.current or self.other then return false end
    local name, stop = run_name(self, text, at)
    if name then self:start(self.by_name[name], name) end
    return stop
  end
  local name = self.current and name_of(self.current) or self.other
  if not name then return false end
  local there = text:sub(at, at + #name - 1)
  if there ~= name then
    if name:sub(1, #there) == there then return nil end
    return false
  end
  local stop = line_end(text, at + #name)
  if not stop then return stop end
  local rest = text:sub(at + #name, stop - 1)
  if rest ~= "" and not rest:find("^ %(%d+ ms%)$") and not rest:find("^, where ") then return false end
  if self.current then self:finish(kind, rest) else self.other = nil end
  return stop
end

function Reader:read(bytes)
  local text, done, at = self.held .. bytes, 1, 1 -- what stands before `done` is dealt with
  self.held = ""
  while true do
    local from = text:find("[", at, true)
    if not from then break end
    local head = text:sub(from, from + HEAD_BYTES - 1)
    local kind, stop = HEADS[head], false
    if kind or #head < HEAD_BYTES and is_head_begun(head) then
      self:plain(text:sub(done, from - 1)) -- of the test that ran until here
      done = from
      stop = nil
      if kind then stop = self:line(kind, text, from + HEAD_BYTES) end
    end
    if stop == nil then
      self.held = text:sub(from)
      return
    end
    if stop then done = stop + 1 end
    at = stop and done or from + 1
  end
  self:plain(text:sub(done))
end

--- What went wrong outside of tests is told by the program's status alone, or printed between them.
function Reader:ended(exit, done)
  if self.held ~= "" then
    self:plain(self.held)
    self.held = ""
  end
  local is_bad = exit.kind == "signaled" or exit.kind == "exited" and exit.code ~= 0
  -- In the set-up of a suite, say: the tests that waited for it run again and are blamed.
  local in_vain = self.left > 0 and not self.suite_is_over
  if self.together and is_bad and not exit.killed and not exit.timed_out and not self.current and not in_vain then
    local said = self.failures .. self.outside:text()
    if said:find(": Failure\n", 1, true) or said:find("SetUpTestSuite or TearDownTestSuite", 1, true)
      or self.failed == 0 or exit.kind == "signaled" then
      self.sink.problem({
        kind = "teardown", id = self.program, text = said,
        message = ("%s failed outside of its tests: %s"):format(self.program, exit_text.describe(exit)),
      })
    end
  end
  done()
end

--- The test that ran when the program ended.
function Reader:explain(exit)
  local result = exit_result.of_exit(exit)
  if result.status == "crashed" then return result end
  local failure = failure_message(self.text:text(), self.current and self.current.test.file)
  result.status = result.status == "passed" and "failed" or result.status
  if not self.current then
    result.message = self.left > 0 and ("%s did not run this test: %s"):format(self.program, exit_text.describe(exit))
      or result.message
    local said = self.outside:text()
    result.trace = said:find("%S") and said or nil
  else
    result.message = ("the test ended the program: %s%s"):format(exit_text.describe(exit),
      failure and "\n" .. failure or "")
  end
  return result
end

return M
