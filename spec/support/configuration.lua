--- Configurations for specs: written into a folder of their own and loaded.

local assert = require("luassert")
local config = require("runner.config")
local errors = require("runner.base.errors")
local project = require("spec.support.project")

local M = {}

-- Every configuration here may use `fake`, a framework, and `here`, a provider. One line, so that the lines of
-- messages are easy to count: what follows starts on line 2.
M.PRELUDE = ([[
local plugin = require "runner.plugin"
local fake = plugin.framework {
  name = "fake", api = 1, options = { paths = "string[]?" }, session = function() end,
}
local here = plugin.provider {
  name = "here", api = 1, options = { size = "bytes?" }, open = function() end,
}]]):gsub("\n", " ") .. "\n"

--- Load a configuration with this source.
function M.load(source, files)
  local all = { ["runner.lua"] = M.PRELUDE .. source }
  for name, text in pairs(files or {}) do
    all[name] = text
  end
  local dir = project.new(all)
  return config.load(dir .. "/runner.lua"), dir
end

--- The error that loading raises.
function M.refused(source, files)
  local ok, e = pcall(M.load, source, files)
  assert.is_false(ok, "the configuration was accepted")
  assert.is_true(errors.is(e, "config"), tostring(e))
  return e
end

return M
