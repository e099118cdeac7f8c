local head = require("runner.io.http.head")

describe("http head", function()
  it("merges whatever the case, later maps win", function()
    assert.are.same(
      { { "accept", "b" }, { "Host", false }, { "X-N", "3" } },
      head.merge({ Accept = "a", Host = "h" }, nil, { accept = "b", Host = false, ["X-N"] = 3 })
    )
  end)

  it("refuses line breaks without showing the value", function()
    local ok, message = pcall(head.merge, { Authorization = "s3cret\r\nX: y" })
    assert.is_false(ok)
    assert.matches("Authorization", message)
    assert.not_matches("s3cret", message)
    assert.is_false(pcall(head.merge, { ["A b"] = "c" }))
    assert.is_false(pcall(head.merge, { ["A:"] = "c" }))
    assert.is_false(pcall(head.merge, { A = "\0" }))
  end)

  it("reads a head: last wins, all are listed, folds are joined", function()
    local status, headers, list = head.parse(
      "HTTP/1.1 200\r\nSet-Cookie: a\r\nset-cookie:  b \r\nX:\r\n"
        .. "Long: one\r\n  two\r\nnonsense\r\n\r\n")
    assert.are.equal(200, status)
    assert.are.same({ ["set-cookie"] = "b", x = "", long = "one two" }, headers)
    assert.are.same(
      { { "Set-Cookie", "a" }, { "set-cookie", "b" }, { "X", "" }, { "Long", "one two" } }, list)
  end)

  it("knows what is not a head", function()
    for _, line in ipairs({ "", "SSH-2.0-x", "HTTP/1.1 abc", "HTTP/1.1 2000 X", "HTTP/2 200" }) do
      assert.is_nil((head.parse(line .. "\r\n\r\n")))
    end
  end)
end)
