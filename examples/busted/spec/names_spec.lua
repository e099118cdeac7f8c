describe("-names", function()
  it("--help", function() end)
  it("ünïcödé 名前 🛒", function() end)
  it("holds [brackets] (1) %d+ and {braces}", function() end)
  it("holds 'single' and \"double\" quotes, $HOME, `id` and \\", function() end)
  it("has a\nline end and a\ttab", function() end)
  it("has a twin", function() end)
  it("has a twin", function() error("the second is another") end)
end)

describe("output", function()
  it("in Latin-1, with a NUL", function()
    io.write("caf\233 \0 end\n")
    io.stderr:write("on stderr\n")
  end)

  it("of a program", function()
    os.execute("echo from a program")
  end)

  it("without print", function()
    local before = print
    _G.print = function() end
    print("lost")
    _G.print = before
  end)
end)

it("stands in no block", function() end)
