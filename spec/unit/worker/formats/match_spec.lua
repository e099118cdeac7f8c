local match = require("runner.worker.formats.match")

local function take(matcher, name, classname, extra)
  local case = extra or {}
  case.name, case.classname = name, classname
  return matcher:take(case)
end

describe("match", function()
  it("matches by the bare name when no format is declared", function()
    local m = match.new({ "a", "b c" })
    assert.are.same({ 2, "b c" }, { take(m, "b c", "x") })
    assert.are.same({ 1, "a" }, { take(m, "a") })
    assert.are.same({}, m:missing())
    assert.are.equal(0, m.unmatched_count)
  end)

  it("renders the declared formats in order", function()
    local m = match.new({ "tests/a.py::t[1]", "pkg.C m", "s > t" }, {
      format = { "{file}::{name}", "{classname} {name}", "{suite} > {name}" }, root = "/app",
    })
    assert.are.equal(1, take(m, "t[1]", "x", { file = "./tests/a.py" }))
    assert.are.equal(2, take(m, "m", "pkg.C"))
    assert.are.equal(3, take(m, "t", nil, { suite = { name = "s" } }))
    m = match.new({ "tests/a.py::t" }, { format = "{file}::{name}", root = "/app" })
    assert.are.equal(1, take(m, "t", nil, { file = "/app/tests/a.py" }))
  end)

  it("lets the declared format decide where the bare name is another test's id", function()
    local m = match.new({ "add", "math add" }, { format = "{classname} {name}" })
    assert.are.equal(2, take(m, "add", "math"))
    assert.are.equal(1, take(m, "add"))
  end)

  it("takes properties, lines, nested suites, braces and functions", function()
    local m = match.new({ "id-7", "f:3", "a b c", "{x}", "from a function" }, {
      format = {
        "id-{property:id}", "{file}:{line}", "{suites} {name}", "{{{name}}",
        function(case) return case.name == "special" and "from a function" or nil end,
      },
    })
    assert.are.equal(1, take(m, "?", nil, { properties = { id = "7" } }))
    assert.are.equal(2, take(m, "?", nil, { file = "f", line = 3 }))
    assert.are.equal(3, take(m, "c", nil, { suite = { name = "b", parent = { name = "a" } } }))
    assert.are.equal(4, take(m, "x"))
    assert.are.equal(5, take(m, "special"))
  end)

  it("gives duplicates out by order of occurrence", function()
    local m = match.new({ "a", "b", "a" })
    assert.are.equal(1, take(m, "a"))
    assert.are.equal(3, take(m, "a"))
    assert.are.same({ nil, "repeated" }, { take(m, "a", "k") })
    assert.are.same({ { name = "k a", reason = "repeated", id = "a" } }, m.unmatched)
    assert.are.same({ 2 }, m:missing())
  end)

  it("knows pytest's node ids from the names in its reports", function()
    local ids = { "tests/a.py::t[1]", "tests/a.py::C::t", "x/b.py::t", "x.b.py::t", "a::b" }
    local m = match.new(ids, { format = "{name}" })
    assert.are.equal(1, take(m, "t[1]", "tests.a"))
    assert.are.equal(2, take(m, "t", "tests.a.C"))
    assert.are.same({ nil, "unknown" }, { take(m, "t", "x.b") }) -- two ids have this name there
    assert.are.same({ nil, "unknown" }, { take(m, "b", "a") }) -- and this is no node id
  end)

  it("gives all further results of an id to its last test, to merge them", function()
    local m = match.new({ "a", "b", "a" }, { merge = true })
    assert.are.same({ 1, 3, 3, 2, 2 },
      { (take(m, "a")), (take(m, "a")), (take(m, "a")), (take(m, "b")), (take(m, "b")) })
    assert.are.equal(0, m.unmatched_count)
    assert.are.equal("b", m:find({ name = "b" }).id)
    assert.is_nil(m:find({ name = "c" }))
  end)

  it("reports by name what it cannot match, and never guesses", function()
    local m = match.new({ "pkg.C add", "Add" }, { format = "{classname} {name}" })
    assert.are.same({ nil, "unknown" }, { take(m, "add", "pkg.D") })
    assert.are.same({ nil, "unknown" }, { take(m, "add") })
    assert.are.same({ nil, "unknown" }, { take(m, "add ", "pkg.C") })
    assert.are.same({ name = "pkg.D add", reason = "unknown" }, m.unmatched[1])
    assert.are.same({ 1, 2 }, m:missing())
  end)

  it("knows that attributes lose line ends and tabs, unless two ids would meet", function()
    local m = match.new({ "a\nb", "c\td", "c d", "e\nf", "e\tf" })
    assert.are.same({ 1, "a\nb" }, { take(m, "a b") })
    assert.are.same({ 3, "c d" }, { take(m, "c d") })
    assert.are.same({ nil, "unknown" }, { take(m, "e f") })
    assert.are.equal(4, take(m, "e\nf"))
  end)

  it("keeps a bounded list and an exact count", function()
    local m = match.new({})
    for i = 1, 1500 do take(m, "t" .. i) end
    assert.are.equal(1000, #m.unmatched)
    assert.are.equal(1500, m.unmatched_count)
  end)

  it("refuses a bad format", function()
    local function message(format)
      local ok, err = pcall(match.new, {}, { format = format })
      assert.is_false(ok)
      return err.message
    end
    assert.are.equal('unknown field {classnam} in a test id format; did you mean "classname"?',
      message("{classnam} x"))
    assert.is_truthy(message("{name"):find("not closed", 1, true))
  end)
end)
