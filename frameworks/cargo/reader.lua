--- Follows what libtest prints while it runs several tests, one at a time (--test-threads=1): which one has started,
--- what it prints, how it ended; and at the end what libtest has to say of those that failed.
---
--- A test may print anything, "ok" too. So a line counts as the end of one only when libtest goes on behind it: with
--- the next test that was asked for, or, when there is none, with its summary.

local uv = require("luv")
local lines = require("runner.worker.lines")

local M = {}

local LINE_MAX = 64 * 1024 -- a longer one is passed on in parts
local TAIL = 32 * 1024 -- bytes of a test's output in which the reason of a failure is looked for

---@class cargo.StreamOptions
---@field judge fun(item: runner.Item, said: string, section: string?): table the result of a test that failed. `said`:
---  the end of what it printed; `section`: what the end of the output says of it
---@field at_end boolean? what a test prints is only told in its section, if it failed: doctests

local Reader = {}
Reader.__index = Reader

---@param items runner.Item[] of one binary, or the doctests of one library
---@param sink runner.BatchSink
---@param options cargo.StreamOptions
---@return runner.BatchReader
function M.reader(items, sink, options)
  local self = setmetatable({
    sink = sink, options = options, by_name = {}, began = {}, held = {}, said = "",
    failed = {}, order = {}, sections = {}, left = #items,
  }, Reader)
  for _, item in ipairs(items) do self.by_name[item.test.name] = item end
  self.feed, self.pending = lines.reader(function(line)
    if self.telling then self:telling_line(line) else self:running_line(line) end
  end)
  return {
    output = function(stream, bytes)
      if stream == "stdout" then self:take(bytes) else sink.output(nil, stream, bytes) end
    end,
    ended = function(_, done)
      self:release()
      if self.current and self.pending() ~= "" then self:pass_on(self.pending()) end
      self:settle()
      done()
    end,
  }
end

--- The test of a line "test NAME ... " that has not run yet, and what stands between them: " - should panic".
function Reader:find(text)
  local item, what = self.by_name[text], nil
  if not item then
    local name, special = text:match("^(.*) %- ([%a ]+)$")
    item, what = self.by_name[name], special
  end
  if item and not self.began[item] then return item, what end
end

-- What the running test prints --------------------------------------------------------------------------------------

function Reader:pass_on(text)
  self.said = (self.said .. text):sub(-TAIL)
  self.sink.output(self.current, "stdout", text)
end

--- What was held back because it looked like an end was none.
function Reader:release()
  for _, line in ipairs(self.held) do
    if self.current then self:pass_on(line .. "\n") end
  end
  self.held = {}
end

--- "passed", "failed" or "skipped" with a reason, and what stands before that in the line.
local function status_of(line)
  local before, reason = line:match("^(.*)ignored, ([^\n]*)$")
  if not before then before = line:match("^(.*)ignored$") end
  if before then return "skipped", before, reason or "#[ignore]" end
  before = line:match("^(.*)ok$")
  if before then return "passed", before end
  before = line:match("^(.*)FAILED$")
  if before then return "failed", before end
end

-- How tests end -----------------------------------------------------------------------------------------------------

--- Reports a failure that has waited for its section.
function Reader:report(item)
  local section = self.sections[item] and table.concat(self.sections[item], "\n")
  if self.options.at_end and section and section ~= "" then
    self.sink.started(item)
    self.sink.output(item, "stdout", section .. "\n")
  end
  local failure = self.failed[item]
  local result = self.options.judge(item, failure.said, section)
  result.duration = failure.duration
  self.sink.finished(item, result)
end

function Reader:settle()
  local order = self.order
  self.order = {}
  for _, item in ipairs(order) do self:report(item) end
  self.section = nil
end

--- libtest goes on: what was held back has been the end of the running test.
---@return boolean so nothing was held back: what looked like libtest's is the test's
function Reader:conclude()
  local item = self.current
  if not item then return true end
  if not self.held[1] then return false end
  local status, before, reason = status_of(self.held[1])
  if before ~= "" then self:pass_on(before .. "\n") end
  self.held, self.current = {}, nil
  local duration = (uv.hrtime() - self.began[item]) / 1e9
  if status ~= "failed" then
    self.sink.finished(item, { status = status, reason = reason, duration = duration })
  else
    self.failed[item] = { said = self.said, duration = duration }
    if self.options.at_end or self.should_panic then
      self.order[#self.order + 1] = item
    else
      self:report(item)
    end
  end
  return true
end

function Reader:start(item, what)
  self.began[item], self.left = uv.hrtime(), self.left - 1
  self.current, self.said, self.should_panic = item, "", what == "should panic"
  self.sink.started(item)
end

-- Lines -------------------------------------------------------------------------------------------------------------

--- A line of the running test, or of nobody.
function Reader:line_of_test(line)
  if not self.current then return end
  if line == "" and self.held[1] then
    self.held[#self.held + 1] = line
    return
  end
  self:release()
  if not status_of(line) then return self:pass_on(line .. "\n") end
  self.held[1] = line
  if self.options.at_end then self:conclude() end
end

--- A line of the part in which tests run.
function Reader:running_line(line)
  local name, rest = line:match("^test (.-) %.%.%. (.*)$")
  local item, what = self:find(name or "")
  local is_over = (line == "failures:" or line:find("^test result: "))
    and (self.options.at_end or self.left == 0 and #self.held > 1)
  if item and self:conclude() then
    self:start(item, what)
    if rest ~= "" then self:line_of_test(rest) end
  elseif is_over then
    self:conclude()
    self.telling = line == "failures:"
  else
    self:line_of_test(line)
  end
end

--- A line of the part that tells of failures.
function Reader:telling_line(line)
  local name = line:match("^%-%-%-%- (.+) stdout %-%-%-%-$")
  local item = name and self.by_name[name]
  if item and self.failed[item] then
    self.section = {}
    self.sections[item] = self.section
  elseif line == "failures:" then
    self.section = nil
  elseif line:find("^test result: ") and not self.section then
    self.telling = false
    self:settle()
  elseif self.section then
    self.section[#self.section + 1] = line
  end
end

function Reader:take(bytes)
  self.feed(bytes)
  -- A test's name stands there while it runs; what it prints first may stand behind that.
  local pending = self.pending()
  local head, name = pending:match("^(test (.-) %.%.%. )")
  local item, what = self:find(not self.telling and name or "")
  if item and self:conclude() then
    self:start(item, what)
    pending = self.pending(pending:sub(#head + 1))
  end
  if #pending > LINE_MAX then
    self:release()
    if self.current then self:pass_on(pending) end
    self.pending("")
  end
end

return M
