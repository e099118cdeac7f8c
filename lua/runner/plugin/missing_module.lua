--- Hints about plug-ins that a configuration uses without their `require` line, or under a name near theirs.

local names = require("runner.plugin.names")
local suggest = require("runner.base.suggest")

local M = {}

local KINDS = { "framework", "provider" }

--- The modules of the plug-ins with this name: { "frameworks.command", "providers.command" }.
local function modules_of(name, user_modules)
  local found = {}
  for _, kind in ipairs(KINDS) do
    for _, known in ipairs(names.all(kind, user_modules)) do
      if known == name then
        found[#found + 1] = kind .. "s." .. name
        break
      end
    end
  end
  return found
end

local function nearest(name, user_modules)
  local known = {}
  for _, kind in ipairs(KINDS) do
    for _, one in ipairs(names.all(kind, user_modules)) do known[#known + 1] = one end
  end
  return suggest.nearest(name, known)
end

--- The line that defines a plug-in's name; nil when there is no such plug-in.
---@param name string
---@param user_modules runner.Modules
---@return string?
function M.line(name, user_modules)
  local modules = modules_of(name, user_modules)
  if not modules[1] then return nil end
  return ("local %s = require %q%s"):format(name, modules[1], modules[2] and (" (or %q)"):format(modules[2]) or "")
end

--- A hint for an error that Lua raised because of a global that is not defined.
---@param message string
---@param user_modules runner.Modules
---@return string?
function M.global(message, user_modules)
  local name = message:match("attempt to call a nil value %(global '([%w_]+)'%)")
    or message:match("attempt to index a nil value %(global '([%w_]+)'%)")
  if not name then return nil end
  local line = M.line(name, user_modules)
  if line then return "put this line above it: " .. line end
  local near = nearest(name, user_modules)
  return near and ("did you mean %s? It takes this line: %s"):format(near, M.line(near, user_modules))
end

--- What is wrong with names of plug-ins that the configuration read though nothing defines them: Lua takes them for
--- nil, so that `provider = docker` would quietly mean this machine.
---@param user_modules runner.Modules
---@return string[] problems in the order of lines
function M.undefined(user_modules)
  local undefined, problems = {}, {}
  for name in pairs(user_modules.undefined) do
    if rawget(user_modules.env, name) == nil and M.line(name, user_modules) then undefined[#undefined + 1] = name end
  end
  table.sort(undefined, function(a, b) return user_modules.undefined[a] < user_modules.undefined[b] end)
  for i, name in ipairs(undefined) do
    problems[i] = ("line %d: %s is not defined; put this line above it: %s")
      :format(user_modules.undefined[name], name, M.line(name, user_modules))
  end
  return problems
end

--- `; did you mean "frameworks.pytest"?` for a module that is not there, or nothing.
---@param name string
---@param user_modules runner.Modules
---@return string
function M.module(name, user_modules)
  local folder, rest = name:match("^([^./]+)[./](.+)$")
  local meant = folder and suggest.nearest(folder, { "frameworks", "providers" })
  if folder and not meant then return "" end
  rest = rest or name
  local found = modules_of(rest, user_modules)
  if not found[1] then
    local near = meant and suggest.nearest(rest, names.all(meant:sub(1, -2), user_modules))
    near = near or nearest(rest, user_modules)
    found = near and modules_of(near, user_modules) or {}
  end
  local best = found[1]
  for _, module in ipairs(found) do
    if meant and module:find(meant, 1, true) == 1 then best = module end
  end
  return best and ("; did you mean %q?"):format(best) or ""
end

return M
