local shard = require("runner.select.shard")

local function list(n, file_of)
  local tests = {}
  for i = 1, n do tests[i] = { id = "t" .. i, group = "g", file = file_of and file_of(i) } end
  return tests
end

local function parts(tests, count, by, cost)
  local all = {}
  cost = cost or function() return 1 end
  for i = 1, count do all[i] = shard.select(tests, { index = i, count = count, by = by }, cost) end
  return all
end

describe("a shard", function()
  it("is written I/N", function()
    assert.are.same({ index = 2, count = 5 }, shard.parse("2/5"))
    for _, text in ipairs({ "0/5", "6/5", "5", "a/b", "1/0", "-1/2", "1/2/3", "1.0/2", "1/99999999999999999999" }) do
      local parsed, why = shard.parse(text)
      assert.is_nil(parsed)
      assert.is_string(why)
    end
  end)

  it("has each test in exactly one part", function()
    for _, by in ipairs({ "time", "hash" }) do
      local seen, total = {}, 0
      for _, part in ipairs(parts(list(100, function(i) return "f" .. i % 9 end), 7, by)) do
        for _, test in ipairs(part) do
          assert.is_nil(seen[test.id])
          seen[test.id] = true
          total = total + 1
        end
      end
      assert.are.equal(100, total)
    end
  end)

  it("may be one of far more than there are tests", function()
    local tests = list(5)
    for _, by in ipairs({ "time", "hash" }) do
      local part = shard.select(tests, { index = 1, count = 10 ^ 12 // 1 | 0, by = by }, function() return 1 end)
      assert.is_true(#part <= 1)
    end
  end)

  it("is even by time, and the same whatever the order of discovery", function()
    local function cost(test) return tonumber(test.id:sub(2)) % 10 == 0 and 50 or 1 end
    local tests = list(100)
    local backwards = {}
    for i, test in ipairs(tests) do backwards[#tests + 1 - i] = test end
    local again = parts(backwards, 5, "time", cost)
    for i, part in ipairs(parts(tests, 5, "time", cost)) do
      local sum, ids, other = 0, {}, {}
      for _, test in ipairs(part) do
        sum = sum + cost(test)
        ids[test.id] = true
      end
      for _, test in ipairs(again[i]) do other[test.id] = true end
      assert.are.equal(118, sum)
      assert.are.same(ids, other)
    end
  end)

  it("keeps a file together unless it is too large for that", function()
    local tests = list(40, function(i) return i <= 30 and "large" or "small" .. i // 5 end)
    local owners, large = {}, 0
    for i, part in ipairs(parts(tests, 4, "time")) do
      assert.are.equal(10, #part)
      local has_large = false
      for _, test in ipairs(part) do
        has_large = has_large or test.file == "large"
        if test.file ~= "large" then
          assert.is_true((owners[test.file] or i) == i, test.file)
          owners[test.file] = i
        end
      end
      large = large + (has_large and 1 or 0)
    end
    assert.is_true(large > 1)
  end)

  it("is stable by hash when tests come and go", function()
    local owner = {}
    for i, part in ipairs(parts(list(60), 4, "hash")) do
      for _, test in ipairs(part) do owner[test.id] = i end
    end
    for i, part in ipairs(parts(list(200), 4, "hash")) do
      assert.is_true(#part > 20)
      for _, test in ipairs(part) do assert.is_true((owner[test.id] or i) == i) end
    end
  end)
end)
