--- The discovery cache: it may only ever answer what discovery itself would.

local uv = require("luv")
local async = require("spec.support.async")
local list_cache = require("runner.worker.list_cache")
local files = require("runner.base.files")
local project = require("spec.support.project")

local function write(path, text)
  local out <close> = assert(io.open(path, "wb"))
  out:write(text)
end

local function entry_files()
  local folder = os.getenv("XDG_CACHE_HOME") .. "/runner/discovery/"
  local paths = files.names(folder)
  for i, name in ipairs(paths) do paths[i] = folder .. name end
  return paths
end

--- A test with a cache folder of its own, and a "discovery" that lists the lines of all test files.
local function with(fn)
  return async(function()
    local home, root = project.new({}), project.new({ ["test_a"] = "one\n", ["test_b"] = "two\n" })
    local before = os.getenv("XDG_CACHE_HOME")
    uv.os_setenv("XDG_CACHE_HOME", home)
    local ctx = {
      sandbox = { cwd = root, env = { RUNNER_RUN_ID = "1" }, is_host = true },
      settings = { working_dir = root, report = { dir = root .. "/test-results" } },
    }
    local asked = 0
    local function discover(more)
      local key = { name = "spec", key = { markers = "x" }, project = true }
      for name, value in pairs(more or {}) do key[name] = value end
      return list_cache.get(ctx, key, function()
        asked = asked + 1
        local found = {}
        local scan = uv.fs_scandir(root)
        for name in function() return scan and uv.fs_scandir_next(scan) end do
          if name:find("^test_") then
            for line in io.lines(root .. "/" .. name) do found[#found + 1] = name .. ":" .. line end
          end
        end
        table.sort(found)
        return found
      end)
    end
    local ok, err = pcall(fn, discover, ctx, root, function() return asked end)
    if before then uv.os_setenv("XDG_CACHE_HOME", before) else uv.os_unsetenv("XDG_CACHE_HOME") end
    if not ok then error(err, 0) end
  end)
end

describe("the discovery cache", function()
  it("answers without asking while nothing changed", with(function(discover, ctx, _, asked)
    assert.are.same({ "test_a:one", "test_b:two" }, discover())
    ctx.sandbox.env.RUNNER_RUN_ID = "2"
    assert.are.same({ "test_a:one", "test_b:two" }, discover())
    assert.are.equal(1, asked())
  end))

  it("sees a test that was added, renamed, deleted, and a file that was", with(function(discover, _, root)
    discover()
    write(root .. "/test_a", "one\nnew\n")
    assert.are.same({ "test_a:new", "test_a:one", "test_b:two" }, discover())
    write(root .. "/test_a", "own\nnew\n") -- as long as before
    assert.are.same({ "test_a:new", "test_a:own", "test_b:two" }, discover())
    write(root .. "/test_c", "three\n")
    assert.are.same({ "test_a:new", "test_a:own", "test_b:two", "test_c:three" }, discover())
    assert(uv.fs_rename(root .. "/test_c", root .. "/test_d"))
    assert.are.same({ "test_a:new", "test_a:own", "test_b:two", "test_d:three" }, discover())
    assert(uv.fs_unlink(root .. "/test_a"))
    assert.are.same({ "test_b:two", "test_d:three" }, discover())
  end))

  it("sees what git ignores and what lies behind links, but not results, history and what is installed",
    with(function(discover, ctx, root, asked)
      local outside = project.new({ ["deep/list"] = "1" })
      ctx.settings.history = { path = root .. "/h.jsonl" }
      project.write(root, {
        [".gitignore"] = "test_gen*\nnode_modules\nout\n", ["node_modules/a/index.js"] = "", ["out/built"] = "1",
        ["test-results/events.ndjson"] = "", ["h.jsonl"] = "",
      })
      assert(uv.fs_symlink(outside, root .. "/link"))
      assert.are.equal(0, require("runner.io.process").run({ "git", "init", "-q", root }).code)
      discover()
      project.write(root, { ["node_modules/a/more.js"] = "", ["test-results/events.ndjson"] = "1", ["h.jsonl"] = "1" })
      discover()
      assert.are.equal(1, asked())
      write(root .. "/test_gen", "new\n")
      assert.are.same({ "test_a:one", "test_b:two", "test_gen:new" }, discover())
      write(root .. "/test_gen", "own\n")
      assert.are.same({ "test_a:one", "test_b:two", "test_gen:own" }, discover())
      write(root .. "/out/built", "2")
      discover()
      assert.are.equal(4, asked())
      write(outside .. "/deep/list", "2")
      discover()
      assert.are.equal(5, asked())
    end))

  it("is keyed by options, environment and named files", with(function(discover, ctx, root, asked)
    discover()
    discover({ key = { markers = "y" } })
    assert.are.equal(2, asked())
    ctx.sandbox.env.MODE = "other"
    discover({ key = { markers = "y" } })
    assert.are.equal(3, asked())
    local binary = project.new({ binary = "1" }) .. "/binary"
    local named = { project = false, files = { binary, "test_a", "missing" } }
    discover(named)
    discover(named)
    assert.are.equal(4, asked())
    write(root .. "/missing", "")
    discover(named)
    assert.are.equal(5, asked())
    write(binary, "22")
    discover(named)
    assert.are.equal(6, asked())
  end))

  it("sees the environment of runner itself, but not what is only of a terminal", with(function(discover, _, _, asked)
    local saved = {}
    local function set(name, value)
      saved[name] = saved[name] or os.getenv(name) or false
      uv.os_setenv(name, value)
    end
    discover()
    set("RUNNER_SPEC_CASES", "1") -- ours
    set("SHLVL", "99")
    discover()
    assert.are.equal(1, asked())
    set("SPEC_CASES", "3")
    discover()
    for name, value in pairs(saved) do
      if value then uv.os_setenv(name, value) else uv.os_unsetenv(name) end
    end
    assert.are.equal(2, asked())
  end))

  it("sees what lies beside the project in its repository", with(function(discover, ctx, root, asked)
    project.write(root, { ["package/test_p"] = "1\n", ["shared/cases"] = "1\n", [".gitignore"] = "built\n" })
    assert.are.equal(0, require("runner.io.process").run({ "git", "init", "-q", root }).code)
    ctx.sandbox.cwd, ctx.settings.working_dir = root .. "/package", root .. "/package"
    ctx.settings.report.dir = root .. "/package/test-results"
    discover()
    project.write(root, { ["package/test-results/events.ndjson"] = "1" })
    discover()
    assert.are.equal(1, asked())
    write(root .. "/shared/cases", "1\n2\n")
    discover()
    assert.are.equal(2, asked())
    project.write(root, { ["shared/more"] = "" })
    discover()
    assert.are.equal(3, asked())
    project.write(root, { ["built/cases"] = "" })
    discover()
    assert.are.equal(4, asked())
    discover()
    assert.are.equal(4, asked())
  end))

  it("asks again when what discovery has read elsewhere changed, and when it is told to", with(function(_, ctx)
    local folder, asked = project.new({ list = "one" }), 0
    local function get()
      return list_cache.get(ctx, { name = "spec", key = {}, project = true }, function()
        asked = asked + 1
        return { project.read(folder .. "/list") }, { folder .. "/list", folder .. "/missing" }
      end)
    end
    assert.are.same({ "one" }, get())
    assert.are.same({ "one" }, get())
    assert.are.equal(1, asked)
    write(folder .. "/list", "new")
    assert.are.same({ "new" }, get())
    write(folder .. "/missing", "")
    get()
    get()
    assert.are.equal(3, asked)
    list_cache.forget(ctx, "spec")
    get()
    assert.are.equal(4, asked)
  end))

  it("is off with --no-cache, in sandboxes elsewhere, in private copies", with(function(discover, ctx, _, asked)
    ctx.settings.history = false
    discover()
    ctx.settings.no_cache = true
    discover()
    ctx.settings.no_cache = nil
    discover()
    assert.are.equal(2, asked())
    ctx.sandbox.is_host = false
    discover()
    ctx.sandbox.is_host = true
    ctx.settings.working_dir = "/elsewhere"
    discover()
    assert.are.equal(4, asked())
  end))

  it("takes a damaged entry for none", with(function(discover, _, _, asked)
    discover()
    write(entry_files()[1], '{"digest":')
    assert.are.same({ "test_a:one", "test_b:two" }, discover())
    assert.are.equal(2, asked())
  end))

  it("forgets what was not asked for in a month", with(function(discover, _, _, asked)
    local month_ago = os.time() - 31 * 24 * 3600
    discover({ name = "old" })
    uv.fs_utime(entry_files()[1], month_ago, month_ago)
    discover({ name = "old" }) -- it is used
    discover({ name = "spec" })
    assert.are.equal(2, #entry_files())
    for _, path in ipairs(entry_files()) do uv.fs_utime(path, month_ago, month_ago) end
    discover({ name = "new" })
    assert.are.equal(1, #entry_files())
    assert.are.equal(3, asked())
  end))
end)
