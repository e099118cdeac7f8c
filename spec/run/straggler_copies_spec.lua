--- Copies of stragglers: the rules of the queue, and a real run over several sandboxes.

local async = require("spec.support.async")
local boxes = require("spec.support.boxes")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local schedule = require("runner.schedule")

local function item(id, fields)
  local one = { id = id, group = "g", attempt = 1, straggles = 10 }
  for key, value in pairs(fields or {}) do one[key] = value end
  return one
end

local function queue_with(...)
  local queue = schedule.new({ groups = { g = {} }, slots = 2 })
  queue:add({ ... })
  return queue
end

describe("the queue", function()
  local here, there = { sandbox = "a", provider = "ssh" }, { sandbox = "b", provider = "ssh" }

  it("copies what is overdue, once, in another sandbox; the first result counts", function()
    local queue = queue_with(item("t"))
    local original = queue:lease("s", here)[1]
    queue:started("s", original, 100)
    assert.are.equal(110, queue:copy_due())
    assert.is_nil(queue:copy("u", there, 109))
    assert.is_nil(queue:copy("v", here, 111))
    local copy = queue:copy("u", there, 111)[1]
    assert.are.equal(original, copy.copy_of)
    assert.is_nil(queue:copy("w", { sandbox = "c" }, 200))
    queue:started("u", copy, 111)
    local known, twin, slot = queue:finished("u", copy)
    assert.is_true(known)
    assert.are.equal(original, twin)
    assert.are.equal("s", slot)
    assert.is_false(queue:finished("s", original))
    assert.is_true(queue:is_done())
  end)

  it("lets the original win, too, also before the copy has started", function()
    local queue = queue_with(item("t"))
    local original = queue:lease("s", here)[1]
    queue:started("s", original, 0)
    local copy = queue:copy("u", there, 11)[1]
    local known, twin, slot = queue:finished("s", original)
    assert.is_true(known)
    assert.are.equal(copy, twin)
    assert.are.equal("u", slot)
    assert.is_true(queue:is_done())
  end)

  it("goes on with the copy when the original is lost, and the other way round", function()
    for _, lost in ipairs({ "original", "copy" }) do
      local queue = queue_with(item("t"))
      local original = queue:lease("s", here)[1]
      queue:started("s", original, 0)
      local copy = queue:copy("u", there, 11)[1]
      queue:started("u", copy, 11)
      local first, second = { "s", original }, { "u", copy }
      if lost == "copy" then first, second = second, first end
      local known, goes_on = queue:lost(table.unpack(first))
      assert.is_true(known and goes_on)
      assert.is_false(queue:is_done())
      known, goes_on = queue:lost(table.unpack(second))
      assert.is_true(known)
      assert.is_false(goes_on)
      assert.is_true(queue:is_done())
    end
  end)

  it("copies nothing that has a mutex, a provider of its own, or never straggles", function()
    local queue = queue_with(item("a", { exclusive = { "db" } }), item("b", { only_on = { docker = true } }),
      { id = "c", group = "g", attempt = 1 })
    for i = 1, 3 do
      local slot, where = "s" .. i, { sandbox = "a", provider = "docker" }
      queue:started(slot, queue:lease(slot, where)[1], 0)
    end
    assert.is_nil(queue:copy("u", there, 1000))
  end)

  it("copies nothing of a group that has all the slots that it may have", function()
    local queue = schedule.new({ groups = { g = { max_parallel = 1 } }, slots = 2 })
    queue:add({ item("t") })
    queue:started("s", queue:lease("s", here)[1], 0)
    assert.is_nil(queue:copy("u", there, 1000))
    queue = schedule.new({ groups = { g = { max_parallel = 2 } }, slots = 2 })
    queue:add({ item("t"), item("other", { file = "f" }) })
    queue:started("s", queue:lease("s", here)[1], 0)
    local other = queue:lease("v", here)[1]
    queue:started("v", other, 0)
    assert.is_nil(queue:copy("u", there, 1000))
    queue:finished("v", other)
    assert.are.equal("t", queue:copy("u", there, 1001)[1].id)
  end)

  it("keeps a copy under the rules of its original, when that is lost and it is given back", function()
    local queue = queue_with(item("t", { only_on = { ssh = true }, priority = 1 }))
    local original = queue:lease("s", here)[1]
    queue:started("s", original, 0)
    local copy = queue:copy("u", there, 11)[1]
    local _, goes_on = queue:lost("s", original)
    assert.is_true(goes_on)
    assert.are.equal(1, queue:returned("u", { copy }))
    assert.is_nil(queue:lease("w", { sandbox = "c", provider = "docker" }))
    assert.are.equal(copy, queue:lease("w", { sandbox = "c", provider = "ssh" })[1])
  end)

  it("makes few copies: a run in which everything is slow has no stragglers", function()
    local list = {}
    for i = 1, 100 do list[i] = item("t" .. i) end
    local queue = schedule.new({ groups = { g = { individual = true } }, slots = 100 })
    queue:add(list)
    for i = 1, 100 do queue:started(i, queue:lease(i, here)[1], 0) end
    local made = 0
    for i = 101, 200 do
      assert.are.equal(made < 8 and 10 or nil, queue:copy_due())
      made = made + (queue:copy(i, there, 50) and 1 or 0)
    end
    assert.are.equal(8, made)
  end)

  it("makes no more copies because tests were taken back", function()
    local list = {}
    for i = 1, 100 do list[i] = item("t" .. i) end
    local queue = schedule.new({ groups = { g = { individual = true } }, slots = 100 })
    queue:add(list)
    for _ = 1, 10 do
      for i = 1, 100 do
        local items = queue:lease(i, here)
        queue:returned(i, items)
      end
    end
    for i = 1, 100 do queue:started(i, queue:lease(i, here)[1], 0) end
    local made = 0
    for i = 101, 200 do made = made + (queue:copy(i, there, 50) and 1 or 0) end
    assert.are.equal(8, made)
  end)
end)

