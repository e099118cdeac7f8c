--- Plug-ins: what a provider or a framework is, how its options are checked, how one is found by name. A
--- plug-in is a table that a file returns; calling it with options gives a bound value for a configuration.
---
---     return plugin.provider { name = "mine", api = 1, options = { image = "string", cpus = "number?" },
---       open = function(options, ctx) … end }

local errors = require("runner.base.errors")
local loader = require("runner.plugin.loader")
local names = require("runner.plugin.names")
local suggest = require("runner.base.suggest")
local types = require("runner.plugin.types")

local M = {}

--- Version of the interface between the core and plug-ins.
M.API = 1

M.builtin = names.BUILTIN

---@alias runner.PluginKind "provider"|"framework"

---@class runner.Plugin a provider or framework; call it with options
---@field kind runner.PluginKind
---@field name string
---@field api integer
---@field options table<string|integer, string> option → type
---@field check (fun(options: table): string?)? what is wrong with options that are right one by one
---@overload fun(options?: table): runner.Bound

---@class runner.Bound a plug-in with its options
---@field plugin runner.Plugin
---@field name string
---@field kind runner.PluginKind
---@field options table checked, in normal form
---@field problems runner.Problem[]? only while a configuration loads, which reports them all at once
---@field where string? "file:line" of the call

local functions = {
  provider = { required = { "open" }, optional = { "check", "slots", "sandboxes", "prepare", "finish", "gc" } },
  framework = { required = { "session" }, optional = { "check" } },
}

local Bound = { __name = "runner.Bound" }

function Bound:__tostring()
  return ("the %s %s"):format(self.kind, self.name)
end

local Plugin = { __name = "runner.Plugin" }

function Plugin:__tostring()
  return ("the %s %s"):format(self.kind, self.name)
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

