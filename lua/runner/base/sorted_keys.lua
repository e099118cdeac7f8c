--- The keys of a table in their order; `pairs` has none.

local M = {}

---@generic K: string|number
---@param map table<K, any>
---@return K[]
function M.sorted(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  table.sort(list)
  return list
end

return M
