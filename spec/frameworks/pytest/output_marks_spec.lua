--- Telling which test wrote what.

local marks = require("frameworks.pytest.output_marks")

describe("pytest marks", function()
  local function mark(kind, token)
    return ("\0\27runner-nonce%s%010d\0"):format(kind, token)
  end

  local function reader()
    local log, odd = {}, {}
    local reading
    reading = marks.new("nonce", {
      known = function(token) return token < 9 end,
      odd = function(what) odd[#odd + 1] = what end,
      started = function(token) log[#log + 1] = "start " .. token end,
      output = function(token, stream, bytes)
        local key = ("%s %s "):format(tostring(token), stream)
        if log[#log] and log[#log]:sub(1, #key) == key then
          log[#log] = log[#log] .. bytes
        else
          log[#log + 1] = key .. bytes
        end
      end,
      ended = function(token)
        log[#log + 1] = "end " .. token
        reading:release(token)
      end,
    })
    return reading, log, odd
  end

  it("are found however the bytes are cut", function()
    local out = "x" .. mark("s", 1) .. "a\0\27runner-no" .. mark("e", 1)
      .. mark("s", 2) .. "\0" .. mark("e", 2) .. "z\0"
    local err = mark("s", 1) .. mark("e", 1) .. mark("s", 2) .. "b" .. mark("e", 2)
    for size = 1, #out do
      local reading, log = reader()
      reading:feed("stderr", err)
      for from = 1, #out, size do reading:feed("stdout", out:sub(from, from + size - 1)) end
      reading:finish()
      local texts = { nil, "", "" }
      for _, line in ipairs(log) do
        local token, text = line:match("^(%d) stdout (.*)$")
        if token then texts[token + 1] = texts[token + 1] .. text end
      end
      assert.are.equal("a\0\27runner-no", texts[2])
      assert.are.equal("\0", texts[3])
      assert.are.equal("nil stdout z\0", log[#log])
    end
  end)

  it("let the stream that is ahead wait", function()
    local reading, log = reader()
    reading:feed("stdout", mark("s", 1) .. "one" .. mark("e", 1) .. mark("s", 2) .. "two")
    assert.are.same({ "start 1", "1 stdout one" }, log)
    reading:feed("stderr", mark("s", 1) .. "err" .. mark("e", 1))
    assert.are.same(
      { "start 1", "1 stdout one", "1 stderr err", "end 1", "start 2", "2 stdout two" }, log)
  end)

  for what, bytes in pairs({
    ["of a test that does not run"] = mark("s", 9), ["that has no number"] = "\0\27runner-nonces000000000x\0",
    ["of no kind"] = mark("x", 1), ["that ends what has not started"] = mark("e", 1),
    ["that starts a test within another"] = mark("s", 1) .. mark("s", 2),
    ["that ends another test"] = mark("s", 1) .. mark("e", 2),
  }) do
    it("tell of one " .. what, function()
      local reading, _, odd = reader()
      reading:feed("stdout", bytes .. "text")
      assert.are.equal(1, #odd)
    end)
  end
end)
