--- The environment of a CTest test: ENVIRONMENT, then ENVIRONMENT_MODIFICATION on top of it.

local M = {}

local SEPARATOR = { string = "", path_list = ":", cmake_list = ";" }

--- Do these modifications build on values that are there already?
---@param modifications string[]
---@return boolean
function M.needs_base(modifications)
  for _, text in ipairs(modifications) do
    if text:find("^[^=]*=[%l_]+_append:") or text:find("^[^=]*=[%l_]+_prepend:") then return true end
  end
  return false
end

--- The output of `env -0`.
---@param text string
---@return table<string, string>
function M.parse(text)
  local env = {}
  for name, value in text:gmatch("([^=%z]+)=([^%z]*)%z") do env[name] = value end
  return env
end

---@param entry runner.ctest.Entry
---@param base table<string, string>? what is there already
---@return table<string, string|false> env false: unset
function M.of(entry, base)
  local env = { CTEST_INTERACTIVE_DEBUG_MODE = "1" }
  for _, setting in ipairs(entry.env) do
    local name, value = setting:match("^([^=]+)=(.*)$")
    if name then env[name] = value end
  end
  local changed = {}
  for _, text in ipairs(entry.modifications) do
    local name, operation, value = text:match("^([^=]+)=([%l_]+):(.*)$")
    local kind, where = (operation or ""):match("^(.+)_(%l+)$")
    local separator = SEPARATOR[kind]
    if operation == "set" then
      changed[name] = value
    elseif operation == "unset" then
      changed[name] = false
    elseif operation == "reset" then
      changed[name] = nil
    elseif separator and (where == "append" or where == "prepend") then
      local old = changed[name]
      if old == nil then old = env[name] or base and base[name] end
      old = old or ""
      local between = old ~= "" and separator or ""
      changed[name] = where == "append" and old .. between .. value or value .. between .. old
    end
  end
  for name, value in pairs(changed) do env[name] = value end
  return env
end

return M
