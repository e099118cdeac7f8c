--- Follows the output of a Go test binary, as `go tool test2json` does: which tests run, what they print, how they end.
--- Before Go 1.20 what subtests did follows the end of their test.
---
--- Tests that call t.Parallel run at once. The one that has run longest is the one that is watched; when the process
--- ends, all of those that ran are suspects, unless a panic is known to be another's: Go reports a test as failed
--- before it lets its panic end the process.

local exits = require("runner.io.exit_text")
local lines = require("frameworks.go.framing")
local exit_result = require("runner.worker.exit_result")
local results = require("frameworks.go.result")
local tail = require("runner.base.tail")

local M = {}

local KEPT = 128 * 1024 -- bytes of a test's output, its end, in which messages are looked for
local SUBTEST_KEPT = 4 * 1024
local RATTLE_BYTES = 1024 * 1024 -- of what is held back because the process may be dying

---@class runner.go.Reader
local Reader = {}
Reader.__index = Reader

---@param items runner.Item[]
---@param sink runner.BatchSink
---@param options { package: string, framed: boolean, together: boolean }
---@return runner.BatchReader
function M.new(items, sink, options)
  local self = setmetatable({
    sink = sink, package = options.package, framed = options.framed, together = options.together,
    by_name = {}, states = {}, active = {}, pending = {}, left = #items, failed = 0,
    outside = tail.new(KEPT), recent = tail.new(KEPT), last = "\n",
  }, Reader)
  for _, item in ipairs(items) do
    self.by_name[item.test.name] = item
    self.states[item] = { text = tail.new(KEPT), said = {}, subtests = {} }
  end
  self.lines = lines[self.framed and "framed" or "unframed"]({
    line = function(line) return self:line(line) end,
    text = function(bytes) self:plain(bytes) end,
    is_running = function(name) return self.states[self.by_name[name]] ~= nil end,
  })
  return {
    output = function(_, bytes) self.lines.read(bytes) end,
    ended = function(exit, done) self:ended(exit, done) end,
    suspects = function() return self.active end,
    explain = function(exit) return self:explain(exit) end,
  }
end

-- Tests ---------------------------------------------------------------------------------------------------------------

--- Has the test that runs longest watched.
function Reader:watch()
  if self.active[1] then self.sink.started(self.active[1]) end
end

function Reader:activate(item)
  for _, other in ipairs(self.active) do
    if other == item then return end
  end
  table.insert(self.active, item)
  self.sink.started(item)
  self:watch()
end

function Reader:deactivate(item)
  for i, other in ipairs(self.active) do
    if other == item then table.remove(self.active, i) end
  end
  self:watch()
end

--- Tells the end of a test, now that what Go says after its verdict is known, too.
function Reader:tell(item)
  local state = self.states[item]
  local result = results.of(state)
  if result.status == "failed" then self.failed = self.failed + 1 end
  self.states[item], self.left = nil, self.left - 1
  self.sink.finished(item, result)
  self:watch()
end

--- A test that failed without a word, while others go on, may have panicked: that comes with the end of the process.
local function may_panic(self, state)
  return self.framed and #self.active > 0 and state.verdict == "FAIL" and not state.blame
    and not results.last_log(state.text:text())
end