--- Check options against what the plug-in declares.
---@param plugin runner.Plugin
---@param options any
---@return table checked
---@return runner.Problem[] problems
function M.check_options(plugin, options)
  if type(options) ~= "table" or getmetatable(options) then
    local message = "expected a table of options, got " .. types.describe(options)
    return {}, { { path = {}, message = message } }
  end
  local checked, problems = {}, {}
  local declared = sorted_keys(plugin.options)
  for _, key in ipairs(declared) do
    local found
    checked[key], found = types.check(plugin.options[key], options[key])
    for _, problem in ipairs(found or {}) do
      table.insert(problem.path, 1, key)
      problems[#problems + 1] = problem
    end
  end
  for _, key in ipairs(sorted_keys(options)) do
    if plugin.options[key] == nil then
      local known = #declared > 0 and "options: " .. table.concat(declared, ", ") or "it has none"
      local hint = suggest.hint(key, declared)
      problems[#problems + 1] = {
        path = { key },
        message = "unknown option" .. (hint ~= "" and hint or " (" .. known .. ")"),
      }
    end
  end
  local message = not problems[1] and plugin.check and plugin.check(checked)
  if message then
    problems[1] = { path = {}, message = message }
  end
  return checked, problems
end

local deferring = false

--- Run `fn`; bound values made meanwhile keep their problems instead of raising the first, so that a
--- configuration can report all of its mistakes at once.
---@param fn fun(...): ...
---@return any ... what `fn` returns
function M.deferring(fn, ...)
  deferring = true
  local results = table.pack(pcall(fn, ...))
  deferring = false
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

--- Bind options to the plug-in.
---@param options table? nil: no options
---@return runner.Bound
function Plugin:__call(options)
  local checked, problems = M.check_options(self, options == nil and {} or options)
  local caller = debug.getinfo(2, "Sl")
  local where
  if caller and caller.currentline > 0 then
    where = ("%s:%d"):format(caller.short_src, caller.currentline)
  end
  if problems[1] and not deferring then
    errors.raise("plugin", M.explain(self, problems[1]), { problems = problems, where = where })
  end
  return setmetatable({
    plugin = self,
    name = self.name,
    kind = self.kind,
    options = checked,
    problems = problems[1] and problems or nil,
    where = where,
  }, Bound)
end

--- One line about a problem with an option: plug-in, option, what is wrong.
---@param plugin runner.Plugin
---@param problem runner.Problem
---@return string
function M.explain(plugin, problem)
  if #problem.path == 0 then
    return ("%s %s: %s"):format(plugin.kind, plugin.name, problem.message)
  end
  return ("%s %s: option %s: %s")
    :format(plugin.kind, plugin.name, types.key_path(problem.path), problem.message)
end

local function define(kind, spec)
  local function wrong(fmt, ...)
    local name = type(spec) == "table" and type(spec.name) == "string" and " " .. spec.name or ""
    errors.raise("plugin", kind .. name .. ": " .. fmt:format(...), { plugin = name })
  end
  if type(spec) ~= "table" then
    wrong("expected a table, got %s", types.describe(spec))
  elseif type(spec.name) ~= "string" or not spec.name:find("^[%w_-]+$") then
    wrong("name: expected letters, digits, - and _, got %s", types.describe(spec.name))
  elseif spec.api ~= M.API then
    wrong("api: made for version %s of the plug-in interface; this runner speaks version %d",
      tostring(spec.api), M.API)
  elseif spec.options ~= nil and type(spec.options) ~= "table" then
    wrong("options: expected a table from names to types, got %s", types.describe(spec.options))
  end
  for key, option_type in pairs(spec.options or {}) do
    local ok, why = types.valid(option_type)
    if not ok then
      wrong("options.%s: %s", tostring(key), why)
    end
  end
  local has_required = false
  for _, field in ipairs(functions[kind].required) do
    has_required = has_required or spec[field] ~= nil
  end
  if not has_required then
    local needed = table.concat(functions[kind].required, " or ")
    local hint = ""
    for _, field in ipairs(functions[kind].required) do
      local near = suggest.nearest(field, sorted_keys(spec))
      hint = near and (" (it has %s)"):format(near) or hint
    end
    wrong("it needs a function %s%s", needed, hint)
  end
  for _, fields in pairs(functions[kind]) do
    for _, field in ipairs(fields) do
      if spec[field] ~= nil and type(spec[field]) ~= "function" then
        wrong("%s: expected a function, got %s", field, types.describe(spec[field]))
      end
    end
  end
  spec.kind = kind
  spec.options = spec.options or {}
  if kind == "provider" then
    spec.options.price = spec.options.price or "amount?" -- of a sandbox for an hour, for `runner plan` and the summary
  end
  return setmetatable(spec, Plugin)
end

--- Check the table of a provider and make it callable. Raises an error of kind "plugin".
---@param spec table
---@return runner.Plugin
function M.provider(spec)
  return define("provider", spec)
end

--- Check the table of a framework and make it callable. Raises an error of kind "plugin".
---@param spec table
---@return runner.Plugin
function M.framework(spec)
  return define("framework", spec)
end

--- Is this a plug-in (of this kind), not yet bound?
---@param value any
---@param kind runner.PluginKind?
---@return boolean
function M.is(value, kind)
  return getmetatable(value) == Plugin and (kind == nil or value.kind == kind)
end

--- Is this a plug-in with its options (of this kind)?
---@param value any
---@param kind runner.PluginKind?
---@return boolean
function M.is_bound(value, kind)
  return getmetatable(value) == Bound and (kind == nil or value.kind == kind)
end

M.names = names.all

--- Find a plug-in by name: the user's in `.runner/{providers,frameworks}/` and beside the configuration,
--- then ours. Raises an error of kind "config" that names the file.
---@param kind runner.PluginKind
---@param name string
---@param dir string folder of the configuration, absolute
---@param user_modules runner.Modules? that folder's modules, when they are there already
---@return runner.Plugin
function M.load(kind, name, dir, user_modules)
  if type(name) ~= "string" or not name:find("^[%w_-]+$") then
    errors.raise("config", ("%s is no name for a %s"):format(types.describe(name), kind))
  end
  user_modules = user_modules or loader.new(dir)
  local module = kind .. "s." .. name
  local file = user_modules.path(module)
  if not file then
    local known = M.builtin[kind]
    local is_builtin = false
    for _, builtin in ipairs(known) do
      is_builtin = is_builtin or builtin == name
    end
    if not is_builtin then
      local hint = suggest.hint(name, names.all(kind, user_modules))
      errors.raise("config", ("unknown %s %q%s"):format(kind, name, hint), {
        hint = ("built in: %s; your own go into %s/.runner/%ss/%s.lua")
          :format(table.concat(known, ", "), dir, kind, name),
      })
    end
  end
  local shown = file or "built-in " .. module
  local ok, value = xpcall(user_modules.require, function(raised)
    return errors.coerce(raised, "config")
  end, module)
  if not ok then
    errors.raise("config", ("the %s %s cannot be loaded (%s)"):format(kind, name, shown),
      { file = file, cause = value })
  elseif not M.is(value) then
    errors.raise("config", ("%s: expected it to return plugin.%s { … }, got %s")
      :format(shown, kind, types.describe(value)), { file = file })
  elseif value.kind ~= kind then
    errors.raise("config", ("%s: expected a %s, got %s"):format(shown, kind, tostring(value)),
      { file = file })
  end
  return value
end

return M
