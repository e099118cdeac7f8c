--- A unit of tests (a file) that a process of ours runs, and what it tells of them (see runner.framework.resident for
--- the messages). Pure bookkeeping: which tests have started, which have a verdict, and who is to blame when all ends.

local exit_text = require("runner.io.exit_text")

local M = {}

---@class runner.Unit
---@field items runner.Item[]
---@field hung number? seconds after which the file's own code was given up
---@field stopped runner.Item? the core ended it
local Unit = {}
Unit.__index = Unit

---@class runner.UnitSink
---@field started fun(item: runner.Item) also of one that goes on after another that ran at the same time
---@field output fun(item: runner.Item, stream: "stdout"|"stderr", bytes: string)
---@field finished fun(item: runner.Item, result: table)
---@field problem fun(problem: table)

---@param items runner.Item[]
---@param sink runner.UnitSink
---@return runner.Unit
function M.new(items, sink)
  local self = setmetatable({ items = items, sink = sink, open = {}, by_token = {}, begun = {}, is_running = {} }, Unit)
  for _, item in ipairs(items) do self.open[item] = true end
  return self
end

--- The tests without a verdict.
---@return runner.Item[]
function Unit:left()
  local list = {}
  for _, item in ipairs(self.items) do
    if self.open[item] then list[#list + 1] = item end
  end
  return list
end

--- The tests that have started and not ended.
---@return runner.Item[]
function Unit:running()
  local list = {}
  for _, item in ipairs(self.begun) do
    if self.open[item] and self.is_running[item] then list[#list + 1] = item end
  end
  return list
end

---@param item runner.Item
---@param result table
function Unit:finish(item, result)
  if not self.open[item] then return end
  self.open[item] = nil
  self.sink.finished(item, result)
end

--- The test that started last; before the first, the one whose turn it will be.
---@return runner.Item?
function Unit:current()
  local item = self.begun[#self.begun] or self.items[1]
  return self.open[item] and item or nil
end

local on_message = {}

function on_message.start(self, message)
  local item = self.by_token[message.start]
  if not item or not self.open[item] or self.is_running[item] then return end
  if self.is_running[item] == nil then self.begun[#self.begun + 1] = item end
  self.is_running[item] = true
  self.sink.started(item)
end

--- It has ended; how is told later, or never if its process dies.
function on_message.over(self, message)
  local item = self.by_token[message.over]
  if item and self.is_running[item] then self.is_running[item] = false end
end

local function unhex(text)
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

function on_message.output(self, message)
  local stream, token, text, is_hex = table.unpack(message.output)
  local item = self.by_token[token] or self:current()
  if not item or not self.open[item] or type(text) ~= "string" then return end
  self.sink.output(item, stream == "stderr" and "stderr" or "stdout", is_hex == 1 and unhex(text) or text)
end

function on_message.done(self, message)
  local item = self.by_token[message.done]
  if not item or not self.open[item] or type(message.result) ~= "table" then return end
  self:finish(item, message.result)
  local running = self:running()
  if #running > 0 then self.sink.started(running[#running]) end
end

--- Takes a message of a kind that concerns single tests.
---@param kind string
---@param message table
---@return boolean
function Unit:take(kind, message)
  if not on_message[kind] then return false end
  on_message[kind](self, message)
  return true
end

--- The unit came to its end by itself.
---@param message table `ran`: what went wrong in the file itself, which tests it turned out not to have, and which
---  beyond the listing
function Unit:ended(message)
  local errors, file = message.errors or {}, self.items[1].test.file
  for _, token in ipairs(message.gone or {}) do
    local item = self.by_token[token]
    if item then self:finish(item, { status = "failed",
      message = ("%s has no such test when it runs: its titles differ from one time to the next"):format(file) }) end
  end
  local left = self:left()
  local first = errors[1] or { message = ("%s came to its end, but this test did not run"):format(file) }
  for _, item in ipairs(left) do
    self:finish(item, { status = "failed", type = first.type, trace = first.trace, message = first.message })
  end
  for i = #left > 0 and 2 or 1, #errors do
    self.sink.problem({ kind = "teardown", id = file, message = errors[i].message, text = errors[i].trace })
  end
  local names = {}
  for i, titles in ipairs(message.unlisted or {}) do names[i] = table.concat(titles, " > ") end
  if #names > 0 then
    self.sink.problem({
      kind = "collection", id = file, text = table.concat(names, "\n"),
      message = ("%d tests appeared only when it ran; they are not counted"):format(#names),
    })
  end
end

--- The result of who is to blame for the end of a process.
---@param death table how it ended: `code`, or `signal`, or else a `message`; `trace`: what it said
---@param where string what happened then
---@return table result
function M.crash(death, where)
  local how = (death.signal or death.code) and "the process " .. exit_text.verb(death) or death.message
  return {
    status = "crashed", exit_code = death.code, signal = death.signal,
    message = ("%s while %s"):format(how, where), trace = death.trace and death.trace:find("%S") and death.trace or nil,
  }
end

--- The process in which the tests ran has ended. The test that ran is to blame; if several ran at once, nobody can say
--- which it was; if none did, it was the file's own code, and the tests that it still had share its fate.
---@param result_of fun(where: string): table
---@param leaks table[]? what was left running
---@return runner.Item[] items to be run again, alone
function Unit:died(result_of, leaks)
  local running = self:running()
  if self.stopped then
    self:finish(self.stopped, { status = "failed", leaks = leaks }) -- the core knows why it was stopped
  elseif self.hung then
    for _, item in ipairs(self:left()) do
      self:finish(item, {
        status = "timed_out", leaks = leaks,
        message = ("%s: what it does outside of its tests did not end within %g s"):format(item.test.file, self.hung),
      })
    end
  elseif #running == 1 then
    local result = result_of("this test ran")
    result.leaks = leaks
    self:finish(running[1], result)
  elseif #running > 1 then
    return running
  else
    local ended = {}
    for _, item in ipairs(self:left()) do
      if self.is_running[item] == false and #self.items > 1 then
        ended[#ended + 1] = item -- only its result was lost
      else
        self:finish(item, result_of("it loaded the file, or ran what surrounds its tests"))
      end
    end
    return ended
  end
  return {}
end

return M
