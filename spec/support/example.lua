--- The projects below examples/, run in a folder of their own, and how each of their tests is to end.

local cjson = require("cjson.safe")
local assert = require("luassert")
local process = require("runner.io.process")
local project = require("spec.support.project")

local M = {}

--- A copy without what earlier runs left in it.
---@param name string
---@return string dir
---@async
function M.copy(name)
  local dir = project.new()
  assert.are.equal(0, process.run({ "cp", "-R", "examples/" .. name .. "/.", dir }).code)
  for _, left in ipairs({ "test-results", "build", "target" }) do project.remove(dir .. "/" .. left) end
  return dir
end

--- Final states by test id, as expected.json has them.
---@param name string
---@return table<string, string>
function M.expected(name)
  local text = assert(project.read("examples/" .. name .. "/expected.json"))
  return (assert(cjson.decode(text)))
end

--- Whether all of these programs are there.
---@param ... string
---@return boolean
---@async
function M.has(...)
  for _, program in ipairs({ ... }) do
    if process.run({ "/bin/sh", "-c", 'command -v "$1"', "sh", program }).code ~= 0 then return false end
  end
  return true
end

return M
