--- What holds for one test: its group's settings, what the test says of itself, and above both what the configuration
--- overrides by expression. Overrides are looked through in order; for each key the first that matches and has it
--- counts.

local expression = require("runner.select.expression")

local M = {}

--- Settings that a framework may know of a test, such as ctest's TIMEOUT.
local OWN = { "test_timeout", "slow_timeout", "retries", "weight", "exclusive", "priority" }

---@class runner.Override
---@field filter runner.Expression
---@field settings table<string, any> false: none

---@param overrides runner.Override[]
---@param context runner.ExpressionContext
---@param forced table<string, true>? settings from the command line: nothing is above them
---@return fun(test: table, group: table): table policy has every setting of the group
---@async
function M.resolver(overrides, context, forced)
  local compiled, cache = {}, {}
  for i, one in ipairs(overrides) do compiled[i] = expression.compile(one.filter, context) end
  forced = forced or {}

  --- The group with what the matching overrides set; one table for all its tests that match the same ones.
  local function overridden(test, group)
    local matching, key = {}, group.name
    for i, matches in ipairs(compiled) do
      if matches(test) then
        table.insert(matching, 1, overrides[i].settings)
        key = key .. "\0" .. i
      end
    end
    if not cache[key] then
      cache[key] = {}
      for _, settings in ipairs(matching) do
        for name, value in pairs(settings) do
          if not forced[name] then cache[key][name] = value end
        end
      end
      setmetatable(cache[key], { __index = group })
    end
    return cache[key]
  end

  return function(test, group)
    local settings = overridden(test, group)
    local own
    for _, name in ipairs(OWN) do
      if test[name] ~= nil and rawget(settings, name) == nil and not forced[name] then
        own = own or {}
        own[name] = test[name]
      end
    end
    return own and setmetatable(own, { __index = settings }) or settings
  end
end

return M
