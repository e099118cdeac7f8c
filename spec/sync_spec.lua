--- The project's files in a sandbox: what belongs to it, what is sent, what is there afterwards. The agent is real;
--- spec/agent/sync_spec.lua speaks to it frame by frame.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local cache = require("runner.sync.cache")
local command_line = require("spec.support.command_line")
local errors = require("runner.errors")
local event_log = require("runner.event_log")
local hash = require("runner.core.hash")
local listing = require("runner.sync.listing")
local manifest = require("runner.sync.manifest")
local process = require("runner.process")
local project = require("spec.support.project")
local push = require("runner.sync.push")
local system = require("runner.core.system")
local task = require("runner.task")
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

local function build(dir)
  return manifest.build({ { root = dir, paths = listing.everything(dir).paths } })
end

--- A test with an agent whose home, and a host whose cache, are new.
local function with(fn)
  return async(function()
    local home = project.new({})
    local agent, stream = agents.open({ env = { "HOME=" .. home } })
    local before = os.getenv("XDG_CACHE_HOME")
    uv.os_setenv("XDG_CACHE_HOME", home .. "/host")
    local ok, err = pcall(fn, agent, home)
    if before then uv.os_setenv("XDG_CACHE_HOME", before) else uv.os_unsetenv("XDG_CACHE_HOME") end
    task.await(function(resume) agent:close(resume) end)
    stream.exited:wait()
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

  it("does not trust a file that was written a moment before it was read", with(function()
    local one = cache.open("/project")
    one:set("a", 1, 2, 999999990, 4, ("h"):rep(32), 1000000000)
    one:save()
    assert.is_nil(cache.open("/project"):get("a", 1, 2, 999999990, 4))
  end))

  it("is as good as empty when it is damaged", with(function(_, home)
    local one = cache.open("/project")
    for i = 1, 50 do one:set("file" .. i, i, 2, 3, 4, ("h"):rep(32), 1e9 | 0) end
    one:save()
    local folder = home .. "/host/runner/hashes"
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

describe("sync", function()
  after_each(project.remove_all)

  it("keeps random trees in step", with(function(agent)
    local seed = tonumber(os.getenv("RUNNER_SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local dir = project.new({})
    for round = 1, 25 do
      for _ = 1, math.random(12) do tree.change(dir, math.random) end
      local pushed = push(agent, { manifest = build(dir), key = "random" })
      assert.are.same(tree.describe(dir), tree.describe(pushed.folder), ("seed %d, round %d"):format(seed, round))
      local again = push(agent, { manifest = build(dir), key = "random" })
      assert.are.equal(0, again.sent_files, ("seed %d, round %d"):format(seed, round))
    end
  end))

  it("keeps them in step whatever tests do there", with(function(agent)
    local seed = tonumber(os.getenv("RUNNER_SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local dir = project.new({})
    for round = 1, 25 do
      for _ = 1, math.random(12) do tree.change(dir, math.random) end
      local folder = push(agent, { manifest = build(dir), key = "random" }).folder
      local here, there = tree.describe(dir), tree.describe(folder)
      for path, what in pairs(here) do
        assert.are.equal(what, there[path], ("seed %d, round %d: %q"):format(seed, round, path))
      end
      for _ = 1, math.random(3) do tree.change(folder, math.random) end
    end
  end))

  it("sends what changed and removes what is gone, but only what it had brought", with(function(agent)
    local dir = project.new({ ["a"] = "1", ["b/c"] = "22", ["b/d"] = "333", ["gone/e"] = "4444" })
    local first = push(agent, { manifest = build(dir), key = "k" })
    assert.are.equal(4, first.sent_files)
    assert.are.equal(10, first.sent_bytes)
    tree.write(first.folder .. "/gone/kept", "a test's")
    tree.write(first.folder .. "/mine", "a test's")
    tree.remove(dir .. "/gone")
    tree.write(dir .. "/b/c", "55555")
    uv.fs_chmod(dir .. "/a", 493)
    local second = push(agent, { manifest = build(dir), key = "k" })
    assert.are.equal(first.folder, second.folder)
    assert.are.same({ 1, 5 }, { second.sent_files, second.sent_bytes })
    assert.are.same({
      a = "file 755 1", b = "folder 755", ["b/c"] = "file 644 55555", ["b/d"] = "file 644 333",
      gone = "folder 755", ["gone/kept"] = "file 644 a test's", mine = "file 644 a test's",
    }, tree.describe(second.folder))
  end))

  it("mends what tests have done to the project's files", with(function(agent)
    local dir = project.new({ ["a"] = "1", ["b"] = "22", ["c/d"] = "333" })
    local first = push(agent, { manifest = build(dir), key = "k" })
    tree.write(first.folder .. "/a", "2") -- the same size
    uv.fs_unlink(first.folder .. "/b")
    tree.remove(first.folder .. "/c")
    tree.write(first.folder .. "/c", "a file where a folder was")
    local second = push(agent, { manifest = build(dir), key = "k" })
    assert.are.equal(3, second.sent_files)
    assert.are.same(tree.describe(dir), tree.describe(second.folder))
  end))

  it("takes contents from another folder of the host instead of the wire", with(function(agent, home)
    local dir = project.new({ ["a"] = ("x"):rep(100000), ["b/c"] = "22" })
    push(agent, { manifest = build(dir), key = "k" })
    local other, stream = agents.open({ env = { "HOME=" .. home } })
    local pushed = push(other, { manifest = build(dir), key = "k" })
    assert.are.equal(0, pushed.sent_bytes)
    assert.are.same(tree.describe(dir), tree.describe(pushed.folder))
    tree.write(pushed.folder .. "/a", "changed here") -- and only here
    assert.are.equal("x", agents.read(home .. "/.cache/runner/work/k/0/tree/a"):sub(1, 1))
    task.await(function(resume) other:close(resume) end)
    stream.exited:wait()
  end))

  it("brings files into a folder that was named, and leaves strangers in it alone", with(function(agent)
    local dir = project.new({ ["a"] = "1", ["b/c"] = "22" })
    local into = project.new({ ["a"] = "old", ["b/theirs"] = "x", ["theirs"] = "y" })
    push(agent, { manifest = build(dir), key = "k", into = into })
    tree.remove(dir .. "/b")
    local pushed = push(agent, { manifest = build(dir), key = "k", into = into })
    assert.are.equal(into, pushed.folder)
    assert.are.same({ a = "file 644 1", b = "folder 755", ["b/theirs"] = "file 644 x", theirs = "file 644 y" },
      tree.describe(into))
  end))

  it("streams a file that is larger than any memory of it", with(function(agent)
    local dir, size = project.new({}), 200 * 1024 * 1024
    local fd = assert(uv.fs_open(dir .. "/big", "w", 420))
    uv.fs_ftruncate(fd, size)
    uv.fs_write(fd, "end", size - 3)
    uv.fs_close(fd)
    collectgarbage()
    local before = collectgarbage("count")
    local pushed = push(agent, { manifest = build(dir), key = "big" })
    assert.are.equal(size, pushed.sent_bytes)
    assert.are.equal(size, uv.fs_stat(pushed.folder .. "/big").size)
    assert(collectgarbage("count") - before < 32 * 1024, "the host held it all")
  end))

  it("says that a file changed while it was sent", with(function(agent)
    local dir = project.new({ a = "12345" })
    local made = build(dir)
    tree.write(dir .. "/a", "54321")
    local ok, err = pcall(push, agent, { manifest = made, key = "k" })
    assert.is_false(ok)
    assert.is_true(errors.is(err, "provider") and err.context.changed)
    tree.write(dir .. "/a", "1")
    ok, err = pcall(push, agent, { manifest = made, key = "k" })
    assert.is_false(ok)
    assert.is_true(err.context.changed)
    assert.are.equal(1, push(agent, { manifest = build(dir), key = "k" }).sent_files)
  end))

  it("leaves sockets and FIFOs where they are", with(function(agent)
    local dir = project.new({ a = "1" })
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    assert.are.same({ a = "file 644 1" }, tree.describe(push(agent, { manifest = build(dir), key = "k" }).folder))
  end))

  it("names what could not be written", with(function(agent)
    local dir = project.new({ ["a/b"] = "1" })
    local into = project.new({ a = "a file" })
    local ok, err = pcall(push, agent, { manifest = build(dir), key = "k", into = into })
    assert.is_false(ok)
    assert.matches("^a: File exists$", tostring(err))
  end))

  it("finds five thousand files unchanged in no time, and one that is not", with(function(agent)
    local dir = project.new({})
    for i = 0, 49 do
      uv.fs_mkdir(("%s/folder%d"):format(dir, i), 493)
      for k = 1, 100 do tree.write(("%s/folder%d/file%d"):format(dir, i, k), ("contents %d %d"):format(i, k)) end
    end
    push(agent, { manifest = build(dir), key = "k" })
    task.sleep(0.06) -- what was written this moment is not trusted
    push(agent, { manifest = build(dir), key = "k" })
    local best = math.huge
    for _ = 1, 3 do
      local started = uv.hrtime()
      local pushed = push(agent, { manifest = build(dir), key = "k" })
      best = math.min(best, (uv.hrtime() - started) / 1e9)
      assert.are.equal(0, pushed.sent_bytes)
    end
    assert(best <= 0.3, ("%.3f s"):format(best))
    tree.write(dir .. "/folder7/file7", "edited")
    local pushed = push(agent, { manifest = build(dir), key = "k" })
    assert.are.same({ 1, 6 }, { pushed.sent_files, pushed.sent_bytes })
  end))
end)

describe("a run with sync", function()
  after_each(project.remove_all)

  local function run(dir, home, ...)
    uv.os_setenv("XDG_CACHE_HOME", home)
    local ok, result = pcall(command_line, dir, "run", ...)
    uv.os_unsetenv("XDG_CACHE_HOME")
    assert(ok, result)
    local events = {}
    local next_event = event_log.read(dir .. "/test-results/events.ndjson")
    for event in next_event or function() end do events[#events + 1] = event end
    return result, events
  end

  local function only(events, name)
    local found = {}
    for _, event in ipairs(events) do
      if event.event == name then found[#found + 1] = event end
    end
    return found
  end

  local CONFIG = [[
    local command = require "frameworks.command"
    return { provider = %s, %s, framework = command {
      discover_command = "echo one", run_command = "pwd && %s" } }]]

  it("runs in a folder of ours, after init_command, with copies; a second run sends nothing", async(function()
    local home = project.new({})
    local dir = project.new({
      ["code"] = "1", ["data/x"] = "2",
      ["runner.lua"] = CONFIG:format('"local"',
        'sync = true, copy_dirs = { "data:deep/copy" }, init_command = "cat code > initialised"',
        "test -f code && test -f deep/copy/x && test -f initialised && test ! -e test-results"),
    })
    local result, events = run(dir, home, "-v")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    local sync = only(events, "sync")[1]
    assert.are.same({ 4, 4 }, { sync.files, sync.sent_files })
    assert.matches(sync.folder, result.stdout, 1, true)
    assert.matches("SYNC", result.stdout)
    result, events = run(dir, home)
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal(0, only(events, "sync")[1].sent_files)
    assert.is_nil(result.stdout:find("SYNC"))
    assert.is_nil(uv.fs_stat(dir .. "/initialised"))
  end))

  it("runs in private copies that are gone afterwards", async(function()
    local home = project.new({})
    local dir = project.new({
      ["code"] = "1", ["sub/x"] = "2", ["data/x"] = "3",
      ["runner.lua"] = CONFIG:format('require("providers.local") { copy = true }', 'copy_dirs = { "data:copied" }',
        "echo changed > code && test -L link && test -x program && test -f sub/x && test -f copied/x"),
    })
    uv.fs_symlink("code", dir .. "/link")
    tree.write(dir .. "/program", "", 493)
    local result, events = run(dir, home, "-v")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal("1", agents.read(dir .. "/code"))
    local folder = result.stdout:match("(/%S*/runner%-work%-%w+)")
    assert.is_string(folder)
    assert.is_nil(system.lstat(folder))
    assert.are.same({}, only(events, "sync"))
  end))

  it("says what init_command said when it fails", async(function()
    local home = project.new({})
    local dir = project.new({
      ["runner.lua"] = CONFIG:format('"local"', 'init_command = "echo it broke; exit 3"', "true"),
    })
    local result = run(dir, home)
    assert.are.equal(3, result.code)
    assert.matches("init_command failed with status 3: it broke", result.stdout .. result.stderr)
  end))

  it("runs in the same subfolder as here", async(function()
    local home = project.new({})
    local dir = project.new({
      ["sub/x"] = "", ["top"] = "",
      ["runner.lua"] = CONFIG:format('"local"', 'sync = true, working_dir = "sub"', "test -f x && test -f ../top"),
    })
    local result = run(dir, home)
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
  end))
end)
