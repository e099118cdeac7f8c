--- Overrides of a configuration in normal form, and what they share with groups.

local checkers = require("runner.config.checker")
local errors = require("runner.base.errors")
local expression = require("runner.select.expression")
local schema = require("runner.config.schema")
local types = require("runner.plugin.types")

local M = {}

--- Mutexes: true, a name or a list of names become true or a sorted list.
---@param checker runner.Checker
---@param value any
---@param path (string|number)[]
---@return true|string[]|nil
function M.exclusive(checker, value, path)
  if value == nil or value == false then return nil end
  if value == true then return true end
  local names, problems = types.check("string[]", type(value) == "string" and { value } or value)
  if problems or #names == 0 then
    checker:problem(path, "expected the name of a mutex, a list of names or true, got %s", types.describe(value))
    return nil
  end
  table.sort(names)
  return names
end

--- A set of provider names, nil for nil.
---@param checker runner.Checker
---@param names string[]?
---@param path (string|number)[]
---@return table<string, true>?
function M.provider_set(checker, names, path)
  if not names then return nil end
  if #names == 0 then checker:problem(path, "expected names of providers, got an empty list") end
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

local function read_one(checker, value, path, predicates, names)
  local override = checker:table(schema.override, value, path)
  if not checkers.is_plain(value) then return nil end
  local filter = override.filter
  if not filter then
    checker:problem(path, 'expected filter = "EXPRESSION", which says for which tests this holds')
    return nil
  end
  local ok, parsed = pcall(expression.parse, filter, predicates, names)
  if not ok then
    checker:problem(checker.below(path, "filter"), "%s", errors.coerce(parsed, "config").message)
    return nil
  end
  local settings = override
  settings.filter = nil
  settings.exclusive = M.exclusive(checker, settings.exclusive, checker.below(path, "exclusive"))
  settings.providers = M.provider_set(checker, settings.only_on, checker.below(path, "only_on"))
  for _, key in ipairs({ "test_timeout", "slow_timeout" }) do
    if settings[key] == "none" then settings[key] = false end
  end
  return { filter = parsed, settings = settings }
end

--- Reads `overrides`.
---@param checker runner.Checker
---@param value any
---@param predicates table<string, function>
---@param names runner.KnownNames
---@return runner.Override[]
function M.read(checker, value, predicates, names)
  if not checkers.is_plain(value) then
    checker:problem({ "overrides" }, "expected a list of tables, got %s", types.describe(value))
    return {}
  end
  local list = {}
  for key in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      checker:problem({ "overrides", key }, "expected a plain list of tables")
    end
  end
  for i, item in ipairs(value) do
    list[#list + 1] = read_one(checker, item, { "overrides", i }, predicates, names)
  end
  return list
end

--- Reads `predicates`.
---@param checker runner.Checker
---@param value any
---@return table<string, function>
function M.predicates(checker, value)
  if not checkers.is_plain(value) then
    checker:problem({ "predicates" }, "expected a table of functions, got %s", types.describe(value))
    return {}
  end
  local known = {}
  for name, fn in next, value do
    if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") or type(fn) ~= "function" then
      checker:problem({ "predicates", name }, "expected name = function(test, argument) … end")
    elseif expression.is_builtin(name) then
      checker:problem({ "predicates", name }, "this predicate is built in; choose another name")
    else
      known[name] = fn
    end
  end
  return known
end

return M
