--- What a run left behind: its events, and the one final state of each test.

local cjson = require("cjson.safe")
local assert = require("luassert")
local project = require("spec.support.project")

local M = {}

--- The events so far, or those of one name; a line that is being written does not count.
---@param dir string folder of the configuration
---@param name string?
---@return table[]
function M.events(dir, name)
  local list = {}
  for line in (project.read(dir .. "/test-results/events.ndjson") or ""):gmatch("([^\n]*)\n") do
    local event = assert(cjson.decode(line))
    if not name or event.event == name then list[#list + 1] = event end
  end
  return list
end

--- The first event of that name for which `fields` hold.
function M.find(dir, name, fields)
  for _, event in ipairs(M.events(dir, name)) do
    local same = true
    for key, value in pairs(fields or {}) do same = same and event[key] == value end
    if same then return event end
  end
end

--- What the first attempt at a test has printed, whole.
---@param id string? default: of the first that ended
---@return string
function M.output(dir, id)
  return project.read(dir .. "/test-results/" .. M.find(dir, "attempt_finished", { id = id }).log)
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
