--- CMake's own engine, asked through `cmake -P`, says what is right.

local async = require("spec.support.async")
local example = require("spec.support.example")
local cmake_regex = require("frameworks.ctest.cmake_regex")
local process = require("runner.io.process")
local project = require("spec.support.project")

--- What CMake says of each { pattern, subject }.
local function ask(cases)
  local lines = { "cmake_policy(VERSION 3.20)" }
  for _, case in ipairs(cases) do
    lines[#lines + 1] = ("if([==[%s]==] MATCHES [==[%s]==])\n  message(yes)\nelse()\n  message(no)\nendif()")
      :format(case[2], case[1])
  end
  local dir = project.new({ ["ask.cmake"] = table.concat(lines, "\n") })
  local result = process.run({ "cmake", "-P", dir .. "/ask.cmake" })
  local answers = {}
  for answer in result.stderr:gmatch("[^\n]+") do answers[#answers + 1] = answer end
  return answers, result
end

local function needs_cmake()
  if not example.has("cmake") then
    pending("CMake is missing")
    return false
  end
  return true
end

describe("frameworks.ctest.pattern", function()
  after_each(project.remove_all)

  it("agrees with CMake on what is special and what is not", async(function()
    if not needs_cmake() then return end
    local cases = {
      { "b{2}", "b{2}" }, { "b{2}", "bb" }, { "\\d", "d" }, { "\\d", "7" }, { "[[:alpha:]]", "a" },
      { "[[:alpha:]]", ":]" }, { "^b", "a\nb" }, { "a$", "a\nb" }, { "a.b", "a\nb" }, { "[\\]x", "\\x" },
      { "[]x]", "]" }, { "[^]x]", "]" }, { "[^]x]", "a" }, { "[a-]", "-" }, { "[-a]", "-" }, { "[^a-c]", "b" },
      { "[a^]", "^" }, { "[x[]", "[" }, { "[[.a.]]", ".]" }, { "[=-]", "=" }, { "[^-]", "-" }, { "[+--]", "," },
      { "a|b", "xb" }, { "(a|)b", "b" }, { "(ab)+c", "ababc" }, { "a?b", "b" }, { "x*", "" }, { "a+b*", "a" },
      { "a\\.b", "axb" }, { "a\\.b", "a.b" }, { "\\(a\\)", "(a)" }, { "^$", "" }, { "a}", "a}" }, { "é", "café" },
      { "[é]", "é" }, { "[[]x", "[x" }, { "[a^-]", "-" }, { "[^^]", "^" }, { "[^^]", "x" }, { "a\\*", "a*" },
    }
    local answers, result = ask(cases)
    assert.are.equal(#cases, #answers, result.stderr)
    for i, case in ipairs(cases) do
      assert.are.equal(answers[i], cmake_regex.compile(case[1])(case[2]) and "yes" or "no", table.concat(case, " on "))
    end
  end))

  it("refuses what CMake refuses", async(function()
    if not needs_cmake() then return end
    for _, text in ipairs({ "a(b", "a)b", "*a", "a**", "(a*)*", "[a", "[z-a]", "a|*b", "(^)*", "(+a)" }) do
      local _, result = ask({ { text, "a" } })
      assert.are_not.equal(0, result.code, text)
      assert.is_nil(cmake_regex.translate(text), text)
      assert.is_false(cmake_regex.compile(text)("a"))
    end
  end))

  it("agrees with CMake on random expressions", async(function()
    if not needs_cmake() then return end
    local seed = os.time()
    math.randomseed(seed)
    local pieces = {
      "a", "b", "ab", ".", "a*", "b+", "a?", "(a|b)", "(ab)*", "[ab]", "[^a]", "[a-c]", "\\.", "{", "}", "-", "^", "$",
      "|", "[]a]", "[b-]", "[.[]",
    }
    local letters = { "a", "b", "c", ".", "{", "}", "-", "]", "[", "\n" }
    local function random(list, most)
      local text = {}
      for i = 1, math.random(most) do text[i] = list[math.random(#list)] end
      return table.concat(text)
    end
    local cases = {}
    while #cases < 400 do
      local text, subject = random(pieces, 5), random(letters, 8)
      -- A bracket argument drops a first line break and must not end early.
      if cmake_regex.translate(text) and not subject:find("^\n") and not subject:find("]$") and not text:find("]$") then
        cases[#cases + 1] = { text, subject }
      end
    end
    local answers, result = ask(cases)
    assert.are.equal(#cases, #answers, "seed " .. seed .. result.stderr:sub(-500))
    for i, case in ipairs(cases) do
      assert.are.equal(answers[i], cmake_regex.compile(case[1])(case[2]) and "yes" or "no",
        ("seed %d: %q on %q"):format(seed, case[1], case[2]))
    end
  end))
end)
