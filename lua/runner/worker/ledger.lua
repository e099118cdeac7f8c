--- Keeps account of the tests that one process was given: which are open, which run, whom the end of the process is
--- laid to, and whose the processes are that it left running. Pure.
---
--- A result belongs to the test that it names. A result for a test that is not open is refused: nothing happens to the
--- test; a failure that is refused so is told of at the end, with all else that nobody asked for (`outside`).

local results = require("runner.worker.result_shape")

local M = {}

local NAMES_SHOWN, TEXTS_SHOWN = 10, 10

---@class runner.LedgerReport what hears of the tests
---@field started fun(item: runner.Item) also of one that goes on after another that ran at the same time
---@field output fun(item: runner.Item, stream: "stdout"|"stderr", bytes: string)
---@field finished fun(item: runner.Item, result: table)
---@field problem fun(problem: table)
---@field distrusted? fun(why: string) what the process reports makes no sense: it is to be ended

---@class runner.Ledger
---@field items runner.Item[] all that the process was given, in order
---@field stopped runner.Item? the core has ended it and knows why
---@field told boolean? a test has a result
---@field latest runner.Item? the test that started last
---@field wrong string? what the process reported that makes no sense; nothing of it counts after that
---@field package open table<runner.Item, true>
---@field package started table<runner.Item, true>
---@field package active runner.Item[] those that run, in the order of their starts
local Ledger = {}
Ledger.__index = Ledger

---@param items runner.Item[]
---@param report runner.LedgerReport
---@param options { in_turn: boolean? }? in_turn: when one starts, the one before has come to its end
---@return runner.Ledger
function M.new(items, report, options)
  local self = setmetatable({
    items = items, report = report, in_turn = options and options.in_turn,
    open = {}, started = {}, active = {}, strangers = { count = 0, names = {}, texts = {} },
  }, Ledger)
  for _, item in ipairs(items) do self.open[item] = true end
  return self
end

---@param item runner.Item?
---@return boolean
function Ledger:is_open(item)
  return item ~= nil and self.open[item] == true
end

--- Has the test started in this process?
---@param item runner.Item
---@return boolean
function Ledger:has_started(item)
  return self.started[item] == true
end

--- Are all tests over?
---@return boolean
function Ledger:is_done()
  return next(self.open) == nil
end

