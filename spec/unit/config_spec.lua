local uv = require("luv")
local configuration = require("spec.support.configuration")
local project = require("spec.support.project")

local load, refused = configuration.load, configuration.refused

--- The problems (without the file) that loading a table with these fields finds.
local function problems(fields)
  return refused("return { framework = fake, " .. fields .. " }").context.problems
end

describe("config.load", function()
  after_each(project.remove_all)

  describe("in normal form", function()
    it("fills in defaults", function()
      local loaded, dir = load("return { framework = fake }")
      assert.are.equal(dir, loaded.dir)
      assert.are.equal(dir .. "/runner.lua", loaded.path)
      assert.is_true(loaded.max_parallel >= 1)
      local group = loaded.groups[1]
      assert.are.equal("fake", group.name)
      assert.are.equal("fake", group.framework.name)
      group.framework = nil
      assert.are.same({ name = "fake", retries = 0, test_timeout = 900, slow_timeout = 60,
        schedule = "batch" }, group)
      assert.are.equal("local", loaded.providers[1].name)
      assert.are.same({ dir = dir .. "/test-results", junit = "junit.xml", trace = false }, loaded.report)
      assert.are.same({ 900, 60, nil, 10, 0, false, nil, nil, "fail", dir, {}, {}, {} }, {
        loaded.test_timeout, loaded.slow_timeout, loaded.global_timeout, loaded.grace,
        loaded.retries,
        loaded.fail_fast, loaded.max_fail, loaded.seed, loaded.no_tests, loaded.working_dir,
        loaded.env,
        loaded.copy_dirs, loaded.on,
      })
    end)

    it("turns times into seconds, sizes into bytes, paths into absolute ones", function()
      local loaded, dir = load([[return {
        framework = fake, provider = here { size = "2G" }, test_timeout = "5m", slow_timeout = 1.5,
        grace = "250ms",
        global_timeout = "1h30m", working_dir = "./src", copy_dirs = { "src:a/b", "./src:/c" },
        report = { dir = "../out", junit = "r/j.xml", trace = "./t.json" },
      }]], { ["src/x"] = "" })
      assert.are.same({ 300, 1.5, 0.25, 5400 },
        { loaded.test_timeout, loaded.slow_timeout, loaded.grace, loaded.global_timeout })
      assert.are.equal(2 << 30, loaded.providers[1].options.size)
      assert.are.equal(dir .. "/src", loaded.working_dir)
      assert.are.same({ { from = dir .. "/src", to = "a/b" },
        { from = dir .. "/src", to = "/c" } }, loaded.copy_dirs)
      assert.are.same({ dir = dir:gsub("/[^/]*$", "") .. "/out", junit = "r/j.xml", trace = "t.json" }, loaded.report)
    end)

    it("knows no limit", function()
      local loaded = load(
        [[return { test_timeout = "none", slow_timeout = false, global_timeout = false,
        groups = { a = fake, b = { fake, test_timeout = 5 }, c = { fake, slow_timeout = 2 } } }]])
      assert.is_nil(loaded.test_timeout)
      assert.is_nil(loaded.groups[1].test_timeout)
      assert.is_nil(loaded.groups[1].slow_timeout)
      assert.are.equal(5, loaded.groups[2].test_timeout)
      assert.are.equal(2, loaded.groups[3].slow_timeout)
    end)

    it("counts cores", function()
      local cores = uv.available_parallelism()
      for given, parallel in pairs({ [3] = 3, [-1] = math.max(1, cores - 1), [-1000] = 1 }) do
        local loaded = load(("return { framework = fake, max_parallel = %d }"):format(given))
        assert.are.equal(parallel, loaded.max_parallel)
      end
      assert.are.equal(cores, load("return { framework = fake }").max_parallel)
    end)

    it("reads hooks as plain functions", function()
      local loaded = load([[return { framework = fake, retry = print, order = print,
        on = { discovered = print, result = print, finished = print } }]])
      assert.is_function(loaded.retry)
      assert.is_function(loaded.order)
      assert.is_function(loaded.on.discovered)
      assert.is_function(loaded.on.result)
      assert.is_function(loaded.on.finished)
    end)

    it("switches the JUnit report off", function()
      assert.is_false(load("return { framework = fake, report = { junit = false } }").report.junit)
      assert.are.equal("junit.xml",
        load("return { framework = fake, report = { junit = true } }").report.junit)
    end)

    it("gives every load tables of its own", function()
      local first = load("return { framework = fake }")
      first.env.A = "1"
      first.copy_dirs[1] = {}
      local second = load("return { framework = fake }")
      assert.are.same({ {}, {} }, { second.env, second.copy_dirs })
    end)
  end)

  describe("groups", function()
    local function names(loaded)
      local list = {}
      for i, group in ipairs(loaded.groups) do
        list[i] = group.name
      end
      return list
    end

    it("come sorted from a map, in order from a list, the list first from both", function()
      assert.are.same({ "a", "b", "c" },
        names(load("return { groups = { c = fake, a = fake, b = fake } }")))
      assert.are.same({ "z", "fake" },
        names(load('return { groups = { { fake, name = "z" }, fake } }')))
      assert.are.same({ "fake", "a" }, names(load("return { groups = { a = fake {}, fake {} } }")))
    end)

    it("override what they say and inherit the rest", function()
      local loaded = load([[return { retries = 1, test_timeout = 10, groups = {
        a = { fake { paths = { "x" } }, retries = 3, schedule = "individual", filters = { "f" },
          env = { A = "1" } },
        b = { framework = fake, test_timeout = "1m", slow_timeout = "5s" },
      } }]])
      local a, b = loaded.groups[1], loaded.groups[2]
      assert.are.same({ 3, 10, 60, "individual", { "f" }, { A = "1" }, { "x" } },
        { a.retries, a.test_timeout, a.slow_timeout, a.schedule, a.filters, a.env,
          a.framework.options.paths })
      assert.are.same({ 1, 60, 5, "batch" },
        { b.retries, b.test_timeout, b.slow_timeout, b.schedule })
      assert.is_nil(b.filters)
      assert.is_nil(b.env)
    end)

    it("and the shortcut take names of plug-ins, also the user's", function()
      local mine = [[return require "runner.plugin".framework {
        name = "mine", api = 1, session = function() end }]]
      assert.are.same({ "mine" },
        names(load('return { framework = "mine" }', { ["frameworks/mine.lua"] = mine })))
      assert.are.same({ "u" }, names(load('return { groups = { u = "mine" } }', {
        [".runner/frameworks/mine.lua"] = mine,
      })))
    end)

    local bad = {
      { "return {}", "nothing to run: set framework" },
      { "return { groups = {} }", "groups: nothing to run" },
      { "return { groups = fake {} }",
        "groups: expected a table of groups: groups = { unit = fake { … } }" },
      { "return { groups = 'fake' }", "groups: expected a table of groups" },
      { "return { groups = 3 }", "groups: expected a table of groups, got the number 3" },
      { "return { groups = { a = {} } }", "groups.a: expected a framework" },
      { "return { groups = { a = 3 } }", "groups.a: expected a table, got the number 3" },
      { "return { groups = { a = here {} } }",
        "groups.a: expected a framework.*got the provider here" },
      { "return { groups = { a = { here {} } } }",
        "groups.a: expected a framework.*got the provider here" },
      { "return { groups = { a = { fake, framework = fake } } }", "groups.a: two frameworks" },
      { "return { groups = { fake, fake } }",
        'groups%[2%]: a second group called "fake"; give it another name' },
      { "return { groups = { nil, fake } }",
        "groups%[2%]: expected a name or a list without holes" },
      { "return { groups = { [true] = fake } }", "groups%[true%]: expected a name" },
      { "return { groups = { ['a/b'] = fake } }", 'groups%["a/b"%]: expected a name without' },
      { "return { groups = { [''] = fake } }", "expected a name without" },
      { "return { groups = { a = { fake, name = 'b' } } }",
        'groups.a.name: the group is called "a" already' },
      { "return { groups = { a = { fake, retires = 1 } } }",
        'groups.a.retires: unknown key; did you mean "retries"' },
      { "return { groups = { a = { fake, retries = '2' } } }",
        'groups.a.retries: expected a whole number, 0 or more, got the string "2"' },
      { "return { groups = { a = { fake, schedule = 'batches' } } }",
        'groups.a.schedule: expected "batch" or "individual", got the string "batches"' },
      { "return { groups = { a = { fake, filters = 'x' } } }",
        "groups.a.filters: expected a list of strings" },
      { "return { groups = { a = { fake, filters = { 1 } } } }",
        "groups.a.filters%[1%]: expected a string" },
      { "return { groups = { a = fake }, framework = fake }",
        "framework: set either framework or groups" },
      { "return { framework = 'pytset' }",
        'framework: unknown framework "pytset"; did you mean "pytest"' },
      { "return { framework = here }", "framework: expected a framework.*got the provider here" },
      { "return { framework = '../x' }", "is no name for a framework" },
      { "return { framework = fake { path = {} } }",
        'framework: framework fake: option path: unknown option; did you mean "paths"%? '
          .. "%(.*runner.lua:2%)" },
    }
    for _, case in ipairs(bad) do
      it("refuses " .. case[1]:sub(8), function()
        assert.matches(case[2], refused(case[1]).message)
      end)
    end
  end)

  describe("providers", function()
    it("may be a name, a plug-in, a bound one, or a list of them", function()
      for source, expected in pairs({
        ['"local"'] = { "local" }, ["here"] = { "here" }, ["here {}"] = { "here" },
        ['{ "local", here, here { size = 1 } }'] = { "local", "here", "here" },
      }) do
        local list = {}
        for i, bound in ipairs(
          load("return { framework = fake, provider = " .. source .. " }").providers) do
          list[i] = bound.name
        end
        assert.are.same(expected, list)
      end
    end)

    local bad = {
      ["{}"] = "provider: an empty list",
      ["3"] = "provider: expected a provider.*got the number 3",
      ["fake {}"] = "provider: expected a provider.*got the framework fake",
      ['{ "local", fake }'] = "provider%[2%]: expected a provider",
      ['{ a = "local" }'] = "provider.a: expected a plain list",
      ['"lokal"'] = 'provider: unknown provider "lokal"; did you mean "local"',
      ["here { size = {} }"] = "provider: provider here: option size: expected a size",
    }
    for source, expected in pairs(bad) do
      it("are not " .. source, function()
        assert.matches(expected, problems("provider = " .. source)[1])
      end)
    end
  end)

  describe("refuses", function()
    local bad = {
      { "max_parallel = 0", "max_parallel: expected a whole number.*got the number 0" },
      { "max_parallel = 1.5", "got the number 1.5" },
      { "max_parallel = 100001", "up to 100000" },
      { "max_parallel = '4'", 'got the string "4"' },
      { "max_parallel = 0/0", "max_parallel: .*got NaN" },
      { "max_parallel = math.huge", "max_parallel: .*got the number inf" },
      { "test_timeout = 0", "test_timeout: expected a time above 0" },
      { "test_timeout = -1", "test_timeout: expected a time above 0.*got the number %-1" },
      { "test_timeout = 0/0", "got NaN" },
      { "test_timeout = '5 apples'", 'got the string "5 apples"' },
      { "test_timeout = '50d'", "at most 45 days" },
      { "test_timeout = true", "got true" },
      { "slow_timeout = 0", "slow_timeout: expected" },
      { "global_timeout = {}", "global_timeout: expected .* got an empty table" },
      { "grace = -1", "grace: expected a time" },
      { "grace = false", "grace: expected a time" },
      { "retries = -1", "retries: expected a whole number, 0 or more, got the number %-1" },
      { "retries = 0.5", "got the number 0.5" },
      { "fail_fast = 1", "fail_fast: expected true or false, got the number 1" },
      { "max_fail = 0", "max_fail: expected a whole number, 1 or more" },
      { "seed = 'x'", "seed: expected a whole number" },
      { "seed = 1e300", "seed: expected a whole number" },
      { "no_tests = 'ignore'",
        'no_tests: expected "pass" or "warn" or "fail", got the string "ignore"' },
      { "working_dir = 'nope'", "working_dir: there is no folder /.*/nope" },
      { "working_dir = 'runner.lua'", "working_dir: there is no folder" },
      { "working_dir = ''", 'working_dir: expected a path, got the string ""' },
      { "copy_dirs = 'a:b'", "copy_dirs: expected a list of strings" },
      { "copy_dirs = { 'a' }", 'copy_dirs%[1%]: expected LOCAL:REMOTE, got the string "a"' },
      { "copy_dirs = { ':a' }", "copy_dirs%[1%]: expected LOCAL:REMOTE" },
      { "copy_dirs = { 'nope:a' }", "copy_dirs%[1%]: there is no folder /.*/nope" },
      { "copy_dirs = { 'runner.lua:a' }", "copy_dirs%[1%]: .*runner.lua is not a folder" },
      { "copy_dirs = { '.:a/../../b' }", "leads out of the sandbox's folder" },
      { "env = 'A=1'", "env: expected a table of environment variables" },
      { "env = { A = true }", "env.A: expected a string" },
      { "env = { 'A=1' }", 'env%[1%]: expected NAME = "value"' },
      { "env = { A = 'a\\0b' }", "env.A: a value cannot hold a NUL byte" },
      { "report = 'out'", "report: expected a table" },
      { "report = { dir = 3 }", "report.dir: expected a path, got the number 3" },
      { "report = { junti = 'x' }", 'report.junti: unknown key; did you mean "junit"' },
      { "report = { junit = '../x' }", "report.junit: expected a path inside report.dir" },
      { "report = { junit = '/x' }", "report.junit: expected a path inside report.dir" },
      { "on = print", "on: expected a table, got a function" },
      { "on = { result = 'x' }", "on.result: expected a function" },
      { "on = { reslt = print }", 'on.reslt: unknown key; did you mean "result"' },
      { "retry = true", "retry: expected a function" },
      { "order = {}", "order: expected a function" },
      { "max_paralel = 4", 'max_paralel: unknown key; did you mean "max_parallel"' },
      { "timeout = 4", 'timeout: unknown key; did you mean "test_timeout"' },
      { "zzz = 4", "zzz: unknown key$" },
      { "'x'", "%[1%]: unknown key" },
    }
    for _, case in ipairs(bad) do
      it(case[1], function()
        local found = problems(case[1])
        assert.are.equal(1, #found, table.concat(found, "\n"))
        assert.matches(case[2], found[1])
      end)
    end
  end)

  it("reports all problems at once, with the file and each key", function()
    local e = refused(
      [[return { max_paralel = 1, retries = "2", env = { A = "${RUNNER_SPEC_NOT_SET}" },
      groups = { a = fake { path = 1 }, b = { fake, retries = -1 } }, provider = "lokal" }]])
    assert.are.equal(6, #e.context.problems)
    assert.matches("^/.*/runner.lua: 6 problems\n", e.message)
    for _, key in ipairs({ "max_paralel", "retries", "env.A", "groups.a", "groups.b.retries",
      "provider" }) do
      assert.matches("\n  " .. key .. ": ", e.message, 1, true)
    end
  end)

  describe("env", function()
    setup(function()
      uv.os_setenv("RUNNER_SPEC_SET", "s e t")
      uv.os_setenv("RUNNER_SPEC_EMPTY", "")
    end)
    teardown(function()
      uv.os_unsetenv("RUNNER_SPEC_SET")
      uv.os_unsetenv("RUNNER_SPEC_EMPTY")
    end)

    local good = {
      ["plain"] = "plain", [""] = "", ["${RUNNER_SPEC_SET}"] = "s e t",
      ["<${RUNNER_SPEC_SET}>"] = "<s e t>",
      ["${RUNNER_SPEC_SET}${RUNNER_SPEC_SET}"] = "s e ts e t", ["${RUNNER_SPEC_EMPTY}"] = "",
      ["${RUNNER_SPEC_EMPTY:-x}"] = "x", ["${RUNNER_SPEC_NOT:-x y}"] = "x y",
      ["${RUNNER_SPEC_NOT:-}"] = "",
      ["${RUNNER_SPEC_SET:-x}"] = "s e t", ["${RUNNER_SPEC_NOT:-${RUNNER_SPEC_SET}!}"] = "s e t!",
      ["${RUNNER_SPEC_NOT:-a$$b}"] = "a$b", ["$$"] = "$", ["$$100"] = "$100", ["$$$$"] = "$$",
      ["$${RUNNER_SPEC_SET}"] = "${RUNNER_SPEC_SET}", ["$HOME"] = "$HOME", ["5$"] = "5$",
      ["}"] = "}",
    }
    for text, expanded in pairs(good) do
      it(("expands %q"):format(text), function()
        local loaded = load(("return { framework = fake, env = { A = %q } }"):format(text))
        assert.are.same({ A = expanded }, loaded.env)
      end)
    end

    it("takes numbers, and false to unset", function()
      assert.are.same({ A = "1", B = "0.5", C = false },
        load("return { framework = fake, env = { A = 1, B = 0.5, C = false } }").env)
    end)

    local bad = {
      ["${RUNNER_SPEC_NOT}"] = "env.A: the environment variable RUNNER_SPEC_NOT is not set",
      ["${RUNNER_SPEC_NOT:-${RUNNER_SPEC_NOT_EITHER}}"] = "RUNNER_SPEC_NOT_EITHER is not set",
      ["${"] = "a ${ without its }", ["${RUNNER_SPEC_SET"] = "a ${ without its }",
      ["${}"] = "expected ${NAME}", ["${1}"] = "expected ${NAME}", ["${A-b}"] = "expected ${NAME}",
      ["${A:=b}"] = "expected ${NAME}",
    }
    for text, message in pairs(bad) do
      it(("refuses %q without showing it"):format(text), function()
        local found = problems(("env = { A = 'hunter2' .. %q }"):format(text))
        assert.matches(message, found[1], 1, true)
        assert.not_matches("hunter2", found[1])
      end)
    end
  end)
end)
