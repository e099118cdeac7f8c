--- What the end of a Go test binary says of the tests that it told no result of, and whom its death is blamed on.

local exit_result = require("runner.worker.exit_result")
local exits = require("runner.io.exit_text")
local keys = require("runner.base.sorted_keys")
local results = require("frameworks.go.result")
local tail = require("runner.base.tail")

local M = {}

local TRACE_BYTES = 8 * 1024 -- of what the process of many tests printed, told for each

--- The panic of a test, if that ended the process: tRunner, which runs it, is on the stack of the first goroutine told.
---@param recent string
---@return string? line
---@return string? stack
local function panic_of_test(recent)
  local said, dump
  for line, from in recent:gmatch("\n(panic: [^\n]*)()") do
    local stack = recent:match("^.-\n(goroutine %d+[^\n]*%[running.*)$", from)
    stack = stack and (stack:match("^(.-)\n\n") or stack)
    if line:find("[recovered", 1, true) or stack and stack:find("\ntesting.tRunner(", 1, true) then
      said, dump = line, stack or ""
    end
  end
  return said, dump
end

--- The test that failed and whose panic now ends the process, if it is such a panic.
---@return boolean is_panic
---@return runner.Item?
local function panicked(self)
  local said, stack = panic_of_test("\n" .. self.recent:text())
  if not said then return false end
  local whose = self.pending[#self.pending]
  for _, item in ipairs(self.pending) do
    if stack:find("." .. item.test.name .. "(", 1, true) or stack:find("." .. item.test.name .. ".", 1, true) then
      whose = item
      break
    end
  end
  if whose then self.states[whose].panic = said end
  return whose ~= nil or self.failed > 0, whose
end

--- Go found no fault: what it ran without a word has passed, and what it did not run was not to be run. Not so when a
--- test ended the process before Go was through.
local function ended_well(self)
  if self.begun and not self.is_over then return end
  for _, item in ipairs(self.items) do
    local state = self.states[item]
    if state and state.begun then
      state.verdict, state.after = "PASS", tail.new(0)
      self:tell(item)
    elseif state then
      self.states[item] = nil
      local said = not self.begun and self.outside:text():match("(%S[^\n]*)%s*$")
      self.sink.finished(item, {
        status = "skipped", reason = ("%s ended well without running it%s"):format(self.package,
          said and ": " .. said or ""),
      })
    end
  end
end

--- Nobody can say which of the tests that ran at once ended the process. Each runs again, alone; if none fails then, it
--- must not be forgotten.
local function suspect(self, exit, items)
  if not self.together then return end
  local names, text = {}, {}
  for i, item in ipairs(items) do
    names[i], text[i] = item.test.name, self.states[item].text:text()
  end
  local incident = {
    left = #names,
    problem = {
      kind = "teardown", id = self.package, text = table.concat(text),
      message = ("%s ended while %s ran at once, and each of them passes alone: %s")
        :format(self.package, table.concat(names, ", "), exits.describe(exit)),
    },
  }
  for _, item in ipairs(items) do item.incident = incident end
end

--- The process ended before it came to a test: none was run, and would not be another time.
local function fail_all(self, exit)
  local text = self.outside:text()
  local said = text:match("\n?(panic: [^\n]*)") or text:match("(%S[^\n]*)%s*$")
  for _, item in ipairs(self.items) do
    self.states[item] = nil
    local result = exit_result.of_exit(exit)
    result.duration, result.cpu, result.memory = nil, nil, nil -- they are the process's
    result.message = ("%s ended before its tests: %s%s"):format(self.package, exits.describe(exit),
      said and "\n" .. said or "")
    result.trace = text:find("%S") and text:sub(-TRACE_BYTES) or nil
    self.sink.finished(item, result)
  end
end

--- Somebody is to blame.
local function ended_badly(self, exit)
  local silent = {}
  for _, item in ipairs(self.items) do
    if self.states[item] and self.states[item].is_silent then silent[#silent + 1] = item end
  end
  if not self.begun then
    fail_all(self, exit)
  elseif #self.active == 0 and #silent > 0 then
    self.suspected = self.failed == 0 and silent or {} -- else they run once more
    if #self.suspected > 1 then suspect(self, exit, silent) end
  elseif #self.active > 1 then
    suspect(self, exit, self.active)
  elseif self.together and #self.active == 0 and self.failed == 0 then
    self.sink.problem({
      kind = "teardown", id = self.package, text = self.outside:text(),
      message = ("%s failed outside of its tests: %s"):format(self.package, exits.describe(exit)),
    })
  end
end

--- What Go ran beside what it was asked for counts, too.
local function tell_strangers(self)
  local by_status = {}
  for _, one in ipairs(self.strangers) do
    local key = one.status == "failed" and one.is_again and "again" or one.status
    by_status[key] = by_status[key] or {}
    by_status[key][one.name] = true
  end
  local text = self.outside:text()
  for key, say in pairs({ failed = "failed, and not asked for: ", again = "failed when run once more: " }) do
    if by_status[key] then
      self.sink.problem({
        kind = "teardown", id = self.package, text = text,
        message = self.package .. ": " .. say .. table.concat(keys.sorted(by_status[key]), ", "),
      })
    end
  end
end

--- Settles what a reader could not tell before the process had ended.
---@param self runner.go.Reader
---@param exit runner.Exit
function M.conclude(self, exit)
  local is_panic, whose = panicked(self)
  if whose and self.rattle then self.rattle.owner, self.rattle.name = whose, whose.test.name end
  self:keep()
  if is_panic then self.active = {} end -- they just ran beside it
  for _, item in ipairs(self.pending) do self:tell(item) end
  self.pending = {}
  if not exit.killed and not exit.timed_out then
    if exit.kind == "exited" and exit.code == 0 then
      ended_well(self)
    elseif exit.kind == "exited" or exit.kind == "signaled" then
      ended_badly(self, exit)
    end
  end
  tell_strangers(self)
end

--- The result of the test that ran when the process ended.
---@param self runner.go.Reader
---@param exit runner.Exit
---@return table result
function M.explain(self, exit)
  local result = exit_result.of_exit(exit)
  if result.status == "crashed" then return result end
  local item = self.active[1] or self.suspected and self.suspected[1]
  local text = "\n" .. (item and self.states[item].text or self.outside):text()
  local why = text:match("\n(panic: [^\n]*)") or text:match("\n(fatal error: [^\n]*)")
  result.status = result.status == "passed" and "failed" or result.status
  if not item then
    result.message = ("%s did not run this test: %s"):format(self.package, exits.describe(exit))
    result.trace = text:find("%S") and text:sub(2) or nil
  elseif self.states[item].is_silent then
    result.message = results.last_log(text) or "Go gave no result for this test, and its process failed"
  else
    result.message = why or "the test ended the process: " .. exits.describe(exit)
  end
  return result
end

--- A worker's report that looks after such incidents.
---@param report table
---@return table
function M.watching(report)
  local function finished(item, result)
    local incident = item.incident
    report.finished(item, result)
    if not incident then return end
    item.incident, incident.left = nil, incident.left - 1
    incident.explained = incident.explained or result.status ~= "passed"
    if incident.left == 0 and not incident.explained then report.problem(incident.problem) end
  end
  return setmetatable({ finished = finished }, { __index = report })
end

return M
