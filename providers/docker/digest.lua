--- SHA-256 as text, for names of what is made from content.

local hash = require("runner.core.hash")
local text = require("runner.base.text")

local M = {}

---@return { update: fun(bytes: string), hex: fun(): string }
function M.new()
  local sum = hash.new()
  return {
    update = function(bytes) sum:add(bytes) end,
    hex = function() return text.hex(sum:digest()) end,
  }
end

return M
