-- "Did you mean …?": the name nearest to one that does not exist.

local M = {}

-- Case and the choice between `-` and `_` are no difference worth counting.
local function fold(name)
  return (name:lower():gsub("[-_ ]", "_"))
end

--- Number of single-character edits (insert, delete, replace, swap of neighbours) between two names.
---@param a string
---@param b string
---@return integer
function M.distance(a, b)
  local before, previous, current = {}, {}, {}
  for j = 0, #b do
    previous[j] = j
  end
  for i = 1, #a do
    current[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      current[j] = best
    end
    before, previous, current = previous, current, before
  end
  return previous[#b]
end

--- The candidate most like `name`, if one is near enough to be what was meant.
---@param name any
---@param candidates string[]
---@return string?
function M.nearest(name, candidates)
  -- A name much longer than any of ours is no misspelling of it, and the table would be large.
  if type(name) ~= "string" or #name > 100 then
    return nil
  end
  local folded = fold(name)
  local best, best_distance, part
  for _, candidate in ipairs(candidates) do
    local other = fold(candidate)
    local distance = M.distance(folded, other)
    -- One edit turns any two-letter name into any other that shares a letter.
    local limit = #other < 3 and 0 or math.max(1, #other // 3)
    if distance <= limit and distance < (best_distance or math.huge) then
      best, best_distance = candidate, distance
    end
    -- "timeout" for "test_timeout", "retry_count" for "retry".
    local contains = other:find(folded, 1, true) or folded:find(other, 1, true)
    if contains and #folded >= 4 and #other >= 4 then
      part = part or candidate
    end
  end
  return best or part
end

--- `; did you mean "x"?`, or nothing.
---@param name any
---@param candidates string[]
---@return string
function M.hint(name, candidates)
  local nearest = M.nearest(name, candidates)
  return nearest and ("; did you mean %q?"):format(nearest) or ""
end

return M
