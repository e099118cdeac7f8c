--- What a project's files are, and their hashes: the parts of runner.sync that need no sandbox.

local uv = require("luv")
local async = require("spec.support.async")
local cache = require("runner.files.sync.cache")
local hash = require("runner.core.hash")
local listing = require("runner.files.sync.listing")
local process = require("runner.io.process")
local project = require("spec.support.project")
local tree = require("spec.support.tree")

local has_git = os.execute("git --version >/dev/null 2>&1") == true

local function it_git(name, fn)
  if has_git then return it(name, async(fn)) end
  pending(name .. " (git is not installed)")
end

local function git(dir, ...)
  local result = process.run({ "git", "-C", dir, "-c", "user.name=spec", "-c", "user.email=spec@localhost",
    "-c", "protocol.file.allow=always", ... })
  assert(result.code == 0, result.stderr)
end

local function names(dir, options)
  local found = listing.project(dir, options)
  table.sort(found.paths)
  return found.paths, found.complaint
end

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

--- A test whose cache is new.
local function with(fn)
  return async(function()
    local home = project.new({})
    local before = os.getenv("XDG_CACHE_HOME")
    uv.os_setenv("XDG_CACHE_HOME", home)
    local ok, err = pcall(fn, home)
    if before then uv.os_setenv("XDG_CACHE_HOME", before) else uv.os_unsetenv("XDG_CACHE_HOME") end
    if not ok then error(err, 0) end
  end)
end

describe("hash", function()
  it("knows the vectors of FIPS 180", function()
    local vectors = {
      [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq =
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      [("a"):rep(1000000)] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    }
    for text, digest in pairs(vectors) do assert.are.equal(digest, hex(hash.sha256(text))) end
  end)

  it("gives the same for pieces of any size", function()
    for size = 0, 200 do
      local text = ("x"):rep(size)
      local pieces = hash.new()
      for at = 1, size, 7 do pieces:add(text:sub(at, at + 6)) end
      assert.are.equal(hash.sha256(text), pieces:digest())
    end
  end)

  it("reads a file in steps", function()
    local dir = project.new({ big = ("y"):rep(300000) })
    local file, steps = hash.file(dir .. "/big"), 0
    local digest, size
    repeat
      digest, size = file:step(65536)
      steps = steps + 1
    until digest
    assert.are.equal(hash.sha256(("y"):rep(300000)), digest)
    assert.are.equal(300000, size)
    assert(steps > 3)
    assert.has_error(function() file:step(1) end)
    assert.are.equal("ENOENT", select(3, hash.file(dir .. "/none")))
    assert.are.equal("EISDIR", select(3, hash.file(dir):step(1)))
    project.remove_all()
  end)
end)

describe("listing", function()
  after_each(project.remove_all)

  it_git("is what git sees: tracked and untracked, not what is ignored, nor what is gone", function()
    local dir = project.new({
      ["tracked"] = "1", ["gone"] = "1", ["sub/untracked"] = "2", [".gitignore"] = "ignored\n*.o\n",
      ["ignored/deep/x"] = "3", ["x.o"] = "4", ["new\nline ä"] = "5",
    })
    git(dir, "init", "-q")
    git(dir, "add", "tracked", "gone")
    uv.fs_unlink(dir .. "/gone")
    assert.are.same({ ".gitignore", "new\nline ä", "sub/untracked", "tracked" }, (names(dir)))
    assert.are.same(
      { ".gitignore", "ignored", "ignored/deep", "ignored/deep/x", "new\nline ä", "sub/untracked", "tracked", "x.o" },
      (names(dir, { extra = { "ignored", "x.o", "not there" } })))
  end)

  it_git("keeps empty folders, but not those that hold ignored files only", function()
    local dir = project.new({
      [".gitignore"] = "*.o\n", ["src/x"] = "", ["fresh/x"] = "", ["objects/x.o"] = "", ["fresh/objects/y.o"] = "",
    })
    for _, path in ipairs({ "empty", "src/empty", "fresh/empty", "fresh/empty/er" }) do
      uv.fs_mkdir(dir .. "/" .. path, 493)
    end
    git(dir, "init", "-q")
    git(dir, "add", "src")
    local found = table.concat(names(dir), " ")
    for _, path in ipairs({ "empty", "src/empty", "fresh/empty/er" }) do
      assert(found:find(path, 1, true), path .. " is not among " .. found)
    end
    assert.is_nil(found:find("objects"))
  end)

  it_git("includes submodules and repositories inside", function()
    local inner = project.new({ ["code"] = "1", [".gitignore"] = "junk" })
    git(inner, "init", "-q")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "x")
    local dir = project.new({ top = "" })
    git(dir, "init", "-q")
    git(dir, "submodule", "--quiet", "add", inner, "deps/module")
    git(dir, "clone", "-q", inner, "stranger")
    tree.write(dir .. "/deps/module/junk", "")
    tree.write(dir .. "/deps/module/new", "")
    local found = names(dir)
    local set = {}
    for _, path in ipairs(found) do set[path] = true end
    for _, path in ipairs({ "top", "deps/module/code", "deps/module/new", "stranger/code" }) do
      assert(set[path], path .. " is not among " .. table.concat(found, " "))
    end
    assert.is_nil(set["deps/module/junk"])
    assert.is_nil(table.concat(found, " "):find("%.git/"))
  end)

  it_git("does not care where a hook of git's says that the repository is", function()
    local dir = project.new({ a = "" })
    git(dir, "init", "-q")
    uv.os_setenv("GIT_DIR", "/nowhere")
    local ok, found = pcall(names, dir)
    uv.os_unsetenv("GIT_DIR")
    assert(ok, found)
    assert.are.same({ "a" }, found)
  end)

  it_git("takes everything where git knows none of the files", function()
    local dir = project.new({ [".gitignore"] = "build", ["build/x"] = "" })
    git(dir, "init", "-q")
    local found, complaint = names(dir .. "/build")
    assert.are.same({ "x" }, found)
    assert.matches("none of the files", complaint)
  end)

  it("without git is all but caches, and says why; circles of links are harmless", async(function()
    local dir = project.new({
      ["a"] = "", ["sub/b"] = "", ["__pycache__/c"] = "", ["target/CACHEDIR.TAG"] = "Signature", ["target/d"] = "",
    })
    uv.fs_symlink("..", dir .. "/sub/up")
    uv.fs_symlink("self", dir .. "/self")
    local found, complaint = names(dir)
    assert.are.same({ "a", "self", "sub", "sub/b", "sub/up" }, found)
    assert.is_string(complaint)
  end))
end)

