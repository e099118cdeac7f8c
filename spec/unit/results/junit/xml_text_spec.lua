local xml = require("runner.results.junit.xml_text")

describe("xml_text", function()
  it("escapes content and attributes", function()
    assert.are.equal("a &lt;b&gt; &amp; \"c\" ]]&gt;", xml.content("a <b> & \"c\" ]]>"))
    assert.are.equal('"&lt;&quot;&amp;&#10;&#9;"', xml.attribute('<"&\n\t'))
  end)

  it("leaves nothing that XML 1.0 forbids", function()
    assert.are.equal("red", xml.content("\27[31mred\27[0m"))
    assert.are.equal("a\u{FFFD}b\u{FFFD}\u{FFFD}", xml.content("a\0b\8\xff"))
    assert.are.equal("\u{FFFD}\u{FFFD}", xml.content("\u{FFFE}\u{FFFF}"))
    assert.are.equal("\u{FFFD}\u{FFFD}\u{FFFD}", xml.content("\xed\xa0\x80"))
    assert.are.equal("a\nb\n", xml.content("a\r\nb\r"))
    assert.are.equal("grün 🙂", xml.content("grün 🙂"))
  end)

  it("writes names out, so that different ones stay different", function()
    assert.are.equal([["t[\x1b[31m\n]"]], xml.name("t[\27[31m\n]"))
    assert.are_not.equal(xml.name("t\1"), xml.name("t\2"))
  end)

  it("writes numbers with a dot and times in UTC", function()
    assert.are.equal('"0.125"', xml.seconds(0.125))
    assert.are.equal('"12345.000"', xml.seconds(12345))
    for _, odd in ipairs({ -1, 0 / 0, math.huge }) do assert.are.equal('"0.000"',
      xml.seconds(odd)) end
    assert.are.equal('"0.000"', xml.seconds(nil))
    assert.are.equal('"2026-01-01T00:00:00Z"', xml.timestamp(1767225600.9))
  end)
end)
