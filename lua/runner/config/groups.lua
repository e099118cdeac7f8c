--- Groups of tests in a configuration: a map from names, a list, or the `framework` shortcut; in their
--- normal form a list with everything a group may override filled in.

local checkers = require("runner.config.checker")
local overrides = require("runner.config.overrides")
local plugin = require("runner.plugin")
local schema = require("runner.config.schema")
local types = require("runner.plugin.types")

local M = {}

---@class runner.Group
---@field name string
---@field framework runner.Bound
---@field retries integer
---@field test_timeout number? seconds; nil: no limit
---@field slow_timeout number? seconds; nil: never reported as slow
---@field schedule "batch"|"individual"
---@field individual boolean?
---@field providers table<string, true>? names of the providers that may run it
---@field max_parallel integer?
---@field exclusive true|string[]|nil
---@field weight integer?
---@field priority number?
---@field setup string?
---@field teardown string?
---@field filters string[]? a test's name must hold one of these
---@field env table<string, string|false>? on top of the configuration's

local NO_GROUPS = 'nothing to run: set framework = "pytest", or groups = { unit = pytest { … } }'

local function is_framework(value)
  return type(value) == "string" or plugin.is(value) or plugin.is_bound(value)
end

--- One group; `settings` supplies what it does not override.
local function read_group(checker, value, path, name, settings)
  if is_framework(value) then
    value = { value }
  end
  local group = checker:table(schema.group, value, path, { true })
  if not checkers.is_plain(value) then
    return nil
  elseif value[1] ~= nil and value.framework ~= nil then
    checker:problem(path, "two frameworks: the first value and framework; keep one")
    return nil
  elseif value[1] == nil and value.framework == nil then
    checker:problem(path, 'expected a framework: { pytest { … }, retries = 2 }')
    return nil
  end
  local at = checker.below(path, value[1] ~= nil and 1 or "framework")
  group.framework = checker:bound("framework", value[1] or value.framework,
    value[1] ~= nil and path or at)
  if name and group.name and group.name ~= name then
    checker:problem(checker.below(path, "name"), "the group is called %q already", name)
  end
  group.name = name or group.name or (group.framework and group.framework.name)
  if group.name and (group.name == "" or group.name:find("[%c/]")) then
    checker:problem(path, "expected a name without control characters and slashes, got %s",
      types.describe(group.name))
  end
  for _, key in ipairs({ "retries", "test_timeout", "slow_timeout" }) do
    if group[key] == nil then
      group[key] = settings[key]
    elseif group[key] == "none" then
      group[key] = nil
    end
  end
  group.individual = group.schedule == "individual" or nil
  group.providers = overrides.provider_set(checker, group.only_on, checker.below(path, "only_on"))
  group.exclusive = overrides.exclusive(checker, group.exclusive, checker.below(path, "exclusive"))
  return group.framework and group
end

--- Keys of the table, the list's first and in order, then the names; and how many belong to the list.
local function ordered_keys(groups)
  local keys = {}
  for key in next, groups do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    local a_is_name, b_is_name = type(a) == "string", type(b) == "string"
    if a_is_name ~= b_is_name then
      return b_is_name
    elseif type(a) == "number" and type(b) == "number" then
      return a < b
    end
    return tostring(a) < tostring(b)
  end)
  local count = 0
  for _, key in ipairs(keys) do
    count = count + (type(key) == "string" and 0 or 1)
  end
  return keys, count
end

--- Read `framework` and `groups`.
---@param checker runner.Checker
---@param framework any
---@param groups any
---@param settings table normal settings: retries, test_timeout, slow_timeout
---@return runner.Group[]
function M.read(checker, framework, groups, settings)
  if framework ~= nil and groups ~= nil then
    checker:problem({ "framework" }, "set either framework or groups, not both")
    return {}
  elseif framework ~= nil and not is_framework(framework) then
    checker:bound("framework", framework, { "framework" }) -- notes what is wrong with it
    return {}
  elseif framework ~= nil then
    return { read_group(checker, framework, { "framework" }, nil, settings) }
  elseif groups == nil then
    checker:problem({}, NO_GROUPS)
    return {}
  elseif is_framework(groups) then
    checker:problem({ "groups" }, "expected a table of groups: groups = { unit = %s { … } }",
      type(groups) == "string" and groups or groups.name)
    return {}
  elseif not checkers.is_plain(groups) then
    checker:problem({ "groups" }, "expected a table of groups, got %s", types.describe(groups))
    return {}
  elseif next(groups) == nil then
    checker:problem({ "groups" }, NO_GROUPS)
    return {}
  end

  local result, taken = {}, {}
  local keys, positions = ordered_keys(groups)
  for i, key in ipairs(keys) do
    local path = { "groups", key }
    if i <= positions and key ~= i then
      checker:problem(path, "expected a name or a list without holes")
    else
      local name = type(key) == "string" and key or nil
      local group = read_group(checker, groups[key], path, name, settings)
      if group and taken[group.name] then
        checker:problem(path, "a second group called %q; give it another name = \"…\"", group.name)
      elseif group then
        taken[group.name] = true
        result[#result + 1] = group
      end
    end
  end
  return result
end

return M
