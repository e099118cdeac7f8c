local text = require("runner.base.text")

local ESC = "\27"

describe("text", function()
  it("repairs invalid UTF-8 byte by byte and leaves valid text alone", function()
    assert.are.equal("grün 日本 🙂", text.repair("grün 日本 🙂"))
    assert.are.equal([[a\xffb\xc3]], text.repair("a\xffb\xc3"))
    assert.are.equal([[\xed\xa0\x80]], text.repair("\xed\xa0\x80")) -- half a surrogate pair
    assert.are.equal([[\xe2\x82"]],
      text.repair("\xe2\x82\"")) -- what follows a cut character survives
    assert.are.equal("a?b", text.repair("a\xffb", "?"))
  end)

  it("shows in one line whatever a name holds", function()
    assert.are.equal([[test[a\n\t\x1b[31m\x00\x7f] é]], text.escape("test[a\n\t\27[31m\0\127] é"))
    assert.are.equal([[\u{85}\u{202e}x\u{feff}\u{2028}]],
      text.escape("\u{85}\u{202e}x\u{feff}\u{2028}"))
    assert.are_not.equal(text.escape("a\xff"), text.escape("a\xfe"))
  end)

  it("strips terminal sequences, colours too unless they are wanted", function()
    local s = ESC .. "[1;31mred" .. ESC .. "[0m" .. ESC .. "]0;title\7" .. ESC .. "[2J" .. ESC
      .. "(B."
    assert.are.equal("red.", text.strip_ansi(s))
    assert.are.equal(ESC .. "[1;31mred" .. ESC .. "[0m.", text.strip_ansi(s, true))
    assert.are.equal("ab", text.strip_ansi("a" .. ESC .. "Pdevice" .. ESC .. "\\b"))
    assert.are.equal("end", text.strip_ansi("end" .. ESC))
  end)

  it("never lets an escape through, whatever is hidden in what", function()
    local seed = tonumber(os.getenv("SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local pieces = { ESC, "[", "]", "P", "31", ";", "m", "J", "\7", "\\", "a", "\xff", "\xc2",
      "\x9b", "é", "\r", "\n" }
    for _ = 1, 2000 do
      local parts = {}
      for i = 1, math.random(12) do parts[i] = pieces[math.random(#pieces)] end
      local s = table.concat(parts)
      local plain, coloured = text.multiline(s), text.multiline(s, true)
      assert(not plain:find("[\0-\8\11-\31\127]") and utf8.len(plain),
        ("seed %d: %q"):format(seed, s))
      coloured = coloured:gsub(ESC .. "%[[%d;:]*m", "")
      assert(not coloured:find(ESC), ("seed %d: %q"):format(seed, s))
      assert(not text.escape(s):find("[\0-\31\127]"), ("seed %d: %q"):format(seed, s))
    end
  end)

  it("unifies line ends of output", function()
    assert.are.equal("a\nb\nc\nd", text.multiline("a\r\nb\r\r\nc\rd"))
    assert.are.equal("é\n\t\\x08", text.multiline("é\n\t\8"))
  end)

  it("shortens at character borders", function()
    local s = ("日"):rep(200)
    local short = text.shorten(s, 100)
    assert.is_true(#short <= 106)
    assert.is_truthy(utf8.len(short))
    assert.are.equal("abc", text.shorten("abc", 3))
  end)

  it("quotes for a shell so that the shell gives back the same bytes", function()
    local bash = io.popen("command -v bash"):read("l")
    for _, s in ipairs({ "", "a b", "it's", "$HOME `x` \\", "a\nb\ttab", "x[1-2]", "*", "é",
      "a\27[0m'\\'", "~",
      "test.py::T::t[a-b]", "\xff" }) do
      local quoted = text.shell_quote(s)
      assert.is_nil(quoted:find("[\0-\31]"))
      local needs_bash = quoted:sub(1, 1) == "$"
      if bash or not needs_bash then
        local shell = needs_bash and "bash" or "sh"
        local path = os.tmpname()
        local script = assert(io.open(path, "wb"))
        script:write("printf %s ", quoted)
        script:close()
        local pipe = io.popen(shell .. " " .. path, "r")
        assert.are.equal(s, pipe:read("a"))
        pipe:close()
        os.remove(path)
      end
    end
    assert.are.equal("tests/test_a.py::test_b", text.shell_quote("tests/test_a.py::test_b"))
  end)
end)
