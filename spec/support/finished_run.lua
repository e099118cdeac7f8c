--- What a run left behind: its events, and the one final state of each test.

local cjson = require("cjson.safe")
local assert = require("luassert")

local M = {}

--- The events so far; a line that is being written does not count.
---@param dir string folder of the configuration
---@return table[]
function M.events(dir)
  local list = {}
  local file = io.open(dir .. "/test-results/events.ndjson", "rb")
  if not file then return list end
  for line in file:read("a"):gmatch("([^\n]*)\n") do list[#list + 1] = assert(cjson.decode(line)) end
  file:close()
  return list
end

--- The first event of that name for which `fields` hold.
function M.find(dir, name, fields)
  for _, event in ipairs(M.events(dir)) do
    local same = event.event == name
    for key, value in pairs(fields or {}) do same = same and event[key] == value end
    if same then return event end
  end
end

--- Final states by test id; asserts that each test has exactly one, and that each attempt ended once.
---@return table<string, string>
function M.states(dir)
  local state, known, attempts = {}, {}, {}
  for _, event in ipairs(M.events(dir)) do
    if event.event == "test" then
      known[event.id] = true
    elseif event.event == "test_finished" then
      assert.is_nil(state[event.id], "two final states: " .. event.id)
      state[event.id] = event.status
    elseif event.event == "attempt_finished" then
      local key = event.id .. "\0" .. event.attempt
      assert.is_nil(attempts[key], "an attempt ended twice: " .. event.id)
      attempts[key] = event.status
    end
  end
  for id in pairs(known) do assert.is_string(state[id], "no final state: " .. id) end
  return state
end

--- How many tests ended in each state.
function M.counts(dir)
  local counts = {}
  for _, status in pairs(M.states(dir)) do counts[status] = (counts[status] or 0) + 1 end
  return counts
end

return M
