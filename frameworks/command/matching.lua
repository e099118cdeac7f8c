--- What the results of a command say of its tests.
---
--- A result belongs to the test whose name it carries (see runner.match). A test may have several: one that failed
--- fails it. Where the tests are files (or folders) and the results carry other names, those of the cases inside, each
--- test gets a command of its own, and all that this reports is its result; so it is, too, where `test_id_format` says
--- it. The first command, of one test, shows which it is. What else carries another name is no test's result.
---
--- The exit status has a say, too: a command that ends badly although all its results are good is told of, never
--- passed over.

local exits = require("runner.io.exit_text")
local match = require("runner.worker.formats.match")
local exit_result = require("runner.worker.exit_result")

local M = {}

local HELD_BYTES = 4 * 1024 * 1024 -- of results that wait for others of the same test
local TEXT_BYTES = 1024 * 1024 -- of the texts of several results of one test, together
local LEFT_OUT = "\n[... more is left out ...]"
local SHOWN = 10 -- names in a message

---@class command.Shared what the sessions of a group know together
---@field speaks "names"|"commands"|nil whether results carry the tests' names; nil: not known yet
---@field all runner.Match? of all tests of the group
---@field told table<string, true> problems that were reported

local Verdicts = {}
Verdicts.__index = Verdicts

---@param items runner.Item[]
---@param sink runner.BatchSink
---@param context { format: any, root: string?, shared: command.Shared, log: fun(level: string, format: string, ...),
---  whole: boolean? all results are of the only test, by whatever name,
---  at_once: boolean? results are passed on while the command runs,
---  tail: fun(): string the end of what the command printed }
function M.new(items, sink, context)
  local names = {}
  for i, item in ipairs(items) do names[i] = item.test.name end
  local lone, shared = #items == 1, context.shared
  return setmetatable({
    items = items, sink = sink, context = context, shared = shared, lone = lone,
    -- May all that is reported be its result, whatever its name?
    one = lone and shared.speaks ~= "names" and (context.whole or items[1].test.is_path) or false,
    matcher = match.new(names, { format = context.format, root = context.root, merge = true }),
    held = {}, first = 1, last = 0, by_index = {}, bytes = 0, failed = 0, cases = 0,
    strangers = { count = 0, failed = 0, names = {}, texts = {} }, notes = {},
  }, Verdicts)
end

-- One case ----------------------------------------------------------------------------------------------------------

local STATUS = { passed = "passed", skipped = "skipped", failed = "failed", error = "failed" }
local RANK = { skipped = 1, passed = 2, failed = 3 }

local function joined(a, b)
  if not a or not b then return a or b end
  if #a > TEXT_BYTES then return a:sub(-#LEFT_OUT) == LEFT_OUT and a or a .. LEFT_OUT end
  return a .. (a:sub(-1) == "\n" and "" or "\n") .. b
end

local function add(result, case, elapsed)
  local status = STATUS[case.status]
  if not result.status or RANK[status] > RANK[result.status] then
    result.status = status
    result.message, result.type, result.reason, result.xfail = nil, nil, nil, nil
    if status == "failed" then
      result.message, result.type = case.message, case.type
    elseif status == "skipped" then
      result.reason, result.xfail = case.message, case.todo
    end
  end
  if status == "failed" then result.trace = joined(result.trace, case.trace) end
  local time = case.time or elapsed
  if time then result.duration = (result.duration or 0) + time end
  if case.flaky and status ~= "failed" then result.reruns = (result.reruns or 0) + #case.flaky end
  for _, rerun in ipairs(case.flaky or {}) do
    result.sections = result.sections or {}
    table.insert(result.sections, { "failed before, and was run again by its own runner",
      rerun.trace or rerun.message or rerun.kind })
  end
end

local function size_of(case)
  return 200 + #(case.trace or "") + #(case.stdout or "") + #(case.stderr or "")
end

-- Passing results on ------------------------------------------------------------------------------------------------

