--- Which modules of ours a user's files may require: those that are promised, without a word; others with one warning
--- that names the line.

local loader = require("runner.plugin.loader")
local project = require("spec.support.project")
local sorted_keys = require("runner.base.sorted_keys").sorted

describe("modules that plug-ins may require", function()
  after_each(project.remove_all)

  local function open(files)
    local warnings, dir = {}, project.new(files)
    local modules = loader.new(dir)
    modules.warn = function(message) warnings[#warnings + 1] = message end
    return modules, warnings, dir
  end

  it("all exist, are loaded under their promised names, and nothing is said", function()
    local modules, warnings = open({})
    for _, name in ipairs(sorted_keys(loader.PUBLIC)) do
      assert.are.equal(require(loader.PUBLIC[name]), modules.require(name), name)
    end
    assert.are.same({}, warnings)
  end)

  it("stand in docs/plugins.md, and no other", function()
    local page = assert(project.read("docs/plugins.md"))
    local section = page:match("## Modules that plug%-ins may require\n(.-)\n## ")
    local listed = {}
    for row in section:gmatch("\n|([^|]+)|[^\n]+") do
      for name in row:gmatch("`(runner[%w._]+)`") do listed[name] = true end
    end
    assert.are.same(sorted_keys(loader.PUBLIC), sorted_keys(listed))
  end)

  it("include what is internal, with one warning for each line", function()
    local modules, warnings, dir = open({
      ["mine.lua"] = "for _ = 1, 3 do\n  require \"runner.base.heap\"\nend\n"
        .. "local e = require(\"runner.base.errors\")\nreturn e\n",
    })
    assert.are.equal(require("runner.base.errors"), modules.require("mine"))
    assert.are.equal(2, #warnings)
    assert.are.equal(dir .. "/mine.lua:2: runner.base.heap is internal to runner and may change without notice",
      warnings[1])
    assert.matches("mine.lua:4: runner.base.errors is internal .*; its promised name is runner.errors$", warnings[2])
  end)

  it("may all be required by files that are just as we ship them", function()
    local ours = "frameworks/rspec/init.lua"
    local source = assert(require("runner.core.host").resource(ours))
    local modules, warnings = open({ [ours] = source })
    modules.require("frameworks.rspec")
    assert.are.same({}, warnings)
    modules, warnings = open({ [ours] = source .. "-- changed\n" })
    modules.require("frameworks.rspec")
    assert.is_true(#warnings > 0)
  end)

  it("are named with their file where Lua has forgotten the line", function()
    local modules, warnings, dir = open({ ["mine.lua"] = 'return require("runner.base.heap")\n' })
    modules.require("mine")
    assert.are.equal(dir .. "/mine.lua: runner.base.heap is internal to runner and may change without notice",
      warnings[1])
  end)

  it("include names of 0.1.0 that are elsewhere now, with a warning", function()
    local modules, warnings = open({})
    local names = sorted_keys(loader.MOVED)
    for _, name in ipairs(names) do
      assert.are.equal(require(loader.MOVED[name]), modules.require(name), name)
    end
    assert.are.equal(#names, #warnings)
  end)
end)
