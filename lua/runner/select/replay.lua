--- The order in which an earlier run started its tests.

local errors = require("runner.base.errors")
local event_log = require("runner.results.event_log")
local folder = require("runner.results.folder")

local M = {}

--- Reads it from an event log. Raises an error of kind "usage".
---@param name string the log, or the results folder with it
---@return table<string, integer> place by test id
function M.read(name)
  local events, message = event_log.read(folder.log(name))
  if not events then errors.raise("usage", "--replay-order: cannot read " .. message) end
  local places, n = {}, 0
  for event in events do
    if event.event == "attempt_started" and event.id and not places[event.id] then
      n = n + 1
      places[event.id] = n
    end
  end
  if n == 0 then errors.raise("usage", ("--replay-order: no test was started in %s"):format(name)) end
  return places
end

--- The tests in that order; those that did not run then come last.
---@param tests table[]
---@param places table<string, integer>
---@return table[]
function M.sort(tests, places)
  local index = {}
  for i, test in ipairs(tests) do index[test] = places[test.id] or #tests + i + 1e9 end
  table.sort(tests, function(a, b) return index[a] < index[b] end)
  return tests
end

return M