local function release(self)
  local entry = self.held[self.first]
  self.held[self.first] = nil
  self.first = self.first + 1
  self.bytes = self.bytes - entry.bytes
  entry.over = true
  local result, item, sink = entry.result, self.items[entry.index], self.sink
  if result.status == "failed" then self.failed = self.failed + 1 end
  sink.started(item)
  for _, stream in ipairs({ "stdout", "stderr" }) do
    if entry[stream] then sink.output(item, stream, entry[stream]) end
  end
  sink.finished(item, result)
end

local function name_of(case)
  local name = match.describe(case)
  return name ~= "" and name or case.number and "number " .. case.number or "without a name"
end

--- A result of no test of this batch.
local function stranger(self, case)
  local others = self.shared.all
  if others and others:find(case) then return end -- of a test that nobody asked for now
  local list = self.strangers
  list.count = list.count + 1
  if #list.names < SHOWN then list.names[#list.names + 1] = ("%q"):format(name_of(case)) end
  if STATUS[case.status] == "failed" then
    list.failed = list.failed + 1
    if #list.texts < SHOWN then
      list.texts[#list.texts + 1] = ("%s: %s\n%s"):format(name_of(case), case.message or "failed", case.trace or "")
    end
  end
end

--- What a result says was printed. What the process of a lone test printed has been passed on already; many reports
--- hold it once more.
local function keep_output(self, entry, case)
  for _, stream in ipairs({ "stdout", "stderr" }) do
    local text = case[stream]
    if text and not self.lone then
      entry[stream] = joined(entry[stream], text)
    elseif text and not self.context.tail():find(text, 1, true) then
      self.sink.output(self.items[1], stream, text)
    end
  end
end

--- A result, in the order of the report.
---@param case runner.junit.Case|runner.tap.Point
---@param elapsed number? seconds since the one before, where they come as the tests end
function Verdicts:take(case, elapsed)
  self.cases = self.cases + 1
  if self.one then
    self.whole = self.whole or {}
    keep_output(self, self.whole, case)
    local named = not self.whole.message and STATUS[case.status] == "failed" and name_of(case)
    if not case.closes or case.status == "failed" then add(self.whole, case, elapsed) end
    if named then self.whole.message = case.message and ("%s: %s"):format(named, case.message) or named end
    if self.shared.speaks == "commands" then return end
  end
  local index = self.matcher:take(case)
  if not index then
    if case.closes then return end -- of a subtest, whose points have been told
    return stranger(self, case)
  end
  local entry = self.by_index[index]
  if entry and entry.over then
    if STATUS[case.status] == "failed" then
      stranger(self, { name = "again: " .. case.name, status = "failed", message = case.message, trace = case.trace })
    end
    return
  end
  if self.context.at_once and not self.lone then
    while self.first <= self.last and self.held[self.last] ~= entry do release(self) end
  end
  if not entry then
    entry = { index = index, result = {}, bytes = 0 }
    self.last = self.last + 1
    self.held[self.last], self.by_index[index] = entry, entry
  end
  add(entry.result, case, elapsed)
  if not self.whole then keep_output(self, entry, case) end
  local bytes = size_of(case)
  entry.bytes, self.bytes = entry.bytes + bytes, self.bytes + bytes
  while self.bytes > HELD_BYTES and not self.lone and self.first < self.last do release(self) end
end

--- Something is wrong with the report itself.
---@param problem runner.junit.Problem
function Verdicts:note(problem)
  if problem.kind ~= "mended" and problem.kind ~= "shortened" then self.notes[#self.notes + 1] = problem end
end

-- The end -----------------------------------------------------------------------------------------------------------

local function tell(self, message, text)
  if self.shared.told[message] then return end
  self.shared.told[message] = true
  self.sink.problem({ kind = "collection", message = message, text = text })
end

local function tell_strangers(self)
  local list = self.strangers
  if list.count == 0 then return end
  local more = list.count > #list.names and (" and %d more"):format(list.count - #list.names) or ""
  tell(self, ("%d result%s %s no test of this group (see test_id_format): %s%s"):format(list.count,
    list.count == 1 and "" or "s", list.count == 1 and "names" or "name", table.concat(list.names, ", "), more),
    #list.texts > 0 and table.concat(list.texts, "\n") or nil)
end

local function is_good(exit)
  return exit.kind == "exited" and exit.code == 0
end

local function notes_text(self, kind)
  local lines = {}
  for _, note in ipairs(self.notes) do
    if not kind or note.kind == kind then
      lines[#lines + 1] = ("%s: %s"):format(note.source, note.message) .. (note.text and "\n" .. note.text or "")
    end
  end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

--- Why a test has no result, although there are results.
local function untold(self)
  local names = self.strangers.names
  if #names == 0 then return "the results do not tell of this test" end
  local more = self.strangers.count > 1 and (" and %d more"):format(self.strangers.count - 1) or ""
  return ("the results do not tell of this test, but of %s%s (see test_id_format%s)"):format(names[1], more,
    self.context.format and "" or '; "{tests}" takes whatever the command for a test reports')
end

--- The result of a test that had the command to itself.
local function lone_result(self, exit)
  local entry, shared, tail = self.by_index[1], self.shared, self.context.tail()
  local result = entry and entry.result
  if not shared.speaks and entry then
    shared.speaks = "names"
  elseif not shared.speaks and self.one and self.cases > 0 then
    shared.speaks = "commands"
    self.context.log("info", "the results carry other names than the tests (%s): each test gets a command of its own",
      table.concat(self.strangers.names, ", "))
  end
  if self.one and shared.speaks == "commands" then
    result, self.strangers = self.whole, { count = 0 }
  end
  if not result then
    result = self.skip_all and { status = "skipped", reason = self.skip_all } or exit_result.of_exit(exit)
    if result.status == "passed" or result.status == "failed" then
      local why = self.missing or notes_text(self, "lost") or untold(self)
      result.message = is_good(exit) and why or ("%s; %s"):format(exits.describe(exit), why)
      result.status = "failed"
    end
    result.trace = tail:find("%S") and tail or nil
    return result
  end
  local wrong = notes_text(self) or not is_good(exit) and exits.describe(exit)
  if result.status ~= "failed" and wrong then
    local was = result.status
    result.status, result.reason, result.xfail = "failed", nil, nil
    result.message = ("%s, although its result is %q"):format(wrong:match("[^\n]*"), was)
    if exit.kind == "signaled" then result = exit_result.of_exit(exit) end
    result.trace = wrong .. (tail:find("%S") and "\n" .. tail or "")
  end
  return result
end

--- The command has ended and all its results were taken. Tests that are left open run again alone.
---@param exit runner.Exit with the status of the command itself
function Verdicts:finish(exit)
  if self.lone then
    local result = lone_result(self, exit)
    local entry = self.by_index[1]
    if entry and entry.over then return end
    if not entry then
      entry = { index = 1, bytes = 0 }
      self.last = self.last + 1
      self.held[self.last] = entry
    end
    local by_exit = exit_result.of_exit(exit)
    for _, name in ipairs({ "cpu", "memory", "exit_code" }) do result[name] = by_exit[name] end
    result.duration = result.duration or by_exit.duration
    entry.result = result
  end
  while self.first <= self.last do release(self) end
  tell_strangers(self)
  if self.lone then return end
  for _, note in ipairs(self.notes) do
    if note.kind == "suite" then tell(self, note.message, note.text) end
  end
  local missing = #self.matcher:missing()
  if missing > 0 then return end
  if not is_good(exit) and self.failed == 0 and self.strangers.failed == 0 then
    tell(self, ("a command ended badly (%s) although all its results are good"):format(exits.describe(exit)),
      self.context.tail())
  end
  local lost = notes_text(self, "lost")
  if lost then self.context.log("warning", "%s", lost) end
end

return M
