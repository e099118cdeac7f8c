--- Lines that nobody can guess, by which we know our own words among whatever else comes out of a sandbox. A mark
--- goes there in two halves, which the script joins: some shells print the command line, and that must not hold it
--- whole.

local uv = require("luv")
local hex = require("runner.base.text").hex

local M = {}

--- Half of a mark.
---@return string
function M.half()
  return hex(assert(uv.random(8)))
end

--- Where the beginning of a mark that is not complete yet may stand at the end of a text; #text + 1 when nowhere.
---@param text string
---@param mark string
---@return integer
function M.possible(text, mark)
  local at, first = math.max(1, #text - #mark + 2), mark:sub(1, 1)
  while true do
    at = text:find(first, at, true)
    if not at then return #text + 1 end
    if mark:sub(1, #text - at + 1) == text:sub(at) then return at end
    at = at + 1
  end
end

return M
