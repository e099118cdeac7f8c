local Cart = require("cart")

describe("cart", function()
  local cart
  before_each(function() cart = Cart.new() end)

  it("adds prices", function()
    assert.are.equal(5, cart:add(2):add(3):total())
  end)

  it("gives a discount", function()
    assert.are.equal(9, cart:add(10):total())
  end)

  it("refuses words", function()
    assert.has_error(function() cart:add("two") end, "a price is a number")
  end)

  pending("can be emptied")

  it("sorts its prices", function()
    pending("not today")
  end)

  it("rounds #slow", function()
    error({ code = 7 })
  end)

  it("is right at the second attempt", function()
    assert.are_not.equal("1", os.getenv("RUNNER_ATTEMPT") or "1")
  end)

  describe("in a shop that is closed", function()
    setup(function() error("the shop is closed") end)

    it("cannot be filled", function() end)
    describe("by night", function()
      it("cannot be paid", function() end)
    end)
  end)

  describe("in a shop that opens late", function()
    lazy_setup(function() error("still closed") end)

    it("cannot be filled", function() end)
    it("cannot be paid", function() end)
  end)

  describe("with a hook that fails", function()
    before_each(function()
      if cart.broken then error("before") end
      cart.broken = true
    end)
    after_each(function() error("after") end)

    it("fails, too", function() end)
  end)

  insulate("apart from the others", function()
    _G.leaked = true
    it("sees its own globals", function() assert.is_true(_G.leaked) end)
  end)

  it("sees no globals of others", function() assert.is_nil(rawget(_G, "leaked")) end)
end)
