--- `runner history` and what runs do with it, through the real binary; the merge driver through real git.

local uv = require("luv")
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local history = require("runner.history")
local past_run = require("spec.support.past_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local CONFIG = [[
  local command = require "frameworks.command"
  return { %s framework = command { tests = { %s }, run_command = "eval {tests}" } }
]]

--- A project whose tests are shell commands.
local function new(settings, ...)
  local tests = {}
  for i, test in ipairs({ ... }) do tests[i] = ("%q"):format(test) end
  return project.new({ ["runner.lua"] = CONFIG:format(settings, table.concat(tests, ", ")) })
end

local IN_PROJECT = 'history = { path = "history.jsonl" },'

local function known(dir, id)
  local opened, warnings = history.open(dir .. "/history.jsonl")
  assert.are.same({}, warnings)
  return id and opened:entry({ id = id, group = "command" }) or not id and opened or nil
end

local function ok(result)
  assert.are.equal(0, result.code, result.stdout .. result.stderr)
  return result
end

local function git(dir, ...)
  local argv = { "git", "-C", dir, "-c", "user.name=spec", "-c", "user.email=spec@localhost", ... }
  return process.run(argv, { env = { GIT_CONFIG_GLOBAL = "/dev/null", GIT_CONFIG_SYSTEM = "/dev/null" } })
end

