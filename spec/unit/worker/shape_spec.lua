--- What may come over a border.

local shape = require("runner.worker.shape")

describe("a shape", function()
  local check = shape.record({
    name = "string", age = "count?", height = "number?", kind = shape.maybe(shape.one_of("a", "b")),
    tags = shape.maybe(shape.list("string")), phases = shape.maybe(shape.map("number")),
  })

  it("lets pass what fits", function()
    for _, value in ipairs({
      { name = "x" }, { name = "", age = 0, height = -1.5, kind = "b", tags = {}, phases = { up = 1 } },
      { name = "x", age = 3.0, tags = { "a", "b" } },
    }) do assert.is_nil(check(value)) end
  end)

  for what, value in pairs({
    ["no table"] = 5, ["nothing"] = nil, ["a missing field"] = {}, ["a field of another type"] = { name = 5 },
    ["a field that nobody knows"] = { name = "x", shoe = 1 }, ["a negative count"] = { name = "x", age = -1 },
    ["a broken count"] = { name = "x", age = 1.5 }, ["a count that is no number"] = { name = "x", age = 0 / 0 },
    ["an endless number"] = { name = "x", height = math.huge }, ["an unknown word"] = { name = "x", kind = "c" },
    ["a list with names"] = { name = "x", tags = { a = "b" } },
    ["a list with a hole"] = { name = "x", tags = { [2] = "b" } },
    ["a list of others"] = { name = "x", tags = { "a", 1 } },
    ["a map with numbers for names"] = { name = "x", phases = { 1 } },
    ["a map of others"] = { name = "x", phases = { up = {} } }, ["a table for a text"] = { name = {} },
  }) do
    it("does not let pass " .. what, function() assert.is_string(check(value)) end)
  end

  it("says where and what", function()
    assert.are.equal("phases: up: a number was expected, not the string \"x\"",
      check({ name = "x", phases = { up = "x" } }))
    assert.are.equal("name is missing", check({}))
  end)
end)
