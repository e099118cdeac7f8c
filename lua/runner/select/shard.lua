--- One part of the tests, for each of several machines that run them without knowing of each other: all of them cut
--- the same list the same way. Pure.

local hash = require("runner.core.hash")
local heap = require("runner.base.heap")

local M = {}

---@class runner.Shard
---@field index integer from 1
---@field count integer
---@field by "time"|"hash"

--- "2/5".
---@param text string
---@return { index: integer, count: integer }?
---@return string? why
function M.parse(text)
  local index, count = text:match("^(%d+)/(%d+)$")
  index, count = math.tointeger(tonumber(index)), math.tointeger(tonumber(count))
  if not index or not count or count < 1 then return nil, ("expected I/N, such as 2/5, got %q"):format(text) end
  if index < 1 or index > count then
    return nil, ("%s: shards are counted from 1/%d to %d/%d"):format(text, count, count, count)
  end
  return { index = index, count = count }
end

local function lighter(a, b)
  if a.load ~= b.load then return a.load < b.load end
  if a.size ~= b.size then return a.size < b.size end
  return a.index < b.index
end

--- Even by predicted time: the longest first, each to the shard with the least so far (LPT, Graham 1969). Tests of one
--- file stay together as long as they are no more than half a shard: their fixtures are paid once.
local function by_time(tests, count, cost)
  local units, by_file, total = {}, {}, 0
  for _, test in ipairs(tests) do
    local seconds = cost(test)
    total = total + seconds
    local key = test.group .. "\0" .. (test.file or test.id)
    local unit = by_file[key]
    if not unit then
      unit = { key = key, cost = 0 }
      by_file[key] = unit
      units[#units + 1] = unit
    end
    unit.cost = unit.cost + seconds
    unit[#unit + 1] = test
  end
  local pieces = {}
  for _, unit in ipairs(units) do
    if unit.cost <= total / count / 2 then
      pieces[#pieces + 1] = unit
    else
      for _, test in ipairs(unit) do pieces[#pieces + 1] = { test, key = test.id, cost = cost(test) } end
    end
  end
  table.sort(pieces, function(a, b)
    if a.cost ~= b.cost then return a.cost > b.cost end
    return a.key < b.key
  end)
  local shards, owner = heap.new(lighter), {}
  for i = 1, math.min(count, #pieces) do shards:push({ index = i, load = 0, size = 0 }) end
  for _, piece in ipairs(pieces) do
    local least = shards:pop()
    least.load, least.size = least.load + piece.cost, least.size + #piece
    shards:push(least)
    for _, test in ipairs(piece) do owner[test] = least.index end
  end
  return owner
end

--- Stable by hash: a test stays in its shard whatever else comes and goes.
local function by_hash(tests, count)
  local owner = {}
  for _, test in ipairs(tests) do
    owner[test] = (">I6"):unpack(hash.sha256(test.group .. "\0" .. test.id)) % count + 1
  end
  return owner
end

--- The tests of one shard, in their order.
---@param tests table[]
---@param shard runner.Shard
---@param cost fun(test: table): number predicted seconds; must be the same on all machines
---@return table[]
function M.select(tests, shard, cost)
  local owner = shard.by == "hash" and by_hash(tests, shard.count) or by_time(tests, shard.count, cost)
  local selected = {}
  for _, test in ipairs(tests) do
    if owner[test] == shard.index then selected[#selected + 1] = test end
  end
  return selected
end

return M
