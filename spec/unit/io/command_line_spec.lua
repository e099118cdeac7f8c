--- Command lines of users: which need a shell, and what they come to without one.

local uv = require("luv")
local command_line = require("runner.io.command_line")
local process = require("runner.io.process")
local async = require("spec.support.async")

--- What a shell makes of the words of a line.
local function by_shell(line)
  local result = process.run({ "/bin/sh", "-c", "printf '%s\\0' " .. line })
  local words = {}
  for word in result.stdout:gmatch("([^%z]*)%z") do words[#words + 1] = word end
  return words
end

describe("a command line", function()
  it("is taken apart as a shell would", function()
    for line, expected in pairs({
      ["/bin/true a"] = { "/bin/true", "a" },
      ["  make   -j4\tall  "] = { "make", "-j4", "all" },
      ["prog 'a b' \"c d\""] = { "prog", "a b", "c d" },
      ["prog a'b'\"c\"d '' \"\""] = { "prog", "abcd", "", "" },
      ["./x --opt=1 'it'\"'\"'s'"] = { "./x", "--opt=1", "it's" },
      ["prog 'two\nlines'\n"] = { "prog", "two\nlines" },
      ["'my prog' x@y:z,1%"] = { "my prog", "x@y:z,1%" },
    }) do
      assert.are.same(expected, command_line.words(line))
    end
  end)

  it("needs a shell for anything else", function()
    for _, line in ipairs({
      "", " ", "''", "a | b", "a; b", "a & b", "a > f", "a < f", "a $B", "a `b`", "a \"$B\"", "a \"`b`\"", "a *.c",
      "a ?",
      "a [x]", "a ~", "a {b,c}", "a \\b", "a \"\\b\"", "a # no", "A=1 b", "a (b)", "a\nb", "a 'b", "a \"b",
      "cd x", "exec a",
      ". a",
      "if a", "! a", "echo a", "time a", "a b!", "a\r",
    }) do
      assert.is_nil(command_line.words(line), line)
    end
  end)

  it("comes to the same words as in a shell, whatever it holds", async(function()
    local seed = os.getenv("RUNNER_SEED") and tonumber(os.getenv("RUNNER_SEED")) or uv.hrtime() & 0xffffffff
    math.randomseed(seed)
    local parts = {
      "a", "B9", " ", "  ", "'", '"', "-", "=", "\\", "$x", "*", "'it s'", '"q r"', ";", "#", "~", "é", "\t", "\n", "%",
    }
    local compared = 0
    while compared < 60 do
      local line = {}
      for i = 1, math.random(8) do line[i] = parts[math.random(#parts)] end
      local text = table.concat(line)
      local words = command_line.words("prog " .. text)
      if words and #words > 1 then
        table.remove(words, 1)
        assert.are.same(by_shell(text), words, ("%q, seed %d"):format(text, seed))
        compared = compared + 1
      end
    end
  end))

  it("is read by the shell that was set, always", function()
    assert.are.same({ "/bin/bash", "-c", "a b" }, (command_line.argv("a b", "/bin/bash")))
    local argv, instead = command_line.argv("a b", "/bin/sh")
    assert.are.same({ "a", "b" }, argv)
    assert.are.same({ "/bin/sh", "-c", "a b" }, instead)
    argv, instead = command_line.argv("a | b")
    assert.are.same({ "/bin/sh", "-c", "a | b" }, argv)
    assert.is_nil(instead)
  end)

  it("quotes words so that they come back", async(function()
    local words = { "", "a b", "it's", "$x", "a\nb", "\255\1", "*", "-n", "é" }
    assert.are.same(words, by_shell(command_line.join(words)))
  end))
end)
