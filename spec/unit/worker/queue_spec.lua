--- The queue of a worker: what waits for its process, and what of it can be taken back.

local ledger = require("runner.worker.ledger")
local queue = require("runner.worker.queue")

local function ignore() end
local NOTHING = { started = ignore, output = ignore, finished = ignore, problem = ignore }

--- Items by name: "a1" is test a of file 1.
local function items(names)
  local list = {}
  for name in names:gmatch("%S+") do list[#list + 1] = { id = name, attempt = 1, test = { id = name } } end
  return list
end

local function names(list)
  local ids = {}
  for i, item in ipairs(list) do ids[i] = item.id end
  return table.concat(ids, " ")
end

--- A queue, and what it has given back: one string for each answer.
local function new(unit)
  local returned = {}
  return queue.new({ returned = function(list) returned[#returned + 1] = names(list) end }, unit), returned
end

local function file_of(item) return item.id:match("%d") end

--- The ledger of a process that was given some tests, of which some have started.
local function process(list, started)
  local book = ledger.new(list, NOTHING)
  for _, item in ipairs(list) do
    if started:find(item.id, 1, true) then book:start(item) end
  end
  return book
end

describe("the queue of a worker", function()
  it("hands out one by one, in order", function()
    local q = new()
    q:push(items("a b"))
    q:push(items("c"))
    assert.are.equal("a", names(q:next()))
    assert.are.equal("b", names(q:next()))
    assert.are.equal("c", names(q:next()))
    assert.are.equal("", names(q:next()))
  end)

  it("hands out a unit together, wherever its tests stand", function()
    local q = new(file_of)
    q:push(items("a1 b2 c1 d2"))
    assert.are.equal("a1 c1", names(q:next()))
    assert.are.equal("b2 d2", names(q:next()))
  end)

  it("hands out what fits with what was chosen", function()
    local q = new()
    q:push(items("a b c d"))
    assert.are.equal("a b", names(q:next(function(chosen) return #chosen < 2 end)))
    assert.are.equal("c d", names(q:next(function(chosen) return #chosen < 2 end)))
  end)

  it("lets those run alone that are to", function()
    local q, list = new(file_of), items("a1 b1 c1")
    q:isolate({ list[2] })
    q:push(list)
    assert.are.equal("a1 c1", names(q:next()))
    assert.are.equal("b1", names(q:next()))
  end)

  it("gives back from the end", function()
    local q, returned = new()
    q:push(items("a b c d"))
    q:take(2, true)
    assert.are.same({ "c d" }, returned)
    assert.are.equal(2, q:count())
  end)

  it("gives back all that there is when more is asked for", function()
    local q, returned = new()
    q:push(items("a b"))
    q:take(7, false)
    assert.are.same({ "a b" }, returned)
  end)

  it("gives back whole units", function()
    local q, returned = new(file_of)
    q:push(items("a1 b2 c2 d3"))
    q:take(2, true)
    assert.are.same({ "b2 c2 d3" }, returned)
  end)

  it("keeps the unit that is about to begin, unless all is wanted back", function()
    local q, returned = new(file_of)
    q:push(items("a1 b1"))
    q:take(1, false)
    assert.are.same({}, returned)
    q:answer(true)
    assert.are.same({ "a1 b1" }, returned)
    q:push(items("a1 b1"))
    q:take(2, false)
    assert.are.same({ "a1 b1", "a1 b1" }, returned)
  end)

  it("answers later while a process has all", function()
    local q, returned = new()
    q:take(1, true)
    assert.are.same({}, returned)
    q:push(items("a b"))
    q:answer(false)
    assert.are.same({ "b" }, returned)
    q:answer(false)
    assert.are.same({ "b" }, returned)
  end)

  it("answers at once that there is nothing when no process has anything", function()
    local q, returned = new()
    q:take(1, false)
    assert.are.same({ "" }, returned)
  end)

  it("keeps what has started before, and what shares a unit with it", function()
    local q, returned = new(file_of)
    local list = items("a1 b2")
    q:push(items("c2 d3"))
    q:put_back(list, process(list, "b2"))
    q:take(2, true)
    assert.are.same({ "d3" }, returned)
    q:take(2, true)
    assert.are.same({ "d3" }, returned)
    assert.are.equal("a1", names(q:next()))
  end)

  it("puts back in front", function()
    local q, list = new(), items("a b")
    q:push(items("c"))
    q:put_back(list, process(list, ""))
    assert.are.equal("a b c", names(q:drain()))
    assert.are.equal(0, q:count())
  end)
end)
