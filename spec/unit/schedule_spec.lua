local model = require("runner.schedule.forecast.model")
local random = require("runner.schedule.forecast.random")
local schedule = require("runner.schedule")

local function items(group, n, file_of)
  local list = {}
  for i = 1, n do
    list[i] = { id = group .. i, group = group, attempt = 1, file = file_of and file_of(i) or "f" }
  end
  return list
end

local function ids(list)
  local out = {}
  for i, item in ipairs(list or {}) do out[i] = item.id end
  return table.concat(out, " ")
end

describe("schedule", function()
  it("hands out in order, each item once", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 1 })
    queue:add(items("g", 10))
    local seen = {}
    while queue.pending > 0 do
      for _, item in ipairs(queue:lease("s", {})) do seen[#seen + 1] = item end
    end
    assert.are.equal("g1 g2 g3 g4 g5 g6 g7 g8 g9 g10", ids(seen))
    assert.is_nil(queue:lease("s", {}))
  end)

  it("hands out batches that shrink towards the end", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 4 })
    queue:add(items("g", 100, function(i) return "f" .. i end))
    local sizes = {}
    while queue.pending > 0 do sizes[#sizes + 1] = #queue:lease("s", {}) end
    assert.are.equal(12, sizes[1])
    assert.are.equal(1, sizes[#sizes])
    for i = 2, #sizes do assert.is_true(sizes[i] <= sizes[i - 1]) end
  end)

  it("ends a batch where a file ends, when one is near", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 2 })
    queue:add(items("g", 40, function(i) return i <= 12 and "a" or "b" end))
    assert.are.equal(12, #queue:lease("s", {}))
  end)

  it("hands out single tests of an individual group", function()
    local queue = schedule.new({ groups = { g = { individual = true } }, slots = 1 })
    queue:add(items("g", 10))
    assert.are.equal("g1", ids(queue:lease("s", {})))
  end)

  it("keeps a slot on its group while that has work, then serves the groups in order", function()
    local queue = schedule.new({ groups = { a = { order = 1 }, b = { order = 0 } }, slots = 2 })
    queue:add(items("a", 2))
    queue:add(items("b", 1))
    assert.are.equal("a1", ids(queue:lease("s", { group = "a" })))
    assert.are.equal("b1", ids(queue:lease("t", {})))
    assert.are.equal("a2", ids(queue:lease("t", { group = "b" })))
  end)

  it("keeps a group to the providers that it names", function()
    local queue = schedule.new({ groups = { a = { only_on = { docker = true } }, b = { order = 1 } }, slots = 1 })
    queue:add(items("a", 1))
    queue:add(items("b", 1))
    assert.are.equal("b1", ids(queue:lease("s", { provider = "local" })))
    assert.is_nil(queue:lease("s", { provider = "local" }))
    assert.are.equal("a", queue:waiting()[1].group)
    assert.is_nil(queue:waiting()[2])
    assert.are.equal("a1", ids(queue:lease("t", { provider = "docker" })))
  end)

  it("can be emptied, whole or one group", function()
    local queue = schedule.new({ groups = { a = {}, b = {} }, slots = 1 })
    queue:add(items("a", 3))
    queue:add(items("b", 2))
    assert.are.equal(3, #queue:drain("a"))
    assert.are.equal(2, queue.pending)
    assert.are.equal(2, #queue:drain())
    assert.is_true(queue:is_done())
  end)

  it("puts retries and returned items in front, in their order", function()
    local queue = schedule.new({ groups = { g = { individual = true } }, slots = 1 })
    local list = items("g", 4)
    queue:add(list)
    local first = queue:lease("s", {})
    local second = queue:lease("s", {})
    assert.are.equal(2, queue:returned("s", { first[1], second[1] }))
    assert.are.equal("g1", ids(queue:lease("t", {})))
    assert.are.equal("g2", ids(queue:lease("t", {})))
    assert.are.equal("g3", ids(queue:lease("t", {})))
  end)

  it("leaves a retry to another sandbox when asked to be picky", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 1 })
    queue:add({ { id = "again", group = "g", attempt = 2, avoid = "box-1" } })
    assert.is_nil(queue:lease("s", { sandbox = "box-1", picky = true }))
    assert.are.equal(1, queue.pending)
    assert.are.equal("again", ids(queue:lease("t", { sandbox = "box-2", picky = true })))
  end)

  it("does not count late, duplicate or foreign reports", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 1 })
    queue:add(items("g", 1))
    local item = queue:lease("s", {})[1]
    assert.is_false(queue:finished("other", item))
    assert.is_true(queue:finished("s", item))
    assert.is_false(queue:finished("s", item))
    assert.are.equal(0, queue:returned("s", { item }))
    assert.is_true(queue:is_done())
  end)

  it("starts the longest first, and keeps short ones of a file in order", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 2 })
    local list = items("g", 12, function(i) return i <= 6 and "a" or "b" end)
    for i, item in ipairs(list) do item.cost = i == 9 and 100 or i == 3 and 60 or 1 end
    queue:add(list)
    assert.are.equal("g9", ids(queue:lease("s", {})))
    assert.are.equal("g3", ids(queue:lease("t", {})))
    assert.are.equal("g1 g2", ids(queue:lease("s", {})))
  end)

  it("gives what is urgent elsewhere to a slot of another group", function()
    local queue = schedule.new({ groups = { a = {}, b = {} }, slots = 2 })
    queue:add(items("a", 20))
    local long = items("b", 1)
    long[1].cost = 30
    queue:add(long)
    assert.are.equal("b1", ids(queue:lease("s", { group = "a" })))
    assert.is_truthy(ids(queue:lease("t", { group = "a" })):find("^a1 "))
  end)

  it("serves higher priorities first, whatever they cost", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 1 })
    local list = items("g", 3)
    list[1].cost, list[3].priority = 50, 1
    queue:add(list)
    assert.are.equal("g3", ids(queue:lease("s", { group = "g" })))
    assert.are.equal("g1", ids(queue:lease("s", { group = "g" })))
  end)

  it("runs one test of a mutex at a time", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 3 })
    local list = items("g", 4)
    list[1].exclusive, list[2].exclusive, list[3].exclusive = { "db" }, { "db", "port" }, { "port" }
    queue:add(list)
    local first = queue:lease("s", {})
    local second = queue:lease("t", {})
    local third = queue:lease("u", {})
    assert.are.equal("g1 g3 g4", ids({ first[1], second[1], third[1] }))
    queue:started("u", third[1])
    assert.is_nil(queue:lease("v", {}))
    assert.is_nil(queue:relieve({}))
    queue:finished("s", first[1])
    assert.is_nil(queue:lease("s", {}))
    queue:returned("t", second)
    assert.are.equal("g2", ids(queue:lease("s", {})))
    assert.is_nil(queue:lease("t", {}))
  end)

  it("runs what wants the run for itself last, alone", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 2 })
    local list = items("g", 4)
    list[1].exclusive, list[2].exclusive = true, true
    queue:add(list)
    local a, b = queue:lease("s", {}), queue:lease("t", {})
    assert.are.equal("g3 g4", ids({ a[1], b[1] }))
    queue:finished("s", a[1])
    assert.is_nil(queue:lease("s", {}))
    queue:finished("t", b[1])
    local alone = queue:lease("s", {})
    assert.are.equal("g1", ids(alone))
    assert.is_nil(queue:lease("t", {}))
    queue:add({ { id = "again", group = "g", attempt = 2 } }, true) -- a retry comes between
    assert.is_nil(queue:lease("t", {}))
    queue:finished("s", alone[1])
    local again = queue:lease("t", {})
    assert.are.equal("again", ids(again))
    assert.is_nil(queue:lease("s", {}))
    queue:finished("t", again[1])
    assert.are.equal("g2", ids(queue:lease("t", {})))
  end)

  it("keeps a group to so many slots", function()
    local queue = schedule.new({ groups = { g = { max_parallel = 2 }, h = {} }, slots = 4 })
    queue:add(items("g", 40))
    queue:add(items("h", 2))
    queue:lease("s", { group = "g" })
    assert.is_truthy(queue:lease("t", { group = "g" }))
    assert.is_truthy(queue:lease("t", { group = "g" }))
    local other = queue:lease("u", {})
    assert.are.equal("h1 h2", ids(other))
    queue:returned("u", { other[2] })
    queue:drain("h")
    queue:started("u", other[1])
    assert.is_nil(queue:lease("v", {}))
    assert.is_nil(queue:relieve({}))
  end)

  it("finds whom an idle slot can relieve, and of how much", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 1 })
    queue:add(items("g", 12))
    local all = queue:lease("s", {})
    assert.are.equal(6, #all)
    queue:started("s", all[1])
    local slot, n = queue:relieve({})
    assert.are.equal("s", slot)
    assert.are.equal(3, n)
    assert.is_nil(queue:relieve({})) -- it was asked already
    assert.are.equal(3, queue:returned("s", { all[4], all[5], all[6] }))
    assert.matches("^g4 g5 g6", ids(queue:lease("t", {})))
    for i = 1, 3 do
      queue:started("s", all[i])
      queue:finished("s", all[i])
    end
    assert.are.equal("t", (queue:relieve({})))
  end)

  it("lets a heavy test have so many slots of its sandbox", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 6 })
    local list = items("g", 6)
    list[1].weight, list[1].cost = 2, 5
    list[2].weight, list[2].cost = 9, 4 -- more than there are: all
    queue:add(list)
    local at = { sandbox = "box", capacity = 3 }
    local heavy = queue:lease("s", at)
    assert.are.equal("g1", ids(heavy))
    assert.is_nil(queue:lease("t", at)) -- g2 comes next, and waits for the sandbox
    assert.are.equal("g2", ids(queue:lease("t2", { sandbox = "other", capacity = 2 })))
    local light = queue:lease("t", at)
    assert.are.equal("g3", ids(light))
    assert.is_nil(queue:lease("u", at)) -- all three slots are taken
    queue:finished("s", heavy[1])
    assert.is_truthy(queue:lease("u", at))
  end)

  it("puts nothing on top of a heavy test, which would keep its slots as long", function()
    local queue = schedule.new({ groups = { g = {} }, slots = 2 })
    local list = items("g", 20)
    list[1].weight, list[1].cost = 2, 2
    queue:add(list)
    local at = { sandbox = "box", capacity = 2 }
    local heavy = queue:lease("s", at)
    assert.are.equal("g1", ids(heavy))
    queue:started("s", heavy[1])
    assert.is_nil(queue:more("s", at))
    queue:finished("s", heavy[1])
    assert.is_truthy(queue:lease("s", at))
    assert.is_truthy(queue:lease("t", at))
  end)

  it("hands out what fits instead of waiting for room, unless what waits is much longer", function()
    for seconds, expected in pairs({ [2] = true, [12] = false }) do
      local queue = schedule.new({ groups = { g = {} }, slots = 2 })
      local list = items("g", 21, function(i) return "f" .. i end)
      list[1].cost = 30
      list[2].weight, list[2].cost = 2, seconds
      queue:add({ list[1] })
      local at = { sandbox = "box", capacity = 2 }
      queue:lease("s", at)
      queue:add({ table.unpack(list, 2) })
      assert.are.equal(expected, queue:lease("t", at) ~= nil)
    end
  end)

  it("wastes no room where some tests are heavy", function()
    for seed = 1, 40 do
      local r, tests, work, longest = random.new(seed), {}, 0, 0
      for i = 1, 200 do
        local seconds, weight = r:lognormal(0, 1), r:below(10) == 1 and 2 or 1
        tests[i] = { id = "t" .. i, group = "g" .. r:below(2), duration = seconds, cost = seconds, weight = weight }
        work, longest = work + weight * seconds, math.max(longest, seconds)
      end
      local run = model.run(tests, { sandboxes = 2, slots = 2 })
      local ratio = run.makespan / math.max(work / 4, longest)
      assert.is_true(ratio < 1.1, ("seed %d: %.2f times the bound"):format(seed, ratio))
    end
  end)

  describe("with a retry in another group than that of a slot", function()
    local queue
    before_each(function()
      queue = schedule.new({ groups = { a = {}, b = {} }, slots = 2 })
      local list = items("a", 40)
      for _, item in ipairs(list) do item.cost = 0.1 end
      queue:add(list)
    end)

    local function retry(seconds)
      queue:add({ { id = "again", group = "b", attempt = 2, cost = seconds, avoid = "sick" } }, true)
    end

    it("hands it out first, when it is long", function()
      retry(30)
      assert.are.equal("again", ids(queue:lease("s", { group = "a" })))
    end)

    it("goes on with the slot's group before, when it is short", function()
      retry(0.1)
      assert.matches("^a1 ", ids(queue:lease("s", { group = "a" })))
      assert.are.equal("again", ids(queue:lease("t", { group = "b" })))
    end)

    it("gives no more to a slot that is to have it", function()
      local first = queue:lease("s", { group = "a" })
      for i = 1, #first - 1 do queue:finished("s", first[i]) end
      queue:started("s", first[#first])
      retry(30)
      assert.is_nil(queue:more("s", {}))
      queue:finished("s", first[#first])
      assert.are.equal("again", ids(queue:lease("s", { group = "a" })))
    end)

    it("leaves it to another sandbox while there is anything else", function()
      retry(30)
      assert.matches("^a1 ", ids(queue:lease("s", { sandbox = "sick", picky = true })))
      assert.are.equal("again", ids(queue:lease("t", { sandbox = "sound", picky = true })))
    end)
  end)

  it("loses nothing and doubles nothing under random events", function()
    local seed = os.time()
    math.randomseed(seed)
    for round = 1, 300 do
      local slots, total = math.random(1, 8), math.random(0, 120)
      local queue = schedule.new({ groups = { a = {}, b = { individual = true } }, slots = slots })
      local expected = items("a", total, function(i) return "f" .. i // 7 end)
      for _, item in ipairs(items("b", math.random(0, 20))) do expected[#expected + 1] = item end
      queue:add(expected)
      local held, done, steps = {}, {}, 0
      for s = 1, slots do held[s] = {} end
      while not queue:is_done() do
        steps = steps + 1
        assert(steps < 20000, "seed " .. seed .. " round " .. round .. ": no end")
        local s = math.random(slots)
        local what = math.random(10)
        if what <= 4 then
          for _, item in ipairs(queue:lease(s, { group = math.random(2) == 1 and "a" or nil }) or {}) do
            table.insert(held[s], item)
          end
        elseif what <= 8 then
          local item = table.remove(held[s], 1)
          if item and queue:finished(s, item) then done[item.id] = (done[item.id] or 0) + 1 end
        elseif what == 9 then -- taken back from the end
          local back = { table.remove(held[s]) }
          queue:returned(s, back)
        else -- the slot is lost
          queue:returned(s, held[s])
          held[s] = {}
        end
      end
      for _, item in ipairs(expected) do
        assert.are.equal(1, done[item.id], "seed " .. seed .. " round " .. round .. " " .. item.id)
      end
    end
  end)
end)
