local xml = require("runner.core.xml")

-- Everything the reader says about a document, as a list of lists; fed `step` bytes at a time.
local function events(bytes, options, step)
  local reader <close> = xml.reader(options)
  local list, at = {}, 1
  step = step or math.max(#bytes, 1)
  while true do
    local event = table.pack(reader:next())
    if event[3] == "EAGAIN" then
      reader:feed(at <= #bytes and bytes:sub(at, at + step - 1) or nil)
      at = at + step
    else
      event.n = nil
      list[#list + 1] = event
      if event[1] == nil then return list, reader:mended() end
    end
  end
end

-- The text of the only element of a document.
local function text_of(bytes, options)
  local list, mended = events(bytes, options)
  return list[2][2], mended, list[#list]
end

-- The outcome: the code of the failure, or "ok".
local function outcome(bytes, options)
  local list = events(bytes, options)
  return list[#list][3] or "ok"
end

local function utf16(text, order)
  local out = {}
  for _, code in utf8.codes(text) do
    if code >= 0x10000 then
      code = code - 0x10000
      out[#out + 1] = string.pack(order .. "I2", 0xD800 + (code >> 10))
      code = 0xDC00 + (code & 0x3FF)
    end
    out[#out + 1] = string.pack(order .. "I2", code)
  end
  return table.concat(out)
end

local function with_file(bytes, fn)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  local ok, err = pcall(fn, path)
  os.remove(path)
  assert(ok, err)
end

describe("xml", function()
  it("gives events and whole elements", function()
    assert.are.same({
      { "start", "a", { x = "1" } },
      { "text", "hi" },
      { "element", { [0] = "c", n = "é", "t<raw>u", { [0] = "d" }, { [0] = "d", "  " } }, 0 },
      { "start", "b", {} },
      { "end", "b" },
      { "end", "a" },
      {},
    }, (events('<a x="1">hi<c n="é">t<![CDATA[<raw>]]>u<d/> <d>  </d></c><b/></a>',
      { whole = { "c" } })))
  end)

  it("reads the same whatever the size of the pieces", function()
    local document = '<?xml version="1.0"?>\n<a k="&lt;&#65;\'>"><!-- <x> -- -->'
      .. "<c>é\27[0m ]] ]]> &#27; & &nb;"
      .. "<![CDATA[ ]] & <\xFF]]>\u{1F600}</c>\r\n<b/></a>"
    local expected, mended = events(document, { whole = { "c" } })
    for step = 1, #document do
      local got, got_mended = events(document, { whole = { "c" } }, step)
      assert.are.same(expected, got)
      assert.are.same(mended, got_mended)
    end
  end)

  it("reads files, and only files", function()
    with_file("<a/>", function(path)
      local reader <close> = assert(xml.open(path))
      assert.are.equal("start", (reader:next()))
      assert.are.equal("end", (reader:next()))
      assert.is_nil((reader:next()))
      assert.is_nil((reader:next()))
    end)
    assert.are.equal("ENOENT", select(3, xml.open("/nonexistent/report.xml")))
    assert.are.equal("EISDIR", select(3, xml.open("/")))
    assert.are.equal("EINVAL", select(3, xml.open("/dev/null")))
  end)

  it("says why it stops", function()
    assert.are.equal("ETRUNCATED", outcome(""))
    assert.are.equal("ETRUNCATED", outcome("<a><b>"))
    assert.are.equal("ETRUNCATED", outcome("<a b='"))
    assert.are.equal("ETRUNCATED", outcome("<a><![CDATA[x"))
    assert.are.equal("ETRUNCATED", outcome("<a><!-- x"))
    assert.are.equal("EXML", outcome("hello"))
    assert.are.equal("EXML", outcome("<a></b>"))
    assert.are.equal("EXML", outcome("<a/><b/>"))
    assert.are.equal("EXML", outcome("<a b='1' b='2'/>"))
    assert.are.equal("EXML", outcome("<a>1 < 2</a>"))
    assert.are.equal("EDOCTYPE", outcome("<!DOCTYPE a><a/>"))
  end)

  it("gives what there is of an element that is cut off, and the line", function()
    local list = events('<a>\n<c name="x">t<d>text', { whole = { "c" } })
    local last = list[#list]
    assert.are.equal("ETRUNCATED", last[3])
    assert.are.same({ [0] = "c", name = "x", "t", { [0] = "d", "text" } }, last[4])
    assert.are.equal(2, last[5])
  end)

  it("knows no entities", function()
    assert.are.equal("EDOCTYPE", outcome('<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'))
    assert.are.equal("EDOCTYPE", outcome('<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>'))
    local text, mended = text_of("<a>&nbsp; a & b &lt;</a>")
    assert.are.equal("&nbsp; a & b <", text)
    assert.are.equal(2, mended.ampersands)
  end)

  it("keeps what XML forbids as the bytes that were meant", function()
    local text, mended = text_of(
      "<a>\27[31m&#27;&#x0;\xFF\xC3( \xED\xA0\x80 &#xD83D; \u{FFFF}]]></a>")
    assert.are.equal("\27[31m\27\0\xFF\xC3( \xED\xA0\x80 \xED\xA0\xBD \u{FFFF}]]>", text)
    assert.are.equal(5, mended.controls)
    assert.are.equal(5, mended.invalid)
    assert.are.equal(1, mended.brackets)
    -- The characters that carry such bytes through the parser are ordinary ones when the document holds them.
    assert.are.equal("\u{10FE1B}\27", (text_of("<a>\u{10FE1B}\27</a>")))
    assert.are.equal("\u{10FE1B}\27", (text_of("<a>&#x10FE1B;\27</a>")))
  end)

  it("reads other encodings, and UTF-8 where the declared one is wrong", function()
    local declare = '<?xml version="1.0" encoding="%s"?><a>%s</a>'
    assert.are.equal("é", (text_of(declare:format("ISO-8859-1", "\xE9"))))
    assert.are.equal("€", (text_of(declare:format("windows-1252", "\x80"))))
    assert.are.equal("日本", (text_of(declare:format("Shift_JIS", "\x93\xFA\x96\x7B"))))
    assert.are.equal("é", (text_of("\xEF\xBB\xBF" .. declare:format("utf-8", "é"))))
    for _, order in ipairs({ "<", ">" }) do
      local document = declare:format("utf-8", "é😀")
      assert.are.equal("é😀", (text_of(utf16("\u{FEFF}" .. document, order))))
      assert.are.equal("é😀", (text_of(utf16(document, order))))
    end
    for _, wrong in ipairs({ "UTF-16", "UTF-7", "x-none", "ISO-2022-CN-EXT" }) do
      local text, mended = text_of(declare:format(wrong, "é"))
      assert.are.equal("é", text)
      assert.is_true(mended.wrong_encoding)
    end
    local text, mended = text_of(declare:format("UTF-8", "caf\xE9"))
    assert.are.equal("caf\xE9", text)
    assert.are.equal(1, mended.invalid)
  end)

  it("caps depth, tags and names", function()
    assert.are.equal("EDEPTH", outcome(("<a>"):rep(10000)))
    assert.are.equal("EDEPTH", outcome("<w>" .. ("<a>"):rep(10000), { whole = { "w" } }))
    assert.are.equal("ETRUNCATED", outcome(("<a>"):rep(200)))
    assert.are.equal("ok", outcome(("<a>"):rep(5) .. ("</a>"):rep(5), { depth_limit = 5 }))
    assert.are.equal("EDEPTH", outcome(("<a>"):rep(6), { depth_limit = 5 }))
    local attributes = {}
    for i = 1, 257 do attributes[i] = ("a%d=''"):format(i) end
    assert.are.equal("ESIZE", outcome("<a " .. table.concat(attributes, " ") .. "/>"))
    assert.are.equal("ok", outcome("<a " .. table.concat(attributes, " ", 2) .. "/>"))
    assert.are.equal("ESIZE", outcome("<a" .. (" "):rep(17 << 20) .. "/>"))
  end)

  it("shortens long texts in the middle and long attributes at the end", function()
    local text = text_of("<a>" .. ("é"):rep(500) .. "middle" .. ("ü"):rep(500) .. "</a>",
      { text_limit = 101 })
    assert.are.equal(("é"):rep(25) .. "\n[... 1906 bytes left out ...]\n" .. ("ü"):rep(25), text)
    local list, mended = events('<a b="' .. ("é"):rep(1000) .. '"/>', { text_limit = 101 })
    assert.are.equal(("é"):rep(50) .. " [... 1900 bytes left out ...]", list[1][3].b)
    assert.are.equal(1, mended.shortened)
    local exact = ("x"):rep(100)
    assert.are.equal(exact, (text_of("<a>" .. exact .. "</a>", { text_limit = 100 })))
  end)

  it("leaves out what a whole element has too much of", function()
    local document = "<r><a>" .. ("<b>text</b>"):rep(1000) .. "</a><a>x</a></r>"
    local list = events(document, { whole = { "a" }, element_limit = 4096 })
    assert.is_true(#list[2][2] > 10 and #list[2][2] < 100)
    assert.are.equal((1000 - #list[2][2]) * #"<text", list[2][3]) -- an element and its bytes
    assert.are.same({ "element", { [0] = "a", "x" }, 0 }, list[3])
  end)

  it("takes time proportional to size, whatever the shape", function()
    local shapes = {
      cdata = function(n) return "<a><![CDATA[" .. ("hello "):rep(n // 6) .. "]]></a>" end,
      brackets = function(n) return "<a><![CDATA[" .. ("]"):rep(n) .. "]]></a>" end,
      comment = function(n) return "<a><!--" .. ("-"):rep(n) .. "--></a>" end,
      attribute = function(n) return "<a b='" .. (">"):rep(n) .. "'/>" end,
      ampersands = function(n) return "<a>" .. ("&"):rep(n) .. "</a>" end,
      ending = function(n) return "<a></a" .. (" "):rep(n) .. "></a>" end,
    }
    local function seconds(document)
      local started = os.clock()
      outcome(document)
      return os.clock() - started
    end
    for name, shape in pairs(shapes) do
      local small, large = seconds(shape(1 << 20)), seconds(shape(8 << 20))
      -- 8 times is linear, 64 times quadratic.
      assert(large < 30 * math.max(small, 0.01), ("%s: %.2f s, %.2f s"):format(name, small, large))
    end
  end)

  it("can be closed at any time, twice, and says so afterwards", function()
    local reader = xml.reader()
    reader:feed("<a><b>")
    reader:next()
    reader:close()
    reader:close()
    assert.has_error(function() reader:next() end)
    assert.has_error(function() reader:feed("x") end)
    collectgarbage()
  end)

  it("refuses misuse", function()
    local reader <close> = xml.reader()
    reader:feed("<a>")
    assert.has_error(function() reader:feed("<b>") end)
    assert.has_error(function() xml.reader({ depth_limit = 0 }) end)
    assert.has_error(function() xml.reader({ whole = { 1, {} } }) end)
    assert.has_error(function() xml.reader("x") end)
  end)

  it("keeps the fed bytes alive", function()
    local reader <close> = xml.reader()
    reader:feed("<a>" .. ("<b/>"):rep(50000))
    local count = 0
    while true do
      local event, _, code = reader:next()
      if code == "EAGAIN" then break end
      assert(event)
      count = count + 1
      if count % 1000 == 0 then collectgarbage() end
    end
    assert.are.equal(100001, count)
  end)
end)
