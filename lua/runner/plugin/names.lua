--- Lists the plug-ins that a configuration may name: ours, and the files of its user.

local M = {}

--- The plug-ins that come with runner, by kind.
M.BUILTIN = {
  provider = { "command", "docker", "local", "remote", "ssh" },
  framework = {
    "busted", "cargo", "command", "ctest", "go", "gtest", "jest", "mocha", "pytest", "rspec", "vitest",
  },
}

--- The names that `load` finds: ours, then the user's.
---@param kind runner.PluginKind
---@param user_modules runner.Modules
---@return string[]
function M.all(kind, user_modules)
  local list = table.move(M.BUILTIN[kind], 1, #M.BUILTIN[kind], 1, {})
  return table.move(user_modules.plugins(kind), 1, #user_modules.plugins(kind), #list + 1, list)
end

return M
