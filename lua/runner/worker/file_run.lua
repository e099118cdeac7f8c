--- Follows a file of tests that a process of ours runs, by what it tells of them (see runner.worker.resident for the
--- messages), and says what its end means for those that are left. Pure.

local exit_text = require("runner.io.exit_text")
local ledger = require("runner.worker.ledger")

local M = {}

---@class runner.Unit
---@field items runner.Item[]
---@field ledger runner.Ledger
---@field by_token table<integer, runner.Item>
---@field hung number? seconds after which the file's own code was given up
local Unit = {}
Unit.__index = Unit

---@param items runner.Item[]
---@param report runner.LedgerReport
---@return runner.Unit
function M.new(items, report)
  return setmetatable({ items = items, ledger = ledger.new(items, report), by_token = {} }, Unit)
end

--- Whose the output is that is no test's by its own word: the test's that started last; before the first, it is of the
--- one whose turn it will be.
---@return runner.Item?
function Unit:current()
  local item = self.ledger.latest or self.items[1]
  return self.ledger:is_open(item) and item or nil
end

local function unhex(text)
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local on_message = {}

function on_message.start(self, item) self.ledger:start(item) end
function on_message.over(self, item) self.ledger:pause(item) end
function on_message.done(self, item, message) self.ledger:finish(item, message.result) end

function on_message.output(self, item, message)
  local stream, _, text, is_hex = table.unpack(message.output)
  item = item or self:current()
  if item then self.ledger:output(item, stream, is_hex == 1 and unhex(text) or text) end
end

--- Takes a message that concerns a single test.
---@param kind "start"|"over"|"done"|"output"
---@param message table
function Unit:take(kind, message)
  local token = message[kind]
  local item = self.by_token[kind == "output" and token[2] or token]
  if item or kind == "output" then
    on_message[kind](self, item, message)
  elseif kind == "done" then
    self.ledger:outside("test " .. token, message.result.message or message.result.status)
  end
end

--- The unit came to its end by itself.
---@param message table `ran`: what went wrong in the file itself, which tests it turned out not to have, and which
---  beyond the listing
function Unit:ended(message)
  local errors, file = message.errors or {}, self.items[1].test.file
  for _, token in ipairs(message.gone or {}) do
    local item = self.by_token[token]
    if item then
      self.ledger:finish(item, { status = "failed",
        message = ("%s has no such test when it runs: its titles differ from one time to the next"):format(file) })
    end
  end
  local left = self.ledger:left()
  local first = errors[1] or { message = ("%s came to its end, but this test did not run"):format(file) }
  for _, item in ipairs(left) do
    self.ledger:finish(item, { status = "failed", type = first.type, trace = first.trace, message = first.message })
  end
  for i = #left > 0 and 2 or 1, #errors do
    self.ledger.report.problem({ kind = "teardown", id = file, message = errors[i].message, text = errors[i].trace })
  end
  local names = {}
  for i, titles in ipairs(message.unlisted or {}) do names[i] = table.concat(titles, " > ") end
  if #names > 0 then
    self.ledger.report.problem({
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

--- The process in which the tests ran has ended. If no test ran, it was the file's own code, and the tests that it
--- still had share its fate.
---@param result_of fun(where: string): table
---@param leaks table[]? what was left running, of the culprit
---@return runner.Item[] items to be run again, alone
function Unit:died(result_of, leaks)
  local book = self.ledger
  local culprit, suspects = book:blame()
  local function finish(item, result)
    result.leaks = leaks
    book:finish(item, result)
  end
  if book.stopped then
    if culprit then finish(culprit, { status = "failed" }) end -- the core knows why it was stopped
  elseif self.hung then
    for _, item in ipairs(book:left()) do
      finish(item, { status = "timed_out", message = ("%s: what it does outside of its tests did not end within %g s")
        :format(item.test.file, self.hung) })
    end
  elseif culprit then
    finish(culprit, result_of("this test ran"))
  elseif suspects[1] then
    return suspects
  else
    local ended = {}
    for _, item in ipairs(book:left()) do
      if book:has_started(item) and #self.items > 1 then
        ended[#ended + 1] = item -- only its result was lost
      else
        book:finish(item, result_of("it loaded the file, or ran what surrounds its tests"))
      end
    end
    return ended
  end
  return {}
end

return M
