--- The contract of providers as a test: every check must hold, or be absent for a reason that is expected.

local assert = require("luassert")
local contract = require("runner.sandbox.contract")

local M = {}

--- Runs the contract; fails with all that does not hold.
---@param provider runner.Bound
---@param options { dir: string, only: string? }
---@return string[] absent names of the checks that the provider cannot be asked
---@async
function M.keeps(provider, options)
  local failures, absent = {}, {}
  for _, result in ipairs(contract.check(provider, options)) do
    if result.status == "fails" then
      failures[#failures + 1] = ("%s: %s"):format(result.name, result.message)
    elseif result.status == "absent" then
      absent[#absent + 1] = result.name
    end
  end
  assert.are.same({}, failures)
  return absent
end

return M
