local tracks = require("runner.results.trace.tracks")

describe("the lanes of a slot", function()
  local slot

  before_each(function()
    slot = tracks.new(100, function(number) return number end)
  end)

  local function finish(...)
    local lane, from, to = slot:finish(...)
    return { lane.place, from, to }
  end

  it("are one while tests run one after the other", function()
    for i = 1, 3 do
      slot:start("t" .. i, 1000 * i)
      assert.are.same({ 1, 1000 * i, 1000 * i + 900 }, finish("t" .. i, 1000 * i + 900, 850))
    end
  end)

  it("are as many as run at once", function()
    slot:start("a", 1000)
    slot:start("b", 1010)
    slot:start("c", 1020)
    assert.are.same({ "a", "b", "c" }, slot:running())
    assert.are.same({ 2, 1010, 1500 }, finish("b", 1500, 490))
    slot:start("d", 1500)
    assert.are.same({ 2, 1500, 1600 }, finish("d", 1600, 100))
    assert.are.same({ 1, 1000, 1700 }, finish("a", 1700, 700))
    assert.are.same({ "c" }, slot:running())
  end)

  it("give room to tests that were told all at once when their process had ended", function()
    local told = {
      { 9000, 0, 9000, 9000 }, { 9001, 2000, 100, 2100 }, { 9001, 3000, 2100, 5100 }, { 9002, 1, 9002, 9002 },
      { 9003, 1000, 5100, 6100 }, { 9003, 5000, 6100, 9000 }, { 9900, 890, 9002, 9892 }, { 9999, 99, 9999, 9999 },
    }
    for i, one in ipairs(told) do
      local now, duration, from, to = table.unpack(one)
      slot:start("t" .. i, now)
      assert.are.same({ 1, from, to }, finish("t" .. i, now, duration))
    end
  end)

  it("never let slices overlap, nor go back behind the beginning", function()
    local seed = tonumber(os.getenv("SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local now, open, slices = 100, {}, {}
    for i = 1, 2000 do
      now = now + math.random(0, 50)
      if math.random(2) == 1 then
        slot:start(i, now)
        open[#open + 1] = i
      elseif #open > 0 then
        local lane, from, to = slot:finish(table.remove(open, math.random(#open)), now, math.random(0, 500))
        assert(100 <= from and from <= to and to <= now, ("seed %d: %d to %d"):format(seed, from, to))
        slices[#slices + 1] = { lane = lane.place, from = from, to = to }
      end
    end
    table.sort(slices, function(a, b)
      if a.lane ~= b.lane then return a.lane < b.lane end
      return a.from < b.from or a.from == b.from and a.to < b.to
    end)
    for i = 2, #slices do
      local before, slice = slices[i - 1], slices[i]
      assert(before.lane ~= slice.lane or before.to <= slice.from, ("seed %d: %d"):format(seed, slice.from))
    end
  end)

  it("takes the end of what nobody saw begin", function()
    assert.are.same({ 1, 4500, 4500 }, finish("a", 4500, nil))
    assert.are.same({ 1, 4500, 4500 + 300 }, finish("b", 4800, 300))
  end)
end)
