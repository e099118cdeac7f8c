local lines = require("runner.worker.lines")

describe("lines", function()
  it("are the same however the stream is cut", function()
    local text = "one\n\ntwo\r\nlong " .. ("x"):rep(100) .. "\nopen"
    for _, size in ipairs({ 1, 2, 5, #text }) do
      local got = {}
      local feed, rest = lines.reader(function(line) got[#got + 1] = line end)
      for at = 1, #text, size do feed(text:sub(at, at + size - 1)) end
      assert.are.same({ "one", "", "two\r", "long " .. ("x"):rep(100) }, got)
      assert.are.equal("open", rest())
    end
  end)

  it("may be taken in part before they are whole", function()
    local got = {}
    local feed, rest = lines.reader(function(line) got[#got + 1] = line end)
    assert.are.equal("", rest())
    feed("test a ... ")
    feed("said")
    assert.are.equal("test a ... said", rest())
    assert.are.equal("said", rest("said"))
    feed(" more\nnext")
    assert.are.same({ "said more" }, got)
    assert.are.equal("next", rest())
  end)
end)
