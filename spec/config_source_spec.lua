local source = require("runner.config.source")

describe("a chunk", function()
  local cases = {
    { "return {}", true },
    { "", false },
    { "x = 1", false },
    { "if a then return {} else return {} end", true },
    { "do return {} end", true },
    { "local function f() while true do if a then return end end end return { f }", true },
    { "repeat local function f() return end until f()\nreturn 3", true },
    { "local x = 5 - -3 --[==[\n]] ]==] return x", true },
    { "local function f() return 1 end", false },
    { "describe('x', function() it('y', function() return 2 end) end)", false },
    { "while x do local f = function() if y then return end end break end", false },
    { "for i = 1, 2 do f(function() return end) end", false },
    { "f'a\\'' function g() for k in p do return end end", false },
    { "-- return\n--[[ return ]] local s = 'return' .. \"return \\\" return\" .. [==[ return ]] ]==]", false },
    { "local t = { ['return'] = 1, [ [[return]] ] = 2 } a[b[1]] = 1", false },
    { "_return = 1; returned = 2; x.return_ = 3", false },
  }
  for _, case in ipairs(cases) do
    it((case[2] and "may return: " or "never returns: ") .. case[1]:gsub("%c", " "), function()
      assert(load(case[1]))
      assert.are.equal(case[2], source.may_return(case[1]))
    end)
  end
end)
