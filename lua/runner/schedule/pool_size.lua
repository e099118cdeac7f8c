--- How many slots a run is worth. Pure.

local M = {}

--- A run may take this much longer than with all the slots it could have: the last of many shorten it by next to
--- nothing and cost as much as the first.
local SLACK = 1.05

--- The least number of slots with which a run ends nearly as early as with `most`. A run takes until a sandbox is ready
--- and then no less than its longest test, nor than its work spread evenly.
---@param work number seconds of all tests
---@param longest number seconds of the longest
---@param start number seconds until a sandbox is ready
---@param most integer slots that it could have
---@return integer
function M.slots(work, longest, start, most)
  local limit = SLACK * (start + math.max(longest, work / most)) - start
  if limit <= 0 then return most end
  return math.max(1, math.min(most, math.ceil(work / limit)))
end

return M
