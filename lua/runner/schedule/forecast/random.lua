--- Random numbers that a seed determines, on every machine alike: SplitMix64 (Steele, Lea & Flood 2014).

local M = {}

---@class runner.Random
local Random = {}
Random.__index = Random

---@param seed integer
---@return runner.Random
function M.new(seed)
  return setmetatable({ state = seed }, Random)
end

--- 64 random bits.
---@return integer
function Random:bits()
  self.state = self.state + 0x9E3779B97F4A7C15
  local z = self.state
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

--- At least 0, less than 1.
---@return number
function Random:uniform()
  return (self:bits() >> 11) * 2.0 ^ -53
end

--- From 1 to n.
---@param n integer
---@return integer
function Random:below(n)
  return (self:bits() >> 1) % n + 1
end

--- Normal, mean 0 and deviation 1 (Box & Muller 1958).
---@return number
function Random:normal()
  return math.sqrt(-2 * math.log(1 - self:uniform())) * math.cos(2 * math.pi * self:uniform())
end

--- Log-normal: the logarithm has mean `mu` and deviation `sigma`.
---@param mu number
---@param sigma number
---@return number
function Random:lognormal(mu, sigma)
  return math.exp(mu + sigma * self:normal())
end

return M
