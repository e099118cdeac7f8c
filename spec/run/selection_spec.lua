--- Selecting, overrides and the rules of groups, through the real binary over real processes.

local uv = require("luv")
local cjson = require("cjson.safe")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local function new(settings, files)
  files = files or {}
  files["runner.lua"] = ([[
    local command = require "frameworks.command"
    local function lines(...) return command { tests = { ... }, run_command = "eval {tests}" } end
    return %s
  ]]):format(settings)
  return project.new(files)
end

local function collected(dir, ...)
  local result = runner(dir, "collect", "-f", "json", ...)
  local ids = {}
  for _, test in ipairs(cjson.decode(result.stdout).tests) do ids[#ids + 1] = test.id end
  table.sort(ids)
  return table.concat(ids, "; "), result
end

--- Do two attempts of these tests overlap? From the events: pairs of ids.
local function overlaps(dir, predicate)
  local open, found = {}, {}
  for _, event in ipairs(finished.events(dir)) do
    if event.event == "attempt_started" then
      for id in pairs(open) do
        if predicate(id, event.id) then found[#found + 1] = id .. " | " .. event.id end
      end
      open[event.id] = true
    elseif event.event == "attempt_finished" then
      open[event.id] = nil
    end
  end
  return found
end

describe("selecting", function()
  after_each(project.remove_all)

  it("takes expressions, names and shards together", async(function()
    local dir = new([[{ groups = { one = lines("true a", "true ab", "true b"), two = lines("true abc") } }]])
    assert.are.equal("true a; true ab; true abc", (collected(dir, "-E", "test(a)")))
    assert.are.equal("true abc", (collected(dir, "-E", "test(a) - group(one)")))
    assert.are.equal("true ab; true abc; true b", (collected(dir, "-E", "test(=true b)", "-E", "test(ab)")))
    assert.are.equal("true ab", (collected(dir, "-E", "group(one)", "runner.lua", "ab")))
    local first, second = collected(dir, "--shard", "1/2"), collected(dir, "--shard", "2/2")
    assert.are_not.equal(first, second)
    assert.are.equal(#"true a; true ab; true abc; true b", #first + #second + 2)
  end))

  it("takes a name that is a whole id for that test alone", async(function()
    local dir = new([[{ framework = lines("true a", "true ab", "true abc", "true b") }]])
    assert.are.equal("true a", (collected(dir, "true a")))
    assert.are.equal("true ab; true abc; true b", (collected(dir, "ab", "true b")))
    assert.are.equal("true a; true abc", (collected(dir, "true a", "abc")))
  end))

  it("exits 4 for an empty selection and 0 for an empty shard", async(function()
    local dir = new([[{ framework = lines("true") }]])
    local result = runner(dir, "run", "-E", "test(nothing)")
    assert.are.equal(4, result.code)
    assert.matches("error: none of the 1 tests that were found matches -E 'test(nothing)'\n", result.stderr, 1, true)
    assert.are.equal(0, runner(dir, "run", "--shard", "1/1").code)
    for _, command in ipairs({ "run", "collect" }) do
      local said = {}
      for i = 1, 2 do
        local part = runner(dir, command, "--shard", i .. "/2")
        assert.are.equal(0, part.code)
        said[i] = part.stderr:match("(shard %d/2 is empty: 1 test in the others)\n")
      end
      assert.is_truthy((said[1] or said[2]) and not (said[1] and said[2]))
    end
    assert.are.equal(4, runner(dir, "run", "-E", "none()", "--shard", "1/2").code)
  end))

  it("says of which tests nothing is left, in collect as in run", async(function()
    local dir = new([[{ groups = { one = lines("true a", "true b") } }]])
    for _, command in ipairs({ "run", "collect" }) do
      for words, message in pairs({
        ["-E tag(nosuch)"] = "none of the 2 tests that were found matches -E 'tag(nosuch)'\n",
        ["x y"] = "none of the 2 tests that were found matches x or y\n",
        ["a -E test(b)"] = "none of the 2 tests that were found matches what was asked for\n",
      }) do
        local argv = {}
        for word in words:gmatch("%S+") do argv[#argv + 1] = word end
        local result = runner(dir, command, table.unpack(argv))
        assert.are.equal(4, result.code)
        assert.matches(message, result.stderr, 1, true)
        argv[#argv + 1] = "--no-tests=pass"
        assert.are.equal("", runner(dir, command, table.unpack(argv)).stderr)
      end
    end
    local none = runner(new("{ framework = lines() }"), "run")
    assert.are.equal(4, none.code)
    assert.matches("error: no tests were found by command\n", none.stderr, 1, true)
  end))

  it("refuses groups and frameworks that there are not", async(function()
    local dir = new([[{ groups = { unit = lines("true") } }]])
    for expression, message in pairs({
      ["group(unti)"] = 'no such group; did you mean "unit"', ["not framework(pytset)"] = 'did you mean "pytest"',
    }) do
      for _, command in ipairs({ "run", "collect", "plan" }) do
        local result = runner(dir, command, "-E", expression)
        assert.are.equal(64, result.code)
        assert.matches(message, result.stderr, 1, true)
      end
    end
    assert.are.equal("true", (collected(dir, "-E", "framework(command) - framework(pytest)")))
  end))

  it("refuses a way of sharding without a shard", async(function()
    local result = runner(new([[{ framework = lines("true") }]]), "run", "--shard-by", "hash")
    assert.are.equal(64, result.code)
    assert.matches("--shard-by says how --shard deals the tests out", result.stderr, 1, true)
  end))

  it("explains a wrong expression and exits 64", async(function()
    local result = runner(new([[{ framework = lines("true") }]]), "run", "-E", "tset(a)")
    assert.are.equal(64, result.code)
    assert.matches("unknown predicate tset.*test", result.stderr)
  end))

  it("reruns what did not pass, again and again", async(function()
    local dir = new([[{ framework = lines("true", "test -e mended", "exit 3", "test -e also") }]])
    local before = runner(dir, "run", "--rerun-failed")
    assert.are.equal(64, before.code)
    assert.matches("no earlier run", before.stderr)
    assert.are.equal(1, runner(dir, "run").code)
    project.write(dir, { mended = "" })
    assert.are.equal(1, runner(dir, "run", "--rerun-failed").code)
    local expected = { ["test -e mended"] = "passed", ["exit 3"] = "failed", ["test -e also"] = "failed" }
    assert.are.same(expected, finished.states(dir))
    project.write(dir, { also = "" })
    assert.are.equal(1, runner(dir, "run", "-E", "failed(latest)").code)
    assert.are.same({ ["exit 3"] = "failed", ["test -e also"] = "passed" }, finished.states(dir))
  end))

  it("says why there is nothing to rerun", async(function()
    local dir = new([[{ framework = lines("true", "exit 3") }]])
    assert.are.equal(1, runner(dir, "run").code)
    local filtered = runner(dir, "collect", "--rerun-failed", "true")
    assert.are.equal(4, filtered.code)
    assert.matches("none of the 1 tests that did not pass in the last run matches true\n", filtered.stderr, 1, true)
    assert.are.equal(0, runner(dir, "run", "true").code)
    for _, more in ipairs({ "--no-cache", "--shard=1/2" }) do
      local result = runner(dir, "collect", "--rerun-failed", more)
      assert.are.equal(4, result.code)
      assert.matches("nothing failed in the last run, which had 1 test\n", result.stderr, 1, true)
    end
  end))

  it("names a file that it cannot read once", async(function()
    local result = runner(new([[{ framework = lines("true") }]]), "run", "--replay-order", "nofile")
    assert.are.equal(64, result.code)
    assert.matches("cannot read nofile: no such file or directory\n", result.stderr:lower(), 1, true)
  end))

  it("knows what changed since a commit", async(function()
    local dir = project.new({
      ["runner.lua"] = [[
        local command = require "frameworks.command"
        local inner = command { tests = { "true" }, run_command = "{tests}" }
        local plugin = require "runner.plugin"
        return { framework = plugin.framework {
          name = "files", api = 1,
          session = function(options, ctx)
            local session = inner.plugin.session(inner.options, ctx)
            return { close = session.close, worker = session.worker, discover = function()
              return { { id = "a", name = "true", file = "a" }, { id = "b", name = "true", file = "sub/b" } }, {}
            end }
          end,
        } {} }]],
      a = "1", ["sub/b"] = "1", [".gitignore"] = "test-results\n",
    })
    local function git(...)
      local argv = { "git", "-c", "user.name=spec", "-c", "user.email=spec@localhost", ... }
      assert(process.run(argv, { cwd = dir }).code == 0)
    end
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert.are.equal("", (collected(dir, "--no-tests", "pass", "-E", "changed()")))
    project.write(dir, { ["sub/b"] = "2" })
    assert.are.equal("b", (collected(dir, "-E", "changed()")))
    git("commit", "-qam", "second")
    assert.are.equal("b", (collected(dir, "-E", "changed(HEAD~1)")))
    local result = runner(dir, "collect", "-E", "changed(nowhere)")
    assert.are.equal(64, result.code)
    assert.matches("changed%(%)", result.stderr)
  end))

  it("takes predicates of the configuration", async(function()
    local dir = new([[{ framework = lines("true 1", "true 22"),
      predicates = { long = function(test, n) return #test.id > tonumber(n) end } }]])
    assert.are.equal("true 22", (collected(dir, "-E", "long(6)")))
    assert.are.equal("true 1", (collected(dir, "-E", "not long(6)")))
  end))

  it("calls the configuration wrong when a predicate or the order fails", async(function()
    local dir = new([[{ framework = lines("true 1", "true 2", "true 3"),
      predicates = { boom = function(_, text) error("bang " .. text) end },
      order = function(tests)
        local how = os.getenv("ORDER")
        if how == "raise" then error("boo") elseif how == "hole" then tests[2] = nil
        elseif how == "none" then return {} elseif how == "number" then return 3 end
        return tests
      end }]])
    local result = runner(dir, "run", "-E", "boom(here)")
    assert.are.equal(78, result.code)
    assert.matches("the predicate boom failed: runner.lua:%d+: bang here\n", result.stderr)
    for how, message in pairs({ raise = "it failed: .*boo\n", hole = "a hole", number = "must return the list" }) do
      result = process.run({ uv.exepath(), "run" }, { cwd = dir, env = { ORDER = how } })
      assert.are.equal(78, result.code, result.stderr)
      assert.matches("order: .*" .. message, result.stderr)
      assert.is_nil(result.stderr:find("traceback"))
    end
    assert.are.equal(4, process.run({ uv.exepath(), "run" }, { cwd = dir, env = { ORDER = "none" } }).code)
  end))
end)

describe("overrides", function()
  after_each(project.remove_all)

  it("set timeouts, retries and more for what they match", async(function()
    local dir = new([[{ grace = 0.1, framework = lines("sleep 60", "test $RUNNER_ATTEMPT = 2", "exit 4", "true"),
    overrides = {
      { filter = "test(sleep)", test_timeout = 0.3 },
      { filter = "test(ATTEMPT)", retries = 1 },
      { filter = "all()", retries = 0, test_timeout = "none" },
    } }]])
    assert.are.equal(1, runner(dir, "run").code)
    assert.are.same({
      ["sleep 60"] = "timed_out", ["test $RUNNER_ATTEMPT = 2"] = "flaky", ["exit 4"] = "failed", ["true"] = "passed",
    }, finished.states(dir))
  end))

  it("put tests in quarantine: they run and are reported, and do not count", async(function()
    local settings = [[{ retries = 1, framework = lines("exit 4", "test $RUNNER_ATTEMPT = 2", "true"%s), overrides = {
      { filter = "test(exit 4) or test(ATTEMPT)", quarantine = "ticket 12" } } }]]
    local dir = new(settings:format(""))
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout)
    assert.are.same({ ["exit 4"] = "failed", ["test $RUNNER_ATTEMPT = 2"] = "flaky", ["true"] = "passed" },
      finished.states(dir))
    assert.are.equal("ticket 12", finished.find(dir, "test_finished", { id = "exit 4" }).quarantine)
    assert.are.equal(2, finished.find(dir, "run_finished").counts.quarantined)
    assert.matches("2 passed %(1 flaky%), 1 quarantined\n", result.stdout)
    assert.matches("QUARANTINED [^\n]* exit 4 %(ticket 12%)", result.stdout)
    assert.matches('failures="0" errors="0" skipped="1"', project.read(dir .. "/test-results/junit.xml"))
    assert.are.equal(1, runner(new(settings:format(', "exit 5"')), "run").code)
  end))

  it("warn of quarantine that nothing is put in, when all tests were found and chosen", async(function()
    local dir = new([[{ framework = lines("true 1", "true 2"), overrides = {
      { filter = "test(=true 1)", quarantine = "ticket 1" }, { filter = "test(=ture 2)", quarantine = true },
      { filter = "flaky()", quarantine = true }, { filter = "test(nothing)", retries = 1 } } }]])
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("warning: overrides[2] puts nothing in quarantine: none of the 2 tests that were found matches "
      .. "test(=ture 2)\n", result.stderr)
    assert.are.equal("", runner(dir, "run", "1").stderr)
  end))

  it("stand below the command line", async(function()
    local dir = new([[{ framework = lines("test $RUNNER_ATTEMPT = 2"),
      overrides = { { filter = "all()", retries = 3 } } }]])
    assert.are.equal(1, runner(dir, "run", "--retries", "0").code)
  end))

  it("are checked when the configuration is loaded", async(function()
    local dir = new([[{ framework = lines("true"), predicates = { test = function() end }, overrides = {
      { retries = 3 }, { filter = "tag(a" }, { filter = "all()", retires = 1 },
      { filter = "all()", exclusive = 3 }, { filter = "all()", only_on = { "locl" } } } }]])
    local result = runner(dir, "run")
    assert.are.equal(78, result.code)
    for _, part in ipairs({ "overrides%[1%].*filter", "overrides%[2%]%.filter.*not closed", "retires.*retries",
      "exclusive.*mutex", '"locl" is not among the providers.*local', "predicates%.test.*built in" }) do
      assert.matches(part, result.stderr)
    end
  end))
end)

describe("a group", function()
  after_each(project.remove_all)

  local function slow(name, n)
    local list = {}
    for i = 1, n do list[i] = ("%q"):format(("sleep 0.05; : %s%d"):format(name, i)) end
    return "lines(" .. table.concat(list, ", ") .. ")"
  end

  it("runs no more tests at once than its max_parallel", async(function()
    local dir = new(([[{ max_parallel = 4, groups = { a = { %s, max_parallel = 1 }, b = %s } }]])
      :format(slow("a", 6), slow("b", 6)))
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.same({}, overlaps(dir, function(x, y) return x:find(": a") and y:find(": a") end))
    assert.is_true(#overlaps(dir, function() return true end) > 0)
  end))

  it("shares a mutex with other groups", async(function()
    local dir = new(([[{ max_parallel = 4, groups = {
      a = { %s, exclusive = "db" }, b = { %s, exclusive = { "port", "db" } }, c = %s } }]])
      :format(slow("a", 4), slow("b", 4), slow("c", 4)))
    assert.are.equal(0, runner(dir, "run").code)
    local function needs_db(id) return id:find(": [ab]") end
    assert.are.same({}, overlaps(dir, function(x, y) return needs_db(x) and needs_db(y) end))
    assert.is_true(#overlaps(dir, function() return true end) > 0)
  end))

  it("runs alone with exclusive = true, and takes slots by weight", async(function()
    local dir = new(([[{ max_parallel = 3, groups = {
      alone = { %s, exclusive = true }, heavy = { %s, weight = 2 }, light = %s } }]])
      :format(slow("alone", 2), slow("heavy", 3), slow("light", 8)))
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.same({}, overlaps(dir, function(x, y) return x:find("alone") or y:find("alone") end))
    assert.are.same({}, overlaps(dir, function(x, y) return x:find("heavy") and y:find("heavy") end))
  end))

  it("runs setup once in a sandbox, exports its variables, and runs teardown", async(function()
    local dir = new([[{ max_parallel = 2, groups = { one = {
      lines("test \"$PORT\" = '12 34'", "test \"$PORT\" = '12 34' #2", "test -e up"),
      setup = "echo x >> up; echo 'PORT=12 34' >> $RUNNER_ENV; echo noise",
      teardown = "test \"$PORT\" = '12 34' && rm up && echo x >> down",
    }, two = lines("test -z \"$PORT\"") } }]])
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.is_nil(uv.fs_stat(dir .. "/up"))
    assert.are.equal("x\n", project.read(dir .. "/down"))
  end))

  it("is not run when its setup fails: the output is shown, the rest goes on", async(function()
    local dir = new([[{ groups = {
      one = { lines("true 1"), setup = "echo because; exit 3", teardown = "echo x > down" },
      two = lines("true 2") } }]])
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.are.same({ ["true 2"] = "passed" }, finished.states(dir))
    assert.matches("setup of group one failed.*exit status 3", result.stdout)
    assert.matches("because", result.stdout)
    assert.are.equal("x\n", project.read(dir .. "/down"))
  end))

  it("reports a teardown that fails", async(function()
    local dir = new([[{ groups = { one = { lines("true"), teardown = "echo why; exit 2" } } }]])
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.matches("teardown of group one failed.*exit status 2", result.stdout)
  end))
end)

describe("an ignored test", function()
  after_each(project.remove_all)

  it("is listed, counted as skipped, and not run", async(function()
    local dir = project.new({ ["runner.lua"] = [[
      local inner = require "frameworks.command" { tests = { "true" }, run_command = "{tests}" }
      return { framework = require "runner.plugin".framework {
        name = "some", api = 1,
        session = function(options, ctx)
          local session = inner.plugin.session(inner.options, ctx)
          return { close = session.close, worker = session.worker, discover = function()
            return { { id = "a", name = "true" }, { id = "b", name = "false", ignored = "not today" } }
          end }
        end,
      } {} }]] })
    assert.matches('"ignored":"not today"', runner(dir, "collect", "-f", "json").stdout)
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout)
    assert.are.same({ a = "passed", b = "skipped" }, finished.states(dir))
    assert.matches("1 skipped", result.stdout)
    assert.are.equal("not today", finished.find(dir, "test_finished", { id = "b" }).reason)
    assert.matches("<skipped.*not today", project.read(dir .. "/test-results/junit.xml"))
  end))
end)
