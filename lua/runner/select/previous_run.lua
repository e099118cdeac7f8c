--- What earlier runs say of a test: the last run, from its event log; where that says nothing, the history.

local event_log = require("runner.results.event_log")
local folder = require("runner.results.folder")
local outcome = require("runner.base.outcome")

local M = {}

---@class runner.Past
---@field package tests table<string, runner.TestState>
---@field package history runner.History?
---@field exists boolean there was an earlier run
local Past = {}
Past.__index = Past

--- Reads the log of the last run; to be called before the next empties its folder.
---@param dir string results folder
---@param history runner.History?
---@return runner.Past
function M.load(dir, history)
  local state = event_log.fold(dir .. "/" .. folder.EVENTS)
  return setmetatable({ tests = state and state.by_id or {}, history = history, exists = state ~= nil }, Past)
end

--- How many tests the last run had, and how many of them failed(latest) means.
---@return integer tests
---@return integer failed
function Past:counts()
  local tests, failed = 0, 0
  for _, state in pairs(self.tests) do
    tests = tests + 1
    if state.status == "not_run" or outcome.FAILURE[state.status] then failed = failed + 1 end
  end
  return tests, failed
end

--- How the test ended in the last run, nil when it was not part of it.
---@param test { id: string }
---@return string?
function Past:status(test)
  local state = self.tests[test.id]
  return state and state.status
end

--- Seconds that it took in the last run, all attempts together; else what it usually takes.
---@param test { id: string, group: string }
---@return number?
function Past:duration(test)
  local state = self.tests[test.id]
  if state and state.attempts[1] then return state.duration end
  return self.history and self.history:duration(test)
end

--- Was it flaky in the last run, or in one that the history remembers? That it passed last says nothing of that.
---@param test { id: string, group: string }
---@return boolean
function Past:is_flaky(test)
  return self:status(test) == "flaky" or self.history ~= nil and self.history:is_flaky(test)
end

return M
