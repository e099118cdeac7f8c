--- Taking the engine's stream apart: every way in which the bytes may be cut, and bytes that are none.

local Stream = require("providers.docker.stream")

local function frame(kind, bytes)
  return (">BI3s4"):pack(kind, 0, bytes)
end

--- Feeds pieces; returns stdout, stderr, what the end said, and how often it came.
local function feed(pieces)
  local receive
  local stream = Stream.new({ start = function(_, fn) receive = fn end, close = function() end })
  local out, ends, why = {}, 0, nil
  stream:start(function(bytes, err)
    if bytes then out[#out + 1] = bytes else ends, why = ends + 1, err end
  end)
  for _, piece in ipairs(pieces) do receive(piece) end
  receive(nil)
  return table.concat(out), stream.stderr, why, ends
end

describe("docker.stream", function()
  it("parts stdout and stderr wherever the bytes are cut", function()
    local whole = frame(1, "hello ") .. frame(2, "oh") .. frame(1, "") .. frame(1, "world") .. frame(2, "dear")
    for size = 1, #whole do
      local pieces = {}
      for at = 1, #whole, size do pieces[#pieces + 1] = whole:sub(at, at + size - 1) end
      local out, err, why, ends = feed(pieces)
      assert.are.same({ "hello world", "ohdear", nil, 1 }, { out, err, why, ends })
    end
  end)

  it("passes on what has come of a piece, and keeps nothing of it", function()
    local got = 0
    local receive
    local stream = Stream.new({ start = function(_, fn) receive = fn end })
    stream:start(function(bytes) got = got + #bytes end)
    receive((">BI3I4"):pack(1, 0, 1 << 30))
    for _ = 1, 100 do receive(("x"):rep(65536)) end
    assert.are.equal(100 * 65536, got)
    assert.are.equal("", stream.head)
  end)

  it("keeps only the end of stderr", function()
    local _, err = feed({ frame(2, ("a"):rep(100000)), frame(2, "the end") })
    assert.are.equal(4096, #err)
    assert.matches("the end$", err)
  end)

  it("ends once, with a message, at bytes that are no piece", function()
    for _, bytes in ipairs({ "HTTP/1.1 500 Internal", "\1\0\1\0\0\0\0\0", "\9\0\0\0\0\0\0\0" }) do
      local out, _, why, ends = feed({ frame(1, "x"), bytes, frame(1, "y") })
      assert.are.same({ "x", 1 }, { out, ends })
      assert.matches("malformed", why)
    end
  end)

  it("says no more once it is closed, even from inside", function()
    local receive
    local stream = Stream.new({ start = function(_, fn) receive = fn end, close = function() end })
    local count = 0
    stream:start(function()
      count = count + 1
      stream:close()
    end)
    receive(frame(1, "a") .. frame(1, "b"))
    assert.are.equal(1, count)
  end)
end)