describe("a run", function()
  local cache_before

  before_each(function()
    cache_before = os.getenv("XDG_CACHE_HOME")
    uv.os_setenv("XDG_CACHE_HOME", project.new({}))
  end)

  after_each(function()
    if cache_before then uv.os_setenv("XDG_CACHE_HOME", cache_before) else uv.os_unsetenv("XDG_CACHE_HOME") end
    runner.kill_all()
    project.remove_all()
  end)

  local function cached()
    local list, scan = {}, uv.fs_scandir(os.getenv("XDG_CACHE_HOME") .. "/runner/history")
    while scan do
      local name = uv.fs_scandir_next(scan)
      if not name then break end
      list[#list + 1] = name
    end
    return list
  end

  it("adds to the history in the user's cache folder, and leaves the project as it was", async(function()
    local dir = new("", "true", "true ; true")
    ok(git(dir, "init", "-q"))
    ok(runner(dir, "run"))
    ok(runner(dir, "run"))
    assert.are.equal(1, #cached())
    assert.are.equal("?? runner.lua\n?? test-results/\n", ok(git(dir, "status", "--porcelain")).stdout)
    local shown = ok(runner(dir, "history", "show")).stdout
    assert.matches("2 tests, 2 runs remembered", shown)
  end))

  it("adds to the file of the configuration, under the ids that it looks up again", async(function()
    local dir = new(IN_PROJECT .. "retries = 1,", "sleep 0.2", 'test "$RUNNER_ATTEMPT" = 2', "exit 3")
    assert.are.equal(1, runner(dir, "run").code)
    assert.are.equal(0, #cached())
    local slow = known(dir, "sleep 0.2")
    assert.is_true(slow.s >= 0.2 and slow.s < 10)
    assert.are.equal("flaky", known(dir, 'test "$RUNNER_ATTEMPT" = 2').last[2])
    assert.are.same({ 0, 2 }, known(dir, "exit 3").n)
    assert.are.equal(uv.os_gethostname(), known(dir):runs()[1].places[1][2])
    assert.are.same({ "command" }, known(dir):runs()[1].whole)
    runner(dir, "run", "runner.lua", "sleep")
    assert.are.same({}, known(dir):runs()[2].whole)
  end))

  it("does as it is told: record = \"flag\", --record-history, --no-history, history = false", async(function()
    local dir = new('history = { path = "history.jsonl", record = "flag" },', "true")
    local function count() return #known(dir):runs() end
    ok(runner(dir, "run"))
    assert.is_nil(uv.fs_stat(dir .. "/history.jsonl"))
    ok(runner(dir, "run", "--record-history"))
    assert.are.equal(1, count())
    ok(runner(dir, "run", "--no-history"))
    assert.are.equal(1, count())
    local off = new("history = false,", "true")
    ok(runner(off, "run"))
    assert.are.same({}, cached())
    local refused = runner(off, "run", "--record-history")
    assert.are.equal(64, refused.code)
    assert.matches("history = false", refused.stderr)
    assert.are.equal(78, runner(off, "history", "show").code)
    local wrong = new("history = { samples = 1000, pth = 'x' },", "true")
    local message = runner(wrong, "run").stderr
    assert.matches("history.samples: expected at most 100", message)
    assert.matches("history.pth: unknown key; did you mean", message)
  end))

  it("goes on with a history that it cannot read, and says so once", async(function()
    local dir = new(IN_PROJECT, "true")
    project.write(dir, { ["history.jsonl"] = '{"runner_history":9}\n' })
    local result = ok(runner(dir, "run"))
    local _, told = (result.stdout .. result.stderr):gsub("version 9", "")
    assert.are.equal(1, told)
    assert.are.equal('{"runner_history":9}\n', project.read(dir .. "/history.jsonl"))
    project.remove(dir .. "/history.jsonl")
    uv.fs_mkdir(dir .. "/history.jsonl", 493)
    assert.matches("it is a folder", ok(runner(dir, "run")).stderr)
  end))

  it("goes on where nothing can be written", async(function()
    local dir = new('history = { path = "runner.lua/history.jsonl" },', "true")
    local result = ok(runner(dir, "run"))
    assert.matches("history .* could not be written", result.stdout .. result.stderr)
    local quiet = new("", "true")
    project.write(quiet, { cache = "" })
    uv.os_setenv("XDG_CACHE_HOME", quiet .. "/cache")
    result = ok(runner(quiet, "run"))
    assert.is_nil((result.stdout .. result.stderr):find("history"), "nobody has asked for one there")
  end))

  it("that is killed records nothing; one that is interrupted, what had ended", async(function()
    local dir = new(IN_PROJECT .. "max_parallel = 2, grace = 1,", "true", "exec sleep 600")
    local function start()
      local pid, done = runner.start(dir, "run")
      eventually(function() return finished.find(dir, "attempt_finished", { id = "true" }) end)
      return pid, done
    end
    local pid, done = start()
    uv.kill(pid, "sigkill")
    done:wait()
    assert.is_nil(uv.fs_stat(dir .. "/history.jsonl"))
    project.remove(dir .. "/test-results")
    pid, done = start()
    uv.kill(pid, "sigint")
    done:wait()
    assert.is_table(known(dir, "true"))
    assert.is_nil(known(dir, "exec sleep 600"))
  end))

  it("selects by the history what the last run says nothing of", async(function()
    local dir = new(IN_PROJECT .. "retries = 1,", "sleep 0.3", 'test "$RUNNER_ATTEMPT" = 2', "true")
    assert.are.equal(2, runner(dir, "run").code)
    project.remove(dir .. "/test-results")
    assert.are.equal("sleep 0.3\n", runner(dir, "collect", "-E", "slow(>0.25s)").stdout)
    assert.are.equal('test "$RUNNER_ATTEMPT" = 2\n', runner(dir, "collect", "-E", "flaky()").stdout)
  end))
end)

describe("runner history", function()
  after_each(project.remove_all)

  local function project_with_history()
    local dir = new(IN_PROJECT, "true")
    local file = dir .. "/history.jsonl"
    past_run(file, { fast = { "passed", 0.1 }, slow = { "passed", 30 }, gone = { "passed", 5 },
      odd = { { "failed", 1 }, { "passed", 1 } } }, { run = "first" })
    past_run(file, { fast = { "passed", 0.1 }, slow = { "passed", 30 }, odd = { "passed", 1 } }, { run = "second" })
    return dir, file
  end

  it("shows the slowest, the flakiest, one test", async(function()
    local dir, file = project_with_history()
    local all = ok(runner(dir, "history", "show")).stdout
    assert.matches(file, all, 1, true)
    assert.matches("4 tests, 2 runs remembered %(the last: second%)", all)
    assert.matches("30.000s%] slow.*5.000s%] gone.*1.000s%] odd.*0.100s%] fast", all)
    assert.matches("flaky in 1 run,  33 %% of 3 attempts failed: odd", all)
    local slowest = ok(runner(dir, "history", "show", "--slowest", "1")).stdout
    assert.matches("slow", slowest)
    assert.is_nil(slowest:find("gone") or slowest:find("odd"))
    local one = ok(runner(dir, "history", "show", "--test", "odd")).stdout
    assert.matches("odd %(group unit%)", one)
    assert.matches("passed .-1.000s%]  second  local here", one)
    assert.matches("failed .-1.000s%]  first  local here", one)
    local misspelt = runner(dir, "history", "show", "--test", "slwo")
    assert.are.equal(64, misspelt.code)
    assert.matches("did you mean \"slow\"", misspelt.stderr)
    assert.are.equal(64, runner(dir, "history", "show", "--slowest", "x").code)
    assert.are.equal(64, runner(dir, "history", "shwo").code)
  end))

  it("prunes what the last whole run did not have", async(function()
    local dir, file = project_with_history()
    assert.are.equal("forgot 1 test, kept 3\n", ok(runner(dir, "history", "prune")).stdout)
    assert.is_nil(project.read(file):find("gone"))
    assert.are.equal("forgot 0 tests, kept 3\n", ok(runner(dir, "history", "prune")).stdout)
    project.write(dir, { ["history.jsonl"] = project.read(file) .. '{"test":["unit","zz"],"s":oops}\n' })
    local mended = ok(runner(dir, "history", "prune")).stdout
    assert.matches("damaged original is kept as", mended)
    assert.is_nil(project.read(file):find("oops"))
    os.remove(file)
    assert.are.equal(78, runner(dir, "history", "prune").code)
    assert.is_nil(uv.fs_stat(file))
  end))

  it("prunes what was not seen for so many days, whatever runs were whole", async(function()
    local dir = new(IN_PROJECT, "true")
    local file = dir .. "/history.jsonl"
    past_run(file, { old = { "passed", 1 } }, { group = "command", time = 1700000000, whole = false })
    past_run(file, { new = { "passed", 1 } }, { group = "command", time = 1700000000 + 8 * 86400, whole = false })
    assert.are.equal("forgot 0 tests, kept 2\n", ok(runner(dir, "history", "prune")).stdout)
    for _, days in ipairs({ "9", "4611686018427387904" }) do
      assert.are.equal("forgot 0 tests, kept 2\n", ok(runner(dir, "history", "prune", "--days", days)).stdout)
    end
    assert.are.equal("forgot 1 test, kept 1\n", ok(runner(dir, "history", "prune", "--days", "7")).stdout)
    assert.is_truthy(known(dir, "new"))
  end))

  it("is merged by git when branches meet", async(function()
    local dir = new('history = { path = "sub dir/history.jsonl" },', "true")
    uv.fs_mkdir(dir .. "/sub dir", 493)
    local file = dir .. "/sub dir/history.jsonl"
    local function commit(message)
      ok(git(dir, "add", "."))
      ok(git(dir, "commit", "-qm", message))
    end
    ok(git(dir, "init", "-q", "-b", "main"))
    past_run(file, { a = { "passed", 1 }, b = { "passed", 1 }, gone = { "passed", 1 } }, { run = "base" })
    ok(runner(dir, "history", "setup-merge-driver"))
    ok(runner(dir, "history", "setup-merge-driver"))
    assert.are.equal('"/sub dir/history.jsonl" merge=runner-history\n', project.read(dir .. "/.gitattributes"))
    commit("base")
    ok(git(dir, "checkout", "-qb", "branch"))
    past_run(file, { a = { "passed", 5 }, b = { "passed", 1 }, new = { "passed", 2 } }, { run = "theirs" })
    commit("theirs")
    ok(git(dir, "checkout", "-q", "main"))
    past_run(file, { a = { { "failed", 3 }, { "passed", 3 } } }, { run = "ours" })
    commit("ours")
    ok(git(dir, "merge", "-q", "-m", "merged", "branch"))
    local opened, warnings = history.open(file)
    assert.are.same({}, warnings)
    local function entry(id) return opened:entry({ id = id, group = "unit" }) end
    assert.are.equal(3, #opened:runs())
    assert.are.same({ 3, 1 }, entry("a").n)
    assert.are.same({ 2, 0 }, entry("b").n)
    assert.are.equal(2, entry("new").s)
    assert.is_table(entry("gone"))
    assert.are.equal("", ok(git(dir, "status", "--porcelain")).stdout)

    -- What cannot be merged is left to the user.
    ok(git(dir, "checkout", "-q", "branch"))
    project.write(dir, { ["sub dir/history.jsonl"] = '{"runner_history":2}\n' })
    commit("newer")
    ok(git(dir, "checkout", "-q", "main"))
    past_run(file, { a = { "passed", 4 } }, { run = "more" })
    commit("more")
    local before = project.read(file)
    local merge = git(dir, "merge", "-q", "-m", "merged", "branch")
    assert.are_not.equal(0, merge.code)
    assert.matches("not merged.-version 2", merge.stderr)
    assert.are.equal(before, project.read(file), "ours is as it was")
  end))

  it("refuses to merge what it does not understand whole", async(function()
    local dir, file = project_with_history()
    local text = project.read(file)
    project.write(dir, { base = "", ours = text:sub(1, -9), theirs = text, twin = text })
    local result = runner(dir, "history", "merge", "base", "ours", "theirs")
    assert.are.equal(1, result.code)
    assert.matches("not merged: ours: 1 of its lines is damaged", result.stderr)
    assert.are.equal(text:sub(1, -9), project.read(dir .. "/ours"))
    ok(runner(dir, "history", "merge", "base", "twin", "theirs"))
    assert.are.equal(text, project.read(dir .. "/twin"))
    for _, files in ipairs({ { "base", "twin", "typo" }, { "base", "typo", "twin" }, { "typo", "twin", "base" } }) do
      local missing = runner(dir, "history", "merge", table.unpack(files))
      assert.are.equal(1, missing.code)
      assert.matches("not merged: typo: there is no such file", missing.stderr)
    end
    assert.are.equal(text, project.read(dir .. "/twin"))
    assert.is_nil(uv.fs_stat(dir .. "/typo"))
    assert.are.equal(64, runner(dir, "history", "merge", "base", "ours").code)
    assert.are.equal(64, runner(dir, "history", "show", "ours").code)
  end))

  it("sets up no driver for a file outside of git", async(function()
    assert.matches("cache folder", runner(new("", "true"), "history", "setup-merge-driver").stderr)
    local dir = new(IN_PROJECT, "true")
    local result = runner(dir, "history", "setup-merge-driver")
    assert.are.equal(64, result.code)
    assert.matches("git says", result.stderr)
  end))
end)
