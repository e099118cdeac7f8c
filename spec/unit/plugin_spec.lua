local uv = require("luv")
local errors = require("runner.base.errors")
local names_in = require("runner.base.files").names
local plugin = require("runner.plugin")
local project = require("spec.support.project")

local function framework(options, fields)
  local spec = { name = "mine", api = 1, options = options, session = function() end }
  for key, value in pairs(fields or {}) do
    spec[key] = value
  end
  return plugin.framework(spec)
end

--- The message of the error of this kind that `fn` raises.
local function raised(kind, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  assert.is_true(errors.is(e, kind), tostring(e))
  return e.message, e
end

describe("plugin", function()
  after_each(project.remove_all)

  it("binds options", function()
    local P = framework({ paths = "string[]?", limit = "duration", size = "bytes?",
      extra = "any?" })
    local bound = P({ paths = { "a", "b" }, limit = "1m", size = "512M" })
    assert.are.equal(P, bound.plugin)
    assert.are.equal("mine", bound.name)
    assert.are.equal("framework", bound.kind)
    assert.are.same({ paths = { "a", "b" }, limit = 60, size = 512 * 2 ^ 20 }, bound.options)
    assert.is_true(plugin.is_bound(bound, "framework"))
    assert.is_false(plugin.is_bound(bound, "provider"))
    assert.is_true(plugin.is(P, "framework"))
    assert.is_false(plugin.is(bound))
    assert.matches("plugin_spec.lua:%d+$", bound.where)
  end)

  it("binds nothing at all", function()
    assert.are.same({}, framework(nil)().options)
    assert.are.same({}, framework({ a = "string?" })({}).options)
  end)

  it("does not share or change the caller's table", function()
    local given = { paths = { "a" } }
    local bound = framework({ paths = "string[]?" })(given)
    bound.options.paths[1] = "b"
    assert.are.same({ paths = { "a" } }, given)
  end)

  describe("names plug-in, option, what was expected and what it got:", function()
    local cases = {
      { "string", 3, "framework mine: option x: expected a string, got the number 3" },
      { "number", "3", 'option x: expected a finite number, got the string "3"' },
      { "number", 0 / 0, "got NaN" },
      { "number", math.huge, "got the number inf" },
      { "integer", 1.5, "expected a whole number, got the number 1.5" },
      { "boolean", 0, "expected true or false, got the number 0" },
      { "table", true, "expected a table, got true" },
      { "function", {}, "expected a function, got an empty table" },
      { "duration", "soon", 'expected a time like "5m".*got the string "soon"' },
      { "duration", -1, "got the number %-1" },
      { "bytes", "big", 'expected a size like "512M".*got the string "big"' },
      { "bytes", -1, "got the number %-1" },
      { "string[]", { "a", 2 }, "option x%[2%]: expected a string, got the number 2" },
      { "string[]", { [2] = "a" }, "option x%[2%]: expected a plain list" },
      { "string[]", { a = "b" }, "option x%.a: expected a plain list" },
      { "string[]", "a", 'expected a list of strings, got the string "a"' },
      { "map", { A = 1 }, "option x%.A: expected a string" },
      { "map", { "a" }, "option x%[1%]: expected a string for a named key" },
      { "env", { A = true },
        "option x%.A: expected a string %(or false to unset it%), got a boolean" },
      { "env", { ["A=B"] = "c" }, 'option x%["A=B"%]: not a name' },
      { "string|string[]", 5, "expected a string or a list of strings, got the number 5" },
      { '"fast"|"slow"', "quick", 'expected "fast" or "slow", got the string "quick"' },
      { "string", nil, "option x: missing: expected a string" },
    }
    for _, case in ipairs(cases) do
      it(("%s and %s: %s"):format(case[1], type(case[2]), case[3]), function()
        assert.matches(case[3], (raised("plugin", framework({ x = case[1] }), { x = case[2] })))
      end)
    end
  end)

  it("never shows the value of an environment variable", function()
    local message = raised("plugin", framework({ x = "env" }), { x = { KEY = "hunter2${" } })
    assert.matches("option x%.KEY", message)
    assert.not_matches("hunter2", message)
  end)

  it("suggests the nearest option, or lists them", function()
    local P = framework({ markers = "string?", paths = "string[]?" })
    assert.matches('option marker: unknown option; did you mean "markers"%?',
      (raised("plugin", P, { marker = "x" })))
    assert.matches("option zzz: unknown option %(options: markers, paths%)",
      (raised("plugin", P, { zzz = 1 })))
    assert.matches("option %[1%]: unknown option", (raised("plugin", P, { "tests" })))
    assert.matches("it has none", (raised("plugin", framework({}), { x = 1 })))
  end)

  it("lets a plug-in refuse options that are right one by one", function()
    local P = framework({ a = "string?", b = "string?" }, { check = function(options)
      return options.a and options.b and "set either a or b" or nil
    end })
    assert.are.same({ a = "x" }, P({ a = "x" }).options)
    assert.are.equal("framework mine: set either a or b", (raised("plugin", P, { a = "x", b = "y" })))
    assert.matches("option b: expected a string", (raised("plugin", P, { a = "x", b = 3 })))
  end)

  it("refuses options that are no table of options", function()
    local P = framework({})
    assert.matches('expected a table of options, got the string "tests"',
      (raised("plugin", P, "tests")))
    assert.matches("got the framework mine", (raised("plugin", P, P())))
  end)

  it("keeps the problems of a bound value while a configuration loads", function()
    local P = framework({ a = "string", b = "number?" })
    local bound = plugin.deferring(function() return P({ b = "x" }) end)
    assert.are.equal(2, #bound.problems)
    assert.has_error(function() plugin.deferring(error, "boom") end, "boom")
    raised("plugin", P, { b = "x" }) -- no longer deferring
  end)

  describe("refuses a definition", function()
    local function defined(kind, fields)
      local spec = { name = "mine", api = 1, open = function() end, session = function() end }
      for key, value in pairs(fields) do
        spec[key] = value ~= "nothing" and value or nil
      end
      return (raised("plugin", plugin[kind], spec))
    end

    it("for another version of the interface", function()
      assert.matches(
        "framework mine: api: made for version 2 of the plug%-in interface; this runner "
        .. "speaks version 1", defined("framework", { api = 2 }))
      assert.matches("version nil", defined("provider", { api = "nothing" }))
    end)

    it("without a usable name", function()
      assert.matches("name: expected letters", defined("framework", { name = "nothing" }))
      assert.matches("name: expected letters", defined("framework", { name = "../x" }))
      assert.matches("expected a table, got nil", (raised("plugin", plugin.provider, nil)))
    end)

    it("without its functions", function()
      assert.matches("provider mine: it needs a function open",
        defined("provider", { open = "nothing" }))
      assert.matches("needs a function session %(it has sesion%)",
        defined("framework", { session = "nothing", sesion = print }))
      assert.matches("prepare: expected a function, got true",
        defined("provider", { prepare = true }))
    end)

    it("with an option of an unknown type", function()
      assert.matches('options%.a: unknown type "strin"; did you mean "string"%?',
        defined("framework", { options = { a = "strin" } }))
      assert.matches("options%.a: a type is a string",
        defined("framework", { options = { a = 1 } }))
      assert.matches("options%.a: an empty type", defined("framework", { options = { a = "?" } }))
      assert.matches("options: expected a table", defined("framework", { options = "a" }))
    end)
  end)

  describe("load", function()
    local MINE =
      'return require("runner.plugin").%s { name = "mine", api = 1, %s = function() end }'

    it("finds what is built in", function()
      for kind, names in pairs(plugin.builtin) do
        for _, name in ipairs(names) do
          assert.is_true(plugin.is(plugin.load(kind, name, project.new()), kind))
        end
      end
    end)

    it("knows every plug-in that ships", function()
      for kind, names in pairs(plugin.builtin) do
        local found = {}
        local folder = (os.getenv("RUNNER_ROOT") or ".") .. "/" .. kind .. "s/"
        for _, name in ipairs(names_in(folder)) do
          if uv.fs_stat(folder .. name .. "/init.lua") or name:find("%.lua$") then
            found[#found + 1] = (name:gsub("%.lua$", ""))
          end
        end
        table.sort(found)
        assert.are.same(names, found)
      end
    end)

    it("finds a user's, first in .runner, then beside the configuration", function()
      local dir = project.new({
        [".runner/frameworks/mine.lua"] = MINE:format("framework", "session"),
        ["frameworks/mine.lua"] = "error('not this one')",
        ["providers/mine/init.lua"] = MINE:format("provider", "open"),
      })
      assert.are.equal("mine", plugin.load("framework", "mine", dir).name)
      assert.are.equal("mine", plugin.load("provider", "mine", dir).name)
    end)

    it("lets a user's file replace one of ours", function()
      local dir = project.new({ ["providers/local.lua"] = MINE:format("provider", "open") })
      assert.are.equal("mine", plugin.load("provider", "local", dir).name)
    end)

    local bad = {
      ["fails while it loads"] = { "\nlocal x = nil + 1",
        "cannot be loaded.*mine.lua:2: attempt to perform arithmetic" },
      ["is no Lua"] = { "return {", "mine.lua:1: unexpected symbol" },
      ["returns nothing"] = { "",
        "mine.lua: expected it to return plugin.provider { … }, got true" },
      ["returns a plain table"] = { "return { name = 'x' }",
        "expected it to return plugin.provider { … }, got a table" },
      ["is a framework"] = { MINE:format("framework", "session"),
        "expected a provider, got the framework mine" },
      ["is for another version"] = { MINE:gsub("api = 1", "api = 9"):format("provider", "open"),
        "cannot be loaded.*made for version 9" },
      ["raises no string"] = { "error({})", "cannot be loaded.*table" },
      ["requires itself"] = { "return require 'providers.mine'", "requires itself" },
      ["requires what is not there"] = { "return require 'nope'", 'module "nope" not found' },
      ["is compiled"] = { "\27Lua", "attempt to load a binary chunk" },
    }
    for what, case in pairs(bad) do
      it("names the file of a plug-in that " .. what, function()
        local dir = project.new({ ["providers/mine.lua"] = case[1] })
        local _, e = raised("config", plugin.load, "provider", "mine", dir)
        local text = tostring(e)
        assert.matches(dir .. "/providers/mine.lua", text, 1, true)
        assert.matches(case[2], text)
      end)
    end

    it("suggests the nearest name and says where a user's own go", function()
      local message, e = raised("config", plugin.load, "framework", "pytset", "/somewhere")
      assert.are.equal('unknown framework "pytset"; did you mean "pytest"?', message)
      assert.matches("/somewhere/.runner/frameworks/pytset.lua", e.context.hint, 1, true)
    end)

    it("takes no path for a name", function()
      for _, name in ipairs({ "../x", "a/b", "a.b", "", "/etc/passwd", "x\0y" }) do
        assert.matches("is no name for a provider",
          (raised("config", plugin.load, "provider", name, "/")))
      end
    end)
  end)
end)
