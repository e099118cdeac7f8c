--- SHA-256 as text, for names of what is made from content.

local hash = require("runner.core.hash")

local M = {}

---@return { update: fun(bytes: string), hex: fun(): string }
function M.new()
  local sum = hash.new()
  return {
    update = function(bytes) sum:add(bytes) end,
    hex = function()
      return (sum:digest():gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
    end,
  }
end

return M
