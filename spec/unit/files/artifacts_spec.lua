--- Artifacts: files that tests leave behind, found by the agent and fetched into the results folder.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local output_log = require("runner.results.output_log")
local command_line = require("spec.support.command_line")
local download = require("runner.files.artifacts")
local event_log = require("runner.results.event_log")
local frame = require("runner.agent.frame")
local project = require("spec.support.project")
local task = require("runner.base.task")
local tree = require("spec.support.tree")

local function list(agent, folder, globs, newer_us, older_us)
  local found = {}
  local err, value = task.await(function(resume)
    agent:request("list", { folder = folder, globs = globs, newer_us = newer_us, older_us = older_us }, {
      found = function(f)
        local at = 1
        while at <= #f.bytes do
          local _, path
          _, _, _, path, at = string.unpack("<I8I8I8s4", f.bytes, at)
          found[#found + 1] = path
        end
      end,
      done = function(...) resume(...) end,
    })
  end)
  table.sort(found)
  return found, err, value
end

local function get(agent, folder, path, most)
  local parts = {}
  local err, _, errno = task.await(function(resume)
    agent:request("get", { folder = folder, path = path, most = most or 1 << 30 }, {
      data = function(f, _) parts[#parts + 1] = f.bytes end,
      done = function(...) resume(...) end,
    })
  end)
  return table.concat(parts), err, errno
end

describe("agent list", function()
  after_each(project.remove_all)

  local files = {
    "top.log", "x.txt", "[", "a/b.log", "a/b/c.log", "a/b/c/d.log", "out/1/shot.png", "out/2/shot.png",
    "out/2/shot.jpg", ".hidden/e.log", ".git/f.log", "new\nline.log",
  }
  local cases = {
    [{ "*.log" }] = { "new\nline.log", "top.log" },
    [{ "**/*.log" }] = { ".hidden/e.log", "a/b.log", "a/b/c.log", "a/b/c/d.log", "new\nline.log", "top.log" },
    [{ "a/**" }] = { "a/b.log", "a/b/c.log", "a/b/c/d.log" },
    [{ "a/*/*.log" }] = { "a/b/c.log" },
    [{ "a/**/d.log" }] = { "a/b/c/d.log" },
    [{ "**/b/**/*.log" }] = { "a/b/c.log", "a/b/c/d.log" },
    [{ "out/*/shot.[jp]*g" }] = { "out/1/shot.png", "out/2/shot.jpg", "out/2/shot.png" },
    [{ "out/[!1]/*.png" }] = { "out/2/shot.png" },
    [{ "out/[2-9]/shot.???" }] = { "out/2/shot.jpg", "out/2/shot.png" },
    [{ "[" }] = { "[" },
    [{ "x.txt", "x.*", "none" }] = { "x.txt" },
    [{ "out" }] = {},
    [{ "**" }] = {
      ".hidden/e.log", "[", "a/b.log", "a/b/c.log", "a/b/c/d.log", "new\nline.log", "out/1/shot.png", "out/2/shot.jpg",
      "out/2/shot.png", "top.log", "x.txt",
    },
    [{ ("*a"):rep(30) }] = {},
    [{}] = {},
  }
  it("matches patterns", agents.with(function(agent)
    local contents = {}
    for _, path in ipairs(files) do contents[path] = "x" end
    local dir = project.new(contents)
    for globs, expected in pairs(cases) do
      assert.are.same(expected, (list(agent, dir, globs)), table.concat(globs, " "))
    end
  end))

  it("follows no link, names plain files only, and knows what is new", agents.with(function(agent)
    local outside = project.new({ secret = "x" })
    local dir = project.new({ old = "x" })
    uv.fs_symlink(outside, dir .. "/way")
    uv.fs_symlink(outside .. "/secret", dir .. "/link")
    uv.fs_symlink(".", dir .. "/circle")
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    assert.are.same({ "old" }, (list(agent, dir, { "**" })))
    uv.fs_utime(dir .. "/old", 1, 1) -- its time can be set back, not its change of it
    assert.are.same({ "old" }, (list(agent, dir, { "**" }, 60 * 1000000)))
    task.sleep(0.02)
    assert.are.same({}, (list(agent, dir, { "**" }, 10000)))
    assert.are.same({ "old" }, (list(agent, dir, { "**" }, 0, 10000)))
    assert.are.same({}, (list(agent, dir, { "**" }, 0, 60 * 1000000)))
    assert.matches("No such file", (select(2, list(agent, dir .. "/none", { "**" }))))
  end))

  it("ends with so many that nobody wants them", agents.with(function(agent)
    local dir = project.new({})
    for i = 1, 10010 do tree.write(dir .. "/" .. i, "") end
    local found, _, value = list(agent, dir, { "*" })
    assert.are.equal(10000, #found)
    assert.are.equal("more", value)
  end))
end)

describe("agent get", function()
  after_each(project.remove_all)

  it("sends a file, and nothing that is not one", agents.with(function(agent)
    local outside = project.new({ secret = "x" })
    local dir = project.new({ a = "contents", empty = "", ["sub/b"] = "y" })
    uv.fs_symlink(outside, dir .. "/way")
    uv.fs_symlink(outside .. "/secret", dir .. "/link")
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    assert.are.equal("contents", (get(agent, dir, "a")))
    assert.are.equal("", (get(agent, dir, "empty")))
    assert.are.equal("y", (get(agent, dir, "sub/b")))
    for path, message in pairs({
      ["way/secret"] = "Not a directory", link = "ymbolic link", fifo = "Invalid", sub = "Invalid", none = "No such",
    }) do
      local bytes, err = get(agent, dir, path)
      assert.are.equal("", bytes)
      assert.matches(message, err)
    end
    assert.are.equal(27, (select(3, get(agent, dir, "a", 7)))) -- EFBIG
  end))

  it("sends no more than it has credit for", agents.with(function(agent)
    local dir = project.new({ big = ("z"):rep(1000000) })
    local got, done = 0, false
    local transfer = agent:request("get", { folder = dir, path = "big", most = 1000000 }, {
      data = function(f) got = got + #f.bytes end,
      done = function() done = true end,
    })
    agents.eventually(function() return got == frame.WINDOW end)
    task.await(function(resume) agent:ping(resume) end)
    assert.are.equal(frame.WINDOW, got)
    transfer:send("credit", { bytes = 1000000 })
    agents.eventually(function() return done end)
    assert.are.equal(1000000, got)
  end))
end)

describe("download", function()
  after_each(project.remove_all)

  --- Downloads of a sandbox whose agent says what the spec wants: found is what it lists, contents what it sends.
  local function hostile(found, contents)
    local dir, warnings = project.new({}), {}
    local agent = {}
    function agent:ping(on_pong) on_pong() end -- luacheck: ignore
    function agent:request(name, _, on) -- luacheck: ignore
      local later = uv.new_timer()
      later:start(0, 0, function()
        later:close()
        if name == "list" and agent.ready then
          local parts = {}
          for i, path in ipairs(found) do parts[i] = ("<I8I8I8s4"):pack(#contents, i, i, path) end
          on.found({ type = "found", bytes = table.concat(parts) })
        elseif name == "get" then
          on.data({ type = "data", bytes = contents .. (agent.extra or "") })
        end
        on.done(nil, "")
      end)
      return { send = function() end }
    end
    local events = {}
    task.scope(function(scope)
      local run = {
        dir = dir, body = scope, downloading = {},
        settings = { download = { globs = { "**" }, on = "always", max = 1000 } },
        bus = { emit = function(_, event) events[#events + 1] = event end },
        log = function(_, format, ...) warnings[#warnings + 1] = format:format(...) end,
      }
      local downloads = download.open({ agent = agent, cwd = "/x", run = run, id = "sandbox" })
      agent.ready = true
      downloads:attempt_finished({ id = "test", attempt = 1, started = uv.hrtime() }, "failed")
      downloads:close()
    end)
    return tree.describe(dir), table.concat(warnings, "\n"), events
  end

  local hostile_paths = {
    "../evil", "/evil", "a/../../evil", "a//evil", "./evil", "", "a/", "..", "a\0b", ("x"):rep(300),
  }
  for _, path in ipairs(hostile_paths) do
    it(("refuses a file named %q"):format(path:sub(1, 20)), async(function()
      local made, warnings, events = hostile({ "good", path }, "x")
      assert.are.same({}, made)
      assert.matches("leads out of its folder", warnings)
      assert.are.same({}, events)
    end))
  end

  it("survives a file that is also a folder", async(function()
    local made, warnings, events = hostile({ "a", "a/b", "c" }, "x")
    assert.are.equal(2, #events)
    assert.matches("was not fetched", warnings)
    local slug = output_log.slug("test", 1)
    assert.are.equal("file 644 x", made[("artifacts/%s/c"):format(slug)])
  end))

  local CONFIG = [[
    local command = require "frameworks.command"
    return { provider = "local", max_parallel = 1, retries = %d, download = %s, framework = command {
      discover_command = "printf 'good\nbad\n'", run_command = "%s" } }]]

  local function run(files, config)
    files["runner.lua"] = config
    local dir = project.new(files)
    local result, artifacts = command_line(dir, "run", "-v"), {}
    for event in event_log.read(dir .. "/test-results/events.ndjson") do
      if event.event == "artifact" then
        local path = event.path:match("^artifacts/[^/]*/(.*)")
        artifacts[#artifacts + 1] = ("%s %d %s"):format(event.id, event.attempt, path)
        assert.are.equal(event.size, uv.fs_stat(dir .. "/test-results/" .. event.path).size)
      end
    end
    table.sort(artifacts)
    return artifacts, result, dir
  end

  -- The tests are some ticks of the clock apart, so that each file is one test's.
  local WRITE = "sleep 0.1; mkdir -p out/{tests}; date +%s%N > out/{tests}/log; echo same > out/same; "
    .. "test {tests} = good"

  it("fetches what failed attempts left, each file once", async(function()
    local artifacts, result = run({ ["out/before"] = "x" }, CONFIG:format(1, '{ "out/" }', WRITE))
    assert.are.equal(1, result.code, result.stdout)
    -- `same` is written anew by each attempt, with the same contents.
    local wanted = {}
    for _, artifact in ipairs(artifacts) do
      if artifact:find("bad/log") or artifact:find("same") then wanted[#wanted + 1] = artifact end
    end
    assert.are.same({ "bad 1 out/bad/log", "bad 1 out/same", "bad 2 out/bad/log" }, wanted)
    assert.is_nil(table.concat(artifacts, "\n"):find("before"))
    assert.matches("ARTIFACT", result.stdout)
  end))

  it("makes no folder for an attempt that left nothing new", async(function()
    local _, _, dir = run({}, CONFIG:format(1, '{ "out/" }', "mkdir -p out; echo same > out/same; test {tests} = good"))
    local made = {}
    for name in uv.fs_scandir_next, uv.fs_scandir(dir .. "/test-results/artifacts") do made[#made + 1] = name end
    assert.are.same({ output_log.slug("bad", 1) }, made)
  end))

  it("fetches after every attempt when told to", async(function()
    local artifacts = run({}, CONFIG:format(0, '{ "out/*/log", on = "always" }', WRITE))
    assert.are.same({ "bad 1 out/bad/log", "good 1 out/good/log" }, artifacts)
  end))

  it("stops at the size it was given, and says so", async(function()
    local artifacts, result = run({}, CONFIG:format(0, '{ "out/**", on = "always", max = "100K" }',
      "sleep 0.1; mkdir -p out; head -c 90000 /dev/zero > out/{tests}1; head -c 90000 /dev/zero > out/{tests}2"))
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.same({ "bad 1 out/bad1", "good 1 out/good1" }, artifacts)
    assert.matches("larger than download.max", result.stderr .. result.stdout)
  end))

  it("removes what an earlier run fetched, and nothing else", async(function()
    local _, _, dir = run({}, CONFIG:format(0, '{ "out/*/log", on = "always" }', WRITE))
    local folder = dir .. "/test-results/artifacts"
    tree.write(folder .. "/mine", "x")
    tree.write(dir .. "/runner.lua", CONFIG:format(0, "nil", "true"))
    command_line(dir, "run")
    assert.are.same({ mine = "file 644 x" }, tree.describe(folder))
  end))

  it("checks its settings", async(function()
    for value, message in pairs({
      ['{ on = "always" }'] = "no pattern",
      ['{ "../x" }'] = "inside the tests' folder",
      ['{ "/x" }'] = "inside the tests' folder",
      ['{ "x", on = "sometimes" }'] = "always",
      ['{ "x", max = "much" }'] = "size",
      ['{ "x", mx = 1 }'] = "unknown key",
      ['"x"'] = "expected a table",
    }) do
      local dir = project.new({ ["runner.lua"] = CONFIG:format(0, value, "true") })
      local result = command_line(dir, "validate")
      assert.are.equal(78, result.code, value)
      assert.matches(message, result.stdout .. result.stderr, 1, true)
    end
  end))
end)