describe("a run over sandboxes elsewhere", function()
  after_each(project.remove_all)

  --- A test that hangs where it runs first, if a file says so; the second that runs it does not.
  local TEST = "if test -e $DIR/hang && mkdir $DIR/first 2>/dev/null; then echo stuck; exec sleep 120; fi; echo done"

  local function new(settings)
    local dir = boxes.shells(("{ %q, 'sleep 0.8 #1', 'sleep 0.8 #2', 'sleep 0.8 #3' }"):format(TEST), nil,
      ("{ history = { path = 'history.jsonl' }, env = { DIR = '@DIR@' } %s }"):format(settings or ""))
    project.write(dir, { ["runner.lua"] = project.read(dir .. "/runner.lua"):gsub("@DIR@", dir) })
    assert.are.equal(0, runner(dir, "run").code)
    project.write(dir, { hang = "" })
    return dir
  end

  it("ends although a test hangs in one of them: a copy runs in the other and is no further attempt", async(function()
    local dir = new()
    local result = runner(dir, "run", "--test-timeout", "60")
    assert.are.equal(0, result.code, result.stdout)
    assert.are.equal("passed", finished.states(dir)[TEST])
    assert.is_table(finished.find(dir, "copy_started", { id = TEST }))
    assert.is_false(finished.find(dir, "copy_finished", { id = TEST }).copy)
    assert.are.equal(1, finished.find(dir, "test_finished", { id = TEST }).attempts)
    assert.are.equal(4, #finished.events(dir, "attempt_finished"))
    assert.are.equal("done\n", finished.output(dir, TEST))
    assert.is_true(finished.find(dir, "run_finished").duration < 30)
  end))

  it("keeps an idle slot elsewhere while a test runs, though another in its own sandbox is idle, too", async(function()
    -- What shares its sandbox with the test that hangs ends before the others.
    local other = "until test -e $DIR/where; do :; done; test $PWD = $(cat $DIR/where) && sleep 0.1 || sleep 0.5; echo "
    local hangs = "pwd >$DIR/where; " .. TEST
    local dir = boxes.shells(("{ %q, %q, %q, %q }"):format(hangs, other .. 1, other .. 2, other .. 3), "{ slots = 2 }",
      "{ history = { path = 'history.jsonl' }, max_parallel = 4, env = { DIR = '@DIR@' } }")
    project.write(dir, { ["runner.lua"] = project.read(dir .. "/runner.lua"):gsub("@DIR@", dir) })
    assert.are.equal(0, runner(dir, "run").code)
    project.write(dir, { hang = "" })
    local result = runner(dir, "run", "--test-timeout", "20")
    assert.are.equal(0, result.code, result.stdout)
    assert.is_table(finished.find(dir, "copy_started", { id = hangs }))
  end))

  it("opens more sandboxes than it believed to need when a test takes far longer than ever", async(function()
    local dir = boxes.shells("{ 'test -e $DIR/hang && exec sleep 20; true', 'echo 1', 'echo 2', 'echo 3' }", nil,
      "{ history = { path = 'history.jsonl' }, copies = false, env = { DIR = '@DIR@' } }")
    project.write(dir, { ["runner.lua"] = project.read(dir .. "/runner.lua"):gsub("@DIR@", dir) })
    assert.are.equal(0, runner(dir, "run").code)
    project.write(dir, { hang = "" })
    assert.are.equal(1, runner(dir, "run", "--test-timeout", "6").code)
    local last = 0
    for _, event in ipairs(finished.events(dir, "attempt_finished")) do
      if event.status == "passed" then last = math.max(last, event.time) end
    end
    assert.is_true(finished.find(dir, "attempt_finished", { status = "timed_out" }).time - last > 2)
  end))

  it("makes no copies when that is forbidden", async(function()
    local dir = new(", copies = false")
    local result = runner(dir, "run", "--test-timeout", "3")
    assert.are.equal(1, result.code, result.stdout)
    assert.are.equal("timed_out", finished.states(dir)[TEST])
    assert.is_nil(finished.find(dir, "copy_started"))
  end))
end)