--- Tells the ends that are due.
function Reader:settle()
  local pending = self.pending
  self.pending = {}
  for _, item in ipairs(pending) do
    if may_panic(self, self.states[item]) then self.pending[#self.pending + 1] = item else self:tell(item) end
  end
end

function Reader:subtest(state, name)
  local said = state.said[name]
  if not said then
    said = { text = tail.new(SUBTEST_KEPT) }
    state.said[name] = said
    table.insert(state.subtests, name)
  end
  return said
end

function Reader:report(verdict, name, item, elapsed)
  local state = self.states[item]
  self.owner, self.name = item, name
  if name:find("/", 1, true) then
    local said = self:subtest(state, name)
    said.verdict = verdict
    if verdict == "FAIL" and not state.blame then
      local log = said.text and results.last_log(said.text:text())
      state.blame = log and { name = name, log = log }
    end
    said.text = nil
    return
  end
  state.verdict, state.elapsed = verdict, elapsed > 0 and elapsed or state.was_paused and 0.001 or nil
  state.after = tail.new(KEPT)
  self:deactivate(item)
  -- What may follow is the panic behind a failure; before Go 1.20 also what subtests did.
  if self.framed and verdict ~= "FAIL" then self:tell(item) else table.insert(self.pending, item) end
end

local actions = {}

function actions.RUN(self, name, item)
  local state = self.states[item]
  self.owner, self.name = item, name
  if name:find("/", 1, true) then return self:subtest(state, name) end
  self:activate(item)
  local before = not self.begun and self.outside:text() or ""
  self.begun = true
  if before ~= "" then self.outside:set("") end
  self:give(before)
end

function actions.PAUSE(self, name, item)
  self.owner, self.name = item, name
  if name:find("/", 1, true) then return end
  self.states[item].was_paused = true
  self:deactivate(item)
end

function actions.CONT(self, name, item)
  self.owner, self.name = item, name
  self:activate(item)
end

--- No name: what follows belongs to no test, but after a failure it may still be its panic.
function actions.NAME(self, name, item)
  if name == "" and self.pending[1] then return end
  self.owner, self.name = item, name
end

local function has(list, item)
  for _, other in ipairs(list) do
    if other == item then return true end
  end
  return false
end

--- Is it possible now that Go says this of a test? What else looks like it was printed by a test.
function Reader:is_possible(action, name, item)
  local is_subtest = name:find("/", 1, true) ~= nil
  if action == "NAME" then return item ~= nil or name == "" end
  if not self.states[item] then return false end
  if action == "CONT" then return true end
  if action == "RUN" and not is_subtest then return #self.active == 0 end
  if is_subtest then return has(self.active, item) or has(self.pending, item) end
  if not has(self.active, item) then return false end
  for _, subtest in ipairs(self.framed and results.STATUS[action] and self.states[item].subtests or {}) do
    if not self.states[item].said[subtest].verdict then return false end -- a test ends after its subtests
  end
  return true
end

--- Of a line that may be Go's: what is to be done, if it is.
---@return fun()?
function Reader:line(line)
  local action, name = line:match("^=== (%u+)%s*(%S*)%s*$")
  local indent, seconds
  if not actions[action] then
    indent, action, name, seconds = line:match("^( *)%-%-%- (%u+): (%S+) %(([%d%.]+)s%)$")
  end
  if actions[action] or results.STATUS[action] then
    local item = self.by_name[name:match("^[^/]*")]
    if not self:is_possible(action, name, item) then return nil end
    return function()
      self:keep()
      local goes_on = indent and indent ~= "" or action == "NAME" and name == "" -- about the same test
      if not goes_on then self:settle() end
      if indent then self:report(action, name, item, tonumber(seconds) or 0) else actions[action](self, name, item) end
    end
  elseif (line == "PASS" or line == "FAIL") and #self.active == 0 then
    return function()
      self:keep()
      self:settle()
      self.owner, self.name, self.is_over = nil, nil, true
    end
  end
end

-- Output --------------------------------------------------------------------------------------------------------------

--- Output of whichever test it belongs to. What precedes the first test (TestMain) is told with it.
function Reader:plain(bytes)
  self.recent:add(bytes)
  if self.rattle then
    self.rattle.text:add(bytes)
    self.rattle.size = self.rattle.size + #bytes
    if self.rattle.size > RATTLE_BYTES then self:keep() end
    return
  end
  local seen = self.last .. bytes
  local from = self.framed and seen:find("\npanic: ", 1, true)
  self.last = seen:sub(-7)
  if from then
    local cut = math.max(0, from - (#seen - #bytes))
    self.rattle = { owner = self.owner, name = self.name, text = tail.new(RATTLE_BYTES), size = #bytes - cut }
    self.rattle.text:add(bytes:sub(cut + 1))
    bytes = bytes:sub(1, cut)
  end
  self:give(bytes)
end

--- What looked like the beginning of a panic was the owner's output like any other.
function Reader:keep()
  local rattle = self.rattle
  if not rattle then return end
  self.rattle = nil
  self.owner, self.name = rattle.owner, rattle.name
  self:give(rattle.text:text())
end

function Reader:give(bytes)
  if bytes == "" then return end
  local state = self.states[self.owner]
  if not state then return self.outside:add(bytes) end
  if state.after then state.after:add(bytes) else state.text:add(bytes) end
  local said = state.said[self.name]
  if said and said.text then said.text:add(bytes) end
  self.sink.output(self.owner, "stdout", bytes)
end

-- The end -------------------------------------------------------------------------------------------------------------

--- The test that failed and whose panic now ends the process, if it is such a panic.
---@return boolean is_recovered
---@return runner.Item?
function Reader:panicked()
  local recent, said, dump = "\n" .. self.recent:text(), nil, nil
  for line, found in recent:gmatch("\n(panic: [^\n]*%[recovered[^\n]*)()") do said, dump = line, recent:sub(found) end
  if not dump then return false end
  local whose = self.pending[#self.pending]
  for _, item in ipairs(self.pending) do
    if dump:find("." .. item.test.name .. "(", 1, true) or dump:find("." .. item.test.name .. ".", 1, true) then
      whose = item
      break
    end
  end
  if whose then self.states[whose].panic = said end
  return true, whose
end

--- What went wrong outside of tests is told by the exit status alone, or printed after them.
function Reader:ended(exit, done)
  self.lines.finish()
  local is_panic, whose = self:panicked()
  if whose and self.rattle then self.rattle.owner, self.rattle.name = whose, whose.test.name end
  self:keep()
  if is_panic then self.active = {} end -- they just ran beside it
  for _, item in ipairs(self.pending) do self:tell(item) end
  self.pending = {}
  local is_bad = exit.kind == "signaled" or exit.kind == "exited" and exit.code ~= 0
  if self.together and is_bad and not exit.killed and not exit.timed_out then
    if #self.active > 1 then
      self:suspect(exit)
    elseif #self.active == 0 and self.failed == 0 and (self.left == 0 or self.is_over) then
      self.sink.problem({
        kind = "teardown", id = self.package, text = self.outside:text(),
        message = ("%s failed outside of its tests: %s"):format(self.package, exits.describe(exit)),
      })
    end
  end
  done()
end

--- Nobody can say which of the tests that ran at once ended the process. Each runs again, alone; if none fails then, it
--- must not be forgotten.
function Reader:suspect(exit)
  local names, text = {}, {}
  for i, item in ipairs(self.active) do
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
  for _, item in ipairs(self.active) do item.incident = incident end
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

--- The test that ran when the process ended.
function Reader:explain(exit)
  local result = exit_result.of_exit(exit)
  if result.status == "crashed" then return result end
  local item = self.active[1]
  local text = "\n" .. (item and self.states[item].text or self.outside):text()
  local why = text:match("\n(panic: [^\n]*)") or text:match("\n(fatal error: [^\n]*)")
  result.status = result.status == "passed" and "failed" or result.status
  if not item then
    result.message = ("%s did not run this test: %s"):format(self.package, exits.describe(exit))
    result.trace = text:find("%S") and text:sub(2) or nil
  else
    result.message = why or "the test ended the process: " .. exits.describe(exit)
  end
  return result
end

return M
