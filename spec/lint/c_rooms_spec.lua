-- The lint of the rooms of src, on small trees.

local project = require("spec.support.project")

describe("the lint of the rooms of src", function()
  local dir

  after_each(function() project.remove(dir) end)

  local function lint(files)
    dir = project.new(files)
    local pipe = assert(io.popen(("lua5.4 spec/lint/c_rooms.lua '%s'"):format(dir)))
    local text = pipe:read("a")
    return pipe:close() == true, text
  end

  it("takes an include of a room below, and of a file of the same room", function()
    assert.are.same({ true, "" }, { lint({
      ["common/a.h"] = "",
      ["bindings/b.h"] = '#include "common/a.h"\n',
      ["bindings/b.c"] = '#include "b.h"\n#include <stdio.h>\n',
    }) })
  end)

  it("names both ends of an include of a room above", function()
    local ok, text = lint({ ["common/a.c"] = '\n#include "host/b.h"\n', ["host/b.h"] = "" })
    assert.is_false(ok)
    assert.matches("common/a.c:2: common must not include host/b.h of host", text, 1, true)
  end)

  it("names each file of a circle", function()
    local ok, text = lint({
      ["common/a.h"] = '#include "b.h"\n',
      ["common/b.h"] = "",
      ["common/b.c"] = '#include "a.h"\n',
    })
    assert.is_false(ok)
    assert.matches("common/a: includes it in line 1 common/b", text, 1, true)
    assert.matches("common/b: includes it in line 1 common/a", text, 1, true)
  end)

  it("asks for what a new room may use", function()
    local ok, text = lint({ ["attic/a.c"] = "" })
    assert.is_false(ok)
    assert.matches("the room attic is not in spec/lint/c_rooms.lua", text, 1, true)
  end)
end)
