--- Ids that are unique where names need not be: the second "a" is "a#2", or the next that no other test is called.

local M = {}

---@param sign string? between name and number; default: "#"
---@return fun(name: string): string id to be asked for all tests, in their order
function M.ids(sign)
  local taken, count = {}, {}
  return function(name)
    local id, n = name, count[name] or 1
    while taken[id] do
      n = n + 1
      id = ("%s%s%d"):format(name, sign or "#", n)
    end
    taken[id], count[name] = true, n
    return id
  end
end

return M
