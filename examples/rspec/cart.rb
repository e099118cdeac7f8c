# frozen_string_literal: true

# What the specs are about.
class Cart
  def initialize
    @prices = []
  end

  def add(price)
    raise ArgumentError, "a price is a number" unless price.is_a?(Numeric)

    @prices << price
    self
  end

  def total
    @prices.sum
  end
end
