local uv = require("luv")
local async = require("spec.support.async")
local live = require("runner.results.console.live")
local screens = require("spec.support.screen")
local styles = require("runner.results.console.style")

local style = styles.new { colour = true, env = function() return nil end }

describe("live block", function()
  local screen, columns, lines, writes

  local function open()
    screen, writes = screens.new(columns), 0
    return live.new {
      stream = { write = function(_, bytes)
        writes = writes + 1
        screen:write(bytes)
        return true
      end },
      style = style,
      size = function() return columns, 24 end,
      render = function() return lines end,
    }
  end

  -- Turns the loop until the block has been written `count` times more.
  local function wait_for(count)
    local wanted = writes + count
    local keep = uv.new_timer() -- the block's own timer does not keep the loop alive
    keep:start(10, 10, function() end)
    while writes < wanted do uv.run("once") end
    keep:close()
  end

  before_each(function()
    columns, lines = 40, { { { "one", "red" }, { " two" } }, { { "three" } } }
  end)

  it("redraws in place, with text printed above it", function()
    local block = open()
    wait_for(1)
    assert.are.equal("one two\nthree", screen:text())
    block:print("first\n")
    lines = { { { "four" } } }
    wait_for(1)
    assert.are.equal("first\nfour", screen:text())
    block:print("second\nthird\n")
    block:close()
    assert.are.equal("first\nsecond\nthird", screen:text())
    uv.run()
  end)

  it("never wraps, however narrow the terminal and wide the text", function()
    for _, narrow in ipairs({ 20, 12, 5, 4 }) do
      columns = narrow
      lines = { { { ("日本"):rep(20), "red", is_name = true } },
        { { "abc" }, { ("🙂"):rep(20) } } }
      local block = open()
      wait_for(2)
      assert.are.equal(0, screen.wraps)
      block:close()
      assert.are.equal("", screen:text())
    end
    uv.run()
  end)

  it("erases lines that a terminal made narrower has wrapped", function()
    lines = { { { ("a"):rep(30) } }, { { "b" } } }
    local block = open()
    wait_for(1)
    -- What a terminal shows after it shrank to 16 columns: 30 columns take two rows.
    columns = 16
    screen = screens.new(16)
    screen:write(("a"):rep(30) .. "\nb")
    wait_for(1)
    assert.are.equal(("a"):rep(13) .. "\nb", screen:text())
    block:close()
    uv.run()
  end)

  it("redraws at most 20 times a second", function()
    local block = open()
    wait_for(1)
    local from = uv.hrtime()
    local busy = uv.new_timer()
    busy:start(0, 1, function()
      block:touch()
      block:print("x\n")
    end)
    wait_for(4)
    busy:close()
    block:close()
    assert.is_true((uv.hrtime() - from) / 1e9 > 0.14)
    uv.run()
  end)

  it("stops by itself when the terminal is gone, and leaves no handle", async(function()
    local block = live.new {
      stream = { write = function()
        writes = 1
        return false
      end },
      style = style, size = function() return 80, 24 end, render = function() return {} end,
    }
    writes = 0
    block:_tick()
    block:touch()
    block:_tick()
    assert.are.equal(1, writes)
    block:close()
  end))
end)