describe("hash cache", function()
  after_each(project.remove_all)

  it("remembers what has not changed, and nothing else", with(function()
    local one = cache.open("/project")
    one:set("a", 1, 2, 3, 4, ("h"):rep(32), 1e9 | 0)
    one:save()
    local two = cache.open("/project")
    assert.are.equal(("h"):rep(32), two:get("a", 1, 2, 3, 4))
    for i = 1, 4 do
      local stamp = { 1, 2, 3, 4 }
      stamp[i] = 9
      assert.is_nil(two:get("a", table.unpack(stamp)))
    end
    assert.is_nil(cache.open("/other"):get("a", 1, 2, 3, 4))
  end))

  it("forgets projects that were not synced for a month", with(function(home)
    local function save(root)
      local one = cache.open(root)
      one:set("a", 1, 2, 3, 4, ("h"):rep(32), 1e9 | 0)
      one:save()
    end
    local folder = home .. "/runner/hashes"
    save("/gone")
    local gone = folder .. "/" .. next(tree.describe(folder))
    uv.fs_utime(gone, os.time() - 40 * 86400, os.time() - 40 * 86400)
    local used = cache.open("/gone")
    assert.is_string(used:get("a", 1, 2, 3, 4))
    used:save() -- unchanged, but used
    save("/other")
    assert.is_truthy(uv.fs_stat(gone))
    uv.fs_utime(gone, os.time() - 40 * 86400, os.time() - 40 * 86400)
    save("/another")
    assert.is_nil(uv.fs_stat(gone))
  end))

  it("does not trust a file that was written a moment before it was read", with(function()
    local one = cache.open("/project")
    one:set("a", 1, 2, 999999990, 4, ("h"):rep(32), 1000000000)
    one:save()
    assert.is_nil(cache.open("/project"):get("a", 1, 2, 999999990, 4))
  end))

  it("is as good as empty when it is damaged", with(function(home)
    local one = cache.open("/project")
    for i = 1, 50 do one:set("file" .. i, i, 2, 3, 4, ("h"):rep(32), 1e9 | 0) end
    one:save()
    local folder = home .. "/runner/hashes"
    local name = next(tree.describe(folder))
    local file = assert(io.open(folder .. "/" .. name, "rb"))
    local bytes = file:read("a")
    file:close()
    local replaced = bytes:gsub("file7", "file8")
    for _, damaged in ipairs({ "", "x", bytes:sub(1, 100), bytes:sub(1, -2), replaced, bytes .. "x" }) do
      tree.write(folder .. "/" .. name, damaged)
      assert.is_nil(cache.open("/project"):get("file8", 8, 2, 3, 4))
    end
    tree.write(folder .. "/" .. name, bytes)
    assert.is_string(cache.open("/project"):get("file8", 8, 2, 3, 4))
  end))
end)
