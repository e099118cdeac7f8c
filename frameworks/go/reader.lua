--- Follows the output of a Go test binary, as `go tool test2json` does: which tests run, what they print, how they end.
--- Before Go 1.20 what subtests did follows the end of their test.
---
--- Tests that call t.Parallel run at once. The one that has run longest is the one that is watched; when the process
--- ends, all of those that ran are suspects, unless a panic is known to be another's: Go reports a test as failed
--- before it lets its panic end the process.
---
--- Go does not report every test: one with parallel subtests whose cleanup ends its goroutine (t.SkipNow, Goexit) is
--- silent, and a TestMain may end without running any. The end of the process decides then. And a TestMain may run
--- tests that were not asked for, or twice: these are told by name.

local ending = require("frameworks.go.ending")
local lines = require("frameworks.go.framing")
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
    by_name = {}, states = {}, active = {}, pending = {}, strangers = {}, failed = 0,
    outside = tail.new(KEPT), recent = tail.new(KEPT), last = "\n",
  }, Reader)
  self.items = items
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
    suspects = function() return self.suspected or self.active end,
    explain = function(exit) return ending.explain(self, exit) end,
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
  self.states[item] = nil
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

--- What is taken for running has ended without a verdict: Go is past it.
function Reader:hush()
  for _, item in ipairs(self.active) do self.states[item].is_silent = true end
  self.active = {}
end

function actions.RUN(self, name, item)
  local state = self.states[item]
  self.owner, self.name = item, name
  if name:find("/", 1, true) then return self:subtest(state, name) end
  self:hush()
  state.begun = true
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

--- Is it possible now that Go says this of a test that has no result yet? What else looks like it was printed by one.
function Reader:is_possible(action, name, item)
  local is_subtest = name:find("/", 1, true) ~= nil
  if action == "NAME" or action == "CONT" then return true end
  if action == "RUN" and not is_subtest then return #self.active == 0 or self.framed and not self.states[item].begun end
  if is_subtest then return has(self.active, item) or has(self.pending, item) end
  return has(self.active, item)
end

--- What a test that was not asked for does, or one that has its result already: it belongs to none that we wait for.
function Reader:stranger(action, name, is_again)
  self.owner, self.name = nil, nil
  if name:find("/", 1, true) then return end
  self.begun = true
  if results.STATUS[action] then
    if action == "FAIL" then self.failed = self.failed + 1 end
    table.insert(self.strangers, { name = name, status = results.STATUS[action], is_again = is_again })
  end
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
    local is_strange = name ~= "" and not self.states[item]
    if is_strange and not self.framed or not is_strange and not self:is_possible(action, name, item) then return nil end
    return function()
      self:keep()
      local goes_on = indent and indent ~= "" or action == "NAME" and name == "" -- about the same test
      if not goes_on then self:settle() end
      if is_strange then return self:stranger(action, name, item ~= nil) end
      if indent then self:report(action, name, item, tonumber(seconds) or 0) else actions[action](self, name, item) end
    end
  elseif (line == "PASS" or line == "FAIL") and (self.framed or #self.active == 0) then
    return function()
      self:keep()
      self:settle()
      self:hush()
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

function Reader:ended(exit, done)
  self.lines.finish()
  ending.conclude(self, exit)
  done()
end

M.watching = ending.watching

return M
