local width = require("runner.results.console.width")

describe("width", function()
  it("counts columns, not bytes", function()
    assert.are.equal(0, width.columns(""))
    assert.are.equal(4, width.columns("grün"))
    assert.are.equal(6, width.columns("日本語"))
    assert.are.equal(2, width.columns("🙂"))
    assert.are.equal(1, width.columns("e\u{301}"))
    assert.are.equal(1, width.columns("─"))
    assert.are.equal(2, width.columns("한"))
  end)

  it("takes out the middle and never exceeds the room", function()
    assert.are.equal("abcdef", width.fit("abcdef", 6, "…"))
    assert.are.equal("a…ef", width.fit("abcdef", 4, "…"))
    assert.are.equal("日…日本語", width.fit("日本語日本語", 9, "…"))
    assert.are.equal("", width.fit("abc", 0, "…"))
    assert.are.equal("", width.fit("日", 1, "…"))
    for _, s in ipairs({ "tests/test_a.py::test", "日本語日本語日本語",
      "a\u{301}b\u{301}c\u{301}d\u{301}e\u{301}", "🙂a🙂b🙂" }) do
      for columns = 0, 30 do
        for _, ellipsis in ipairs({ "…", ".." }) do
          local fitted = width.fit(s, columns, ellipsis)
          assert.is_true(width.columns(fitted) <= columns)
          assert.is_truthy(utf8.len(fitted))
        end
        assert.is_true(width.columns(width.cut(s, columns)) <= columns)
      end
    end
  end)

  it("keeps marks with their letter", function()
    assert.are.equal("a\u{301}", width.cut("a\u{301}b", 1))
    assert.are.equal("a…d\u{301}e", width.fit("abcd\u{301}e", 4, "…"))
  end)
end)
