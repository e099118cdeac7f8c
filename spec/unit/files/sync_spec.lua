--- The project's files in a sandbox: what belongs to it, what is sent, what is there afterwards. The agent is real;
--- spec/agent/sync_spec.lua speaks to it frame by frame, and
--- spec/unit/files/sync/listing_spec.lua is about what belongs to a project.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local command_line = require("spec.support.command_line")
local errors = require("runner.base.errors")
local event_log = require("runner.results.event_log")
local listing = require("runner.files.sync.listing")
local manifest = require("runner.files.sync.manifest")
local project = require("spec.support.project")
local push = require("runner.files.sync.push")
local system = require("runner.core.system")
local task = require("runner.base.task")
local tree = require("spec.support.tree")

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
    assert.are.equal("x", agents.read(home .. "/.cache/runner/trees/k/0/tree/a"):sub(1, 1))
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
    local dir, size = project.new({}), 64 * 1024 * 1024
    local fd = assert(uv.fs_open(dir .. "/big", "w", 420))
    uv.fs_ftruncate(fd, size)
    uv.fs_write(fd, "end", size - 3)
    uv.fs_close(fd)
    collectgarbage()
    local before = collectgarbage("count")
    local pushed = push(agent, { manifest = build(dir), key = "big" })
    assert.are.equal(size, pushed.sent_bytes)
    assert.are.equal(size, uv.fs_stat(pushed.folder .. "/big").size)
    assert(collectgarbage("count") - before < 16 * 1024, "the host held it all")
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
    assert.are.equal(into .. "/a: File exists", tostring(err))
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
        'sync = true, copy_dirs = { "data:deep/copy", "data:/rooted" }, init_command = "cat code > initialised"',
        "test -f code && test -f deep/copy/x && test -f rooted/x && test -f initialised && test ! -e test-results"),
    })
    local result, events = run(dir, home, "-v")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    local sync = only(events, "sync")[1]
    assert.are.same({ 5, 5 }, { sync.files, sync.sent_files })
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
    assert.matches("init_command exited with status 3: it broke", result.stdout .. result.stderr)
  end))

  -- A place that does not see the project; its agent is the static one, which is brought there.
  local ELSEWHERE = [[
    local plugin, process = require "runner.plugin", require "runner.process"
    return plugin.provider { name = "elsewhere", api = 1, options = { cwd = "string?" },
      open = function(options)
        return { cwd = options.cwd, connect = function(argv) return process.stream(argv, { cwd = "/" }) end }
      end }]]

  it("brings the files by itself to a place that does not see them", async(function()
    local home, named, rooted = project.new({}), project.new({ theirs = "1" }), project.new({})
    for _, cwd in ipairs({ "nil", ("%q"):format(named) }) do
      local dir = project.new({
        ["code"] = "1", ["data/x"] = "2", [".runner/providers/elsewhere.lua"] = ELSEWHERE,
        ["runner.lua"] = CONFIG:format(('require("providers.elsewhere") { cwd = %s }'):format(cwd),
          ('max_parallel = 1, copy_dirs = { "data:copied", "data:%s/deep" }'):format(rooted),
          "test -f code && test -f copied/x"),
      })
      local result, events = run(dir, home)
      assert.are.equal(0, result.code, result.stdout .. result.stderr)
      assert.are.equal(2, #only(events, "sync"))
      assert.are.equal("file 644 2", tree.describe(rooted)["deep/x"])
    end
    assert.are.equal("file 644 1", tree.describe(named).theirs)
    assert.are.equal("file 644 2", tree.describe(named)["copied/x"])
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
