-- What the specs are about.
local Cart = {}
Cart.__index = Cart

function Cart.new()
  return setmetatable({ prices = {} }, Cart)
end

function Cart:add(price)
  assert(type(price) == "number", "a price is a number")
  table.insert(self.prices, price)
  return self
end

function Cart:total()
  local sum = 0
  for _, price in ipairs(self.prices) do sum = sum + price end
  return sum
end

return Cart
