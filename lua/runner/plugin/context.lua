--- What plug-ins may use: the `ctx` that providers and frameworks are given. Primitives are modules of ours, reached
--- through it by name and loaded when asked for: ctx.process, ctx.http, ctx.ssh, ctx.json.

local MODULES = {
  process = "runner.io.process", http = "runner.io.http", ssh = "runner.io.ssh", json = "cjson.safe",
}

local Context = {
  __name = "runner.plugin.context",
  __index = function(_, key)
    return MODULES[key] and require(MODULES[key])
  end,
}

local M = {}

--- Makes a `ctx`: the one place where plug-ins get theirs, whatever they are called for.
---@generic T
---@param fields T what this call has, see runner.Context and its kind; the modules are added
---@return T ctx
function M.new(fields)
  return setmetatable(fields, Context)
end

return M