--- The tests without a result, in order.
---@return runner.Item[]
function Ledger:left()
  local list = {}
  for _, item in ipairs(self.items) do
    if self.open[item] then list[#list + 1] = item end
  end
  return list
end

--- The tests that run, in the order of their starts.
---@return runner.Item[]
function Ledger:running()
  return table.move(self.active, 1, #self.active, 1, {})
end

--- The test that started last of those that run.
---@return runner.Item?
function Ledger:current()
  return self.active[#self.active]
end

local function deactivate(self, item)
  for i, other in ipairs(self.active) do
    if other == item then return table.remove(self.active, i) end
  end
end

--- A test starts, or goes on.
---@param item runner.Item
function Ledger:start(item)
  if not self.open[item] or self:current() == item then return end
  deactivate(self, item)
  if self.in_turn then self.active = {} end
  self.active[#self.active + 1] = item
  self.started[item], self.latest = true, item
  self.report.started(item)
end

--- A test has ended; how comes later, or never if the process dies.
---@param item runner.Item
function Ledger:pause(item)
  if self.started[item] then deactivate(self, item) end
end

--- Output of a test, or of the one that started last and runs.
---@param item runner.Item?
---@param stream "stdout"|"stderr"
---@param bytes string
function Ledger:output(item, stream, bytes)
  item = item or self:current()
  if self:is_open(item) then self.report.output(item, stream, bytes) end
end

--- The result of a test. Refused, if it is not open.
---@param item runner.Item
---@param result table
---@return boolean taken
function Ledger:finish(item, result)
  result = results.mended(result)
  if not self.open[item] then
    if results.is_failure(result) and item ~= self.stopped then
      self:outside(("%s, again"):format(item.id), result.message)
    end
    return false
  end
  if self.in_turn and not self.started[item] then self:start(item) end -- else its result is late, and another runs
  self.open[item] = nil
  deactivate(self, item)
  self.told = true
  self.report.finished(item, result)
  if self.active[1] and not self.in_turn then self.report.started(self:current()) end -- it is watched again
  return true
end

--- Whom the end of the process is laid to: the test that was stopped, and no other; else the only one that ran. Where
--- several ran at once, nobody can say which of them it was.
---@return runner.Item? culprit
---@return runner.Item[] suspects
function Ledger:blame()
  if self.stopped then return self:is_open(self.stopped) and self.stopped or nil, {} end
  if #self.active > 1 then return nil, self:running() end
  return self.active[1], {}
end

--- Takes what a process left running apart: the culprit's own, and what is told of as a problem.
---@param leaks { command: string, test: string? }[]?
---@param culprit runner.Item? who the end of the process is laid to
---@param tell fun(problem: table)
---@param lone runner.Item? the only test that the process had
---@return table[]? own
function M.split_leaks(leaks, culprit, tell, lone)
  local own
  for _, leak in ipairs(leaks or {}) do
    local id = leak.test ~= "" and leak.test or nil
    if culprit and (not id or id == culprit.id) then
      own = own or {}
      own[#own + 1] = leak
    else
      tell({ kind = "leak", id = id or lone and lone.id, message = "left running: " .. leak.command })
    end
  end
  return own
end

---@param exit runner.CommandExit
---@param culprit runner.Item?
---@return table[]? own
function Ledger:leaks(exit, culprit)
  return M.split_leaks(exit.leaks, culprit, self.report.problem, #self.items == 1 and self.items[1] or nil)
end

--- The process reports what makes no sense. Whoever drives it ends it; the test that runs is to blame.
---@param why string
function Ledger:distrust(why)
  if self.wrong then return end
  self.wrong = "what its process reported makes no sense: " .. why
  if self.report.distrusted then self.report.distrusted(self.wrong) end
end

-- What nobody asked for ---------------------------------------------------------------------------------------------

--- Something was reported that is of no test that the process was given.
---@param name string
---@param text string? what was said of it
function Ledger:outside(name, text)
  local list = self.strangers
  list.count = list.count + 1
  if #list.names < NAMES_SHOWN then list.names[#list.names + 1] = ("%q"):format(name) end
  if text and #list.texts < TEXTS_SHOWN then list.texts[#list.texts + 1] = ("%s: %s"):format(name, text) end
end

--- The names of what nobody asked for, as a list for people; nil: there is nothing of the kind.
---@return string? names
---@return integer count
---@return string? text
function Ledger:outsiders()
  local list = self.strangers
  if list.count == 0 then return nil, 0 end
  local more = list.count - #list.names
  return table.concat(list.names, ", ") .. (more > 0 and (" and %d more"):format(more) or ""), list.count,
    list.texts[1] and table.concat(list.texts, "\n")
end

--- Tells of what nobody asked for, if there was any.
---@param id string? of what reported it: a file, a program
function Ledger:tell_outsiders(id)
  local names, count, text = self:outsiders()
  if not names then return end
  self.strangers = { count = 0, names = {}, texts = {} }
  self.report.problem({
    kind = "collection", id = id, text = text,
    message = ("%d result%s of no test that was to run now: %s"):format(count, count == 1 and " is" or "s are", names),
  })
end

--- For a reader of the process' output: the same, as plain functions.
---@return runner.BatchSink
function Ledger:sink()
  return {
    started = function(item) self:start(item) end,
    output = function(item, stream, bytes) self:output(item, stream, bytes) end,
    finished = function(item, result) self:finish(item, result) end,
    outside = function(name, text) self:outside(name, text) end,
    distrust = function(why) self:distrust(why) end,
    problem = self.report.problem,
    running = function() return self:current() end,
  }
end

return M
