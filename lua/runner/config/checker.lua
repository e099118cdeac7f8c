--- Collects everything that is wrong with one configuration, each problem with the path of its key, so that
--- a person sees all of it at once.

local errors = require("runner.base.errors")
local plugin = require("runner.plugin")
local schema = require("runner.config.schema")
local suggest = require("runner.base.suggest")
local types = require("runner.plugin.types")

local Checker = {}
Checker.__index = Checker

local M = {}

---@class runner.Checker
---@field file string the configuration, as shown to a person
---@field dir string its folder, absolute
---@field modules runner.Modules
---@field problems string[]

---@param file string
---@param dir string
---@param modules runner.Modules
---@return runner.Checker
function M.new(file, dir, modules)
  return setmetatable({ file = file, dir = dir, modules = modules, problems = {} }, Checker)
end

--- Is this a table with no meaning of its own (not a plug-in, not an object)?
---@param value any
---@return boolean
function M.is_plain(value)
  return type(value) == "table" and getmetatable(value) == nil
end

--- Note a problem with the value at `path`.
---@param path (string|number)[]
---@param fmt string
function Checker:problem(path, fmt, ...)
  local message = select("#", ...) > 0 and fmt:format(...) or fmt
  local prefix = #path > 0 and types.key_path(path) .. ": " or ""
  self.problems[#self.problems + 1] = prefix .. message
end

--- `path` with more keys after it.
---@param path (string|number)[]
---@return (string|number)[]
function Checker.below(path, ...)
  local longer = table.move(path, 1, #path, 1, {})
  for _, key in ipairs({ ... }) do
    longer[#longer + 1] = key
  end
  return longer
end

--- Check a table against rows of the schema. Keys in `besides` are the caller's business.
---@param rows runner.SchemaRow[]
---@param value any
---@param path (string|number)[]
---@param besides table<any, true>?
---@return table normal every key that is set or has a default
function Checker:table(rows, value, path, besides)
  local normal = {}
  if not M.is_plain(value) then
    self:problem(path, "expected a table, got %s", types.describe(value))
    value = {}
  end
  local known, unknown = {}, {}
  for _, row in ipairs(rows) do
    known[row.key] = true
  end
  for key in next, value do
    if not known[key] and not (besides and besides[key]) then
      unknown[#unknown + 1] = key
    end
  end
  table.sort(unknown, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(unknown) do
    local hint = suggest.hint(key, schema.keys(rows))
    self:problem(self.below(path, key), "unknown key" .. hint)
  end
  for _, row in ipairs(rows) do
    local checked, problems = types.check(row.type .. "?", value[row.key])
    for _, problem in ipairs(problems or {}) do
      local at = self.below(path, row.key, table.unpack(problem.path))
      self:problem(at, "%s", problem.message)
    end
    if checked == nil then
      -- A default table is empty; everybody gets one of their own, because flags write into it.
      checked = type(row.default) == "table" and {} or row.default
    end
    normal[row.key] = checked
  end
  return normal
end

--- A plug-in with its options, from what a configuration may say: bound, not bound yet, or a name.
---@param kind runner.PluginKind
---@param value any
---@param path (string|number)[]
---@return runner.Bound? nil when it is none (noted)
function Checker:bound(kind, value, path)
  if type(value) == "string" then
    local ok, found = pcall(plugin.load, kind, value, self.dir, self.modules)
    if not ok then
      local hint = errors.is(found) and found.context.hint
      self:problem(path, "%s%s", tostring(found), hint and (" (%s)"):format(hint) or "")
      return nil
    end
    value = found
  end
  if plugin.is(value, kind) then
    value = plugin.deferring(value)
  end
  if not plugin.is_bound(value, kind) then
    self:problem(path, 'expected a %s, such as require("%ss.%s") { … }, or its name; got %s',
      kind, kind, plugin.builtin[kind][#plugin.builtin[kind]], types.describe(value))
    return nil
  end
  for _, problem in ipairs(value.problems or {}) do
    local where = value.where and (" (%s)"):format(value.where) or ""
    self:problem(path, "%s%s", plugin.explain(value.plugin, problem), where)
  end
  return value
end

--- Raise one error of kind "config" that lists every problem; nothing when there is none.
function Checker:finish()
  local problems = self.problems
  if #problems == 0 then
    return
  end
  local message = ("%s: %s"):format(self.file, problems[1])
  if #problems > 1 then
    message = ("%s: %d problems\n  %s"):format(self.file, #problems, table.concat(problems, "\n  "))
  end
  errors.raise("config", message, { file = self.file, problems = problems })
end

return M
