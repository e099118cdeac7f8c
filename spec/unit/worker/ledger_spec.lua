--- The ledger of one process: which tests are open, which run, whom its end is laid to.

local ledger = require("runner.worker.ledger")
local listener = require("spec.support.listener")

local function open(count, options)
  local list = {}
  for i = 1, count do
    local id = string.char(96 + i)
    list[i] = { id = id, test = { id = id } }
  end
  local heard = listener()
  return ledger.new(list, heard.report, options), list, heard
end

local function ids(list)
  local text = {}
  for i, item in ipairs(list) do text[i] = item.id end
  return table.concat(text, " ")
end

local PASSED = { status = "passed" }

describe("the ledger of a process", function()
  it("tells of starts and results, once each", function()
    local book, list, heard = open(2)
    book:start(list[1])
    book:start(list[1])
    assert.is_true(book:finish(list[1], PASSED))
    assert.is_false(book:finish(list[1], PASSED))
    assert.are.same({ "start a", "passed a" }, heard.words)
    assert.are.equal("b", ids(book:left()))
    assert.is_false(book:is_done())
    assert.is_false(book:is_open(list[1]))
    assert.is_false(book:is_open(nil))
  end)

  it("gives output to the test that it is of, else to the one that started last and runs", function()
    local book, list, heard = open(2)
    book:output(nil, "stdout", "lost")
    book:start(list[1])
    book:output(nil, "stdout", "1")
    book:start(list[2])
    book:output(nil, "stdout", "2")
    book:output(list[1], "stdout", "3")
    book:finish(list[2], PASSED)
    book:output(list[2], "stdout", "late")
    book:output(nil, "stdout", "4")
    assert.are.same({ a = "134", b = "2" }, heard.output)
  end)

  it("has the one watched that goes on when another ends", function()
    local book, list, heard = open(3)
    for _, item in ipairs(list) do book:start(item) end
    book:pause(list[2])
    book:finish(list[3], PASSED)
    assert.are.same({ "start a", "start b", "start c", "passed c", "start a" }, heard.words)
    assert.are.equal("a", ids(book:running()))
    assert.are.equal("a b", ids(book:left()))
  end)

  it("takes a start for the end of the one before, where tests take turns", function()
    local book, list, heard = open(2, { in_turn = true })
    book:start(list[1])
    book:start(list[2])
    assert.are.equal("b", ids(book:running()))
    book:finish(list[1], PASSED)
    assert.are.equal(list[2], book:current())
    assert.are.same({ "start a", "start b", "passed a" }, heard.words)
  end)

  describe("lays the end of its process to", function()
    it("the one that ran", function()
      local book, list = open(3)
      book:start(list[1])
      book:finish(list[1], PASSED)
      book:start(list[2])
      assert.are.equal(list[2], (book:blame()))
    end)

    it("nobody, where several ran at once", function()
      local book, list = open(3)
      book:start(list[1])
      book:start(list[3])
      local culprit, suspects = book:blame()
      assert.is_nil(culprit)
      assert.are.equal("a c", ids(suspects))
    end)

    it("nobody, where none ran", function()
      local book, list = open(2)
      book:start(list[1])
      book:pause(list[1])
      local culprit, suspects = book:blame()
      assert.is_nil(culprit)
      assert.are.same({}, suspects)
    end)

    it("the one that was stopped, and to nobody when that was over already", function()
      local book, list = open(2)
      book:start(list[1])
      book:start(list[2])
      book.stopped = list[1]
      assert.are.equal(list[1], (book:blame()))
      book:finish(list[1], PASSED)
      local culprit, suspects = book:blame()
      assert.is_nil(culprit)
      assert.are.same({}, suspects)
    end)
  end)

  it("gives what was left running to the culprit when it is its own, and tells of the rest", function()
    local book, list, heard = open(2)
    local own = book:leaks({ leaks = {
      { command = "old", test = "a" }, { command = "mine", test = "b" }, { command = "somebody's" },
    } }, list[2])
    assert.are.same({ "problem leak left running: old" }, heard.words)
    assert.are.equal(2, #own)
    assert.is_nil(book:leaks({ leaks = {} }, list[2]))
  end)

  it("makes a crash of a result that makes no sense", function()
    for _, result in ipairs({ { status = "bogus" }, {}, { status = "passed", duration = "x" },
      { status = "failed", leaks = 5 }, { status = "passed", sections = 5 }, { status = "passed", duration = 0 / 0 },
    }) do
      local book, list, heard = open(1)
      book:finish(list[1], result)
      assert.are.same({ "crashed a" }, heard.words)
      assert.matches("makes no sense", heard.results.a.message)
    end
  end)

  it("tells of a failure that comes after a result of the same test, and of what nobody asked for", function()
    local book, list, heard = open(1)
    book:finish(list[1], PASSED)
    book:finish(list[1], PASSED)
    book:finish(list[1], { status = "failed", message = "late" })
    book:outside("x")
    book:tell_outsiders("file")
    book:tell_outsiders("file")
    assert.are.same({ "passed a",
      'problem collection 2 results are of no test that was to run now: "a, again", "x"' }, heard.words)
  end)

  it("names some of many that nobody asked for", function()
    local book = open(1)
    for i = 1, 25 do book:outside("t" .. i, i < 3 and "why" or nil) end
    local names, count, text = book:outsiders()
    assert.are.equal(25, count)
    assert.matches('"t10" and 15 more$', names)
    assert.are.equal("t1: why\nt2: why", text)
  end)

  it("is told once that its process makes no sense", function()
    local told = {}
    local book = ledger.new({}, { distrusted = function(why) told[#told + 1] = why end })
    book:distrust("one")
    book:distrust("two")
    assert.are.same({ "what its process reported makes no sense: one" }, told)
    assert.are.equal(told[1], book.wrong)
  end)
end)
