local errors = require("runner.base.errors")

describe("errors", function()
  it("keeps kind, message and context", function()
    local e = errors.new("config", "no such key", { file = "runner.lua" })
    assert.are.equal("config", e.kind)
    assert.are.equal("no such key", e.message)
    assert.are.equal("runner.lua", e.context.file)
    assert.is_true(errors.is(e))
    assert.is_true(errors.is(e, "config"))
    assert.is_false(errors.is(e, "usage"))
  end)

  it("raises the object itself", function()
    local ok, e = pcall(errors.raise, "usage", "what?")
    assert.is_false(ok)
    assert.is_true(errors.is(e, "usage"))
  end)

  it("refuses a kind that is not on the list", function()
    assert.has_error(function() errors.new("oops", "x") end, 'unknown error kind "oops"')
  end)

  it("is one line as a string, causes included", function()
    local cause = errors.new("spawn", "execve /x:\n  no such file")
    local e = errors.new("provider", "no sandbox", { cause = cause })
    assert.are.equal("no sandbox: execve /x:; no such file", tostring(e))
    e = errors.new("provider", "no sandbox", { cause = "text" })
    assert.are.equal("no sandbox: text", tostring(e))
  end)

  it("survives a cause that is the error itself", function()
    local e = errors.new("internal", "loop")
    e.cause = e
    assert.are.equal("loop", tostring(e))
  end)

  it("describes everything a person needs", function()
    local e = errors.new("config", "bad\n  worse", { hint = "mend it", cause = "the moon" })
    assert.are.equal("bad\n  worse\n  because: the moon\n  hint: mend it", errors.describe(e))
  end)

  it("turns strings into objects with a traceback, and leaves objects alone", function()
    local e = errors.coerce("boom", "parse")
    assert.is_true(errors.is(e, "parse"))
    assert.are.equal("boom", e.message)
    assert.matches("errors_spec", e.traceback)
    assert.are.equal(e, errors.coerce(e, "usage"))
    assert.are.equal("internal", errors.coerce("boom").kind)
  end)

  it("copes with whatever Lua lets people raise", function()
    assert.matches("^table: ", errors.coerce({}).message)
    assert.are.equal("false", errors.coerce(false).message)
    assert.are.equal("error without a message", errors.coerce(nil).message)
  end)

  it("is no error object just because it has a kind", function()
    assert.is_false(errors.is({ kind = "config", message = "x" }))
    assert.is_false(errors.is("config"))
    assert.is_false(errors.is(nil))
  end)
end)

describe("a mistake in a file of the user's", function()
  local errors = require("runner.base.errors")

  --- What `source` raises when it is called as a function of the user's file with this name.
  local function raised_in(name, source, ...)
    errors.add_user_file("@" .. name)
    local _, err = errors.pcall(assert(load(source, "@" .. name)), ...)
    return err
  end

  it("is told as one there, with its place", function()
    local err = raised_in("/home/me/project/.runner/providers/scratch.lua", "\nlocal x = nil\nreturn x.y")
    assert.are.equal("plugin", err.kind)
    assert.matches("^/home/me/project/%.runner/providers/scratch%.lua:3: attempt to index a nil value", err.message)
    assert.are.equal("/home/me/project/.runner/providers/scratch.lua:3", err.context.mistake_at)
  end)

  it("is found when what it called raised, and by a long name", function()
    local long = "/" .. ("long/"):rep(30) .. "mine.lua"
    local err = raised_in(long, "local quote = ...\nlocal a = quote(3)\nreturn a", function() error("not so", 1) end)
    assert.are.equal(long .. ":2", err.context.mistake_at)
    assert.matches("not so$", err.message)
    assert.are.equal("plugin", err.kind)
  end)

  it("is not made of errors that were raised on purpose, nor of ours", function()
    local err = raised_in("mine.lua", "(...)()", function() errors.raise("provider", "no host") end)
    assert.are.equal("provider", err.kind)
    _, err = errors.pcall(error, "ours")
    assert.are.same({ "internal", "ours" }, { err.kind, err.message })
    assert.is_nil(err.context.mistake_at)
  end)

  it("is known by the traceback that came along", function()
    errors.add_user_file("@hooks.lua")
    local err = errors.coerce("hooks.lua:7: boom\nstack traceback:\n\thooks.lua:7: in function <hooks.lua:6>")
    assert.are.same({ "plugin", "hooks.lua:7: boom" }, { err.kind, err.message })
    assert.matches("^stack traceback", err.traceback)
  end)
end)
