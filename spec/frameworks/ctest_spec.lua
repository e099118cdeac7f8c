--- Whole runs over CTest builds: examples/ctest, random fixtures, and what only looks like ctest.

local async = require("spec.support.async")
local environment = require("frameworks.ctest.environment")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local CONFIG = [[
local ctest = require "frameworks.ctest"
return { max_parallel = %d, test_timeout = "30s", grace = "0.5s", retries = %d, framework = ctest { %s } }
]]

local function needs_ctest()
  if not example.has("cmake", "ctest") then
    pending("CMake is missing")
    return false
  end
  return true
end

local function run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return result, result.stdout .. result.stderr
end

local ENTITIES = { quot = '"', apos = "'", amp = "&", lt = "<", gt = ">" }

--- What `ctest --output-junit` reports of each test, with our ids.
local function reported(build, env)
  process.run({ "ctest", "-j2", "--output-junit", "report.xml" }, { cwd = build, env = env })
  local states, count = {}, {}
  local text = assert(project.read(build .. "/report.xml"))
  for name, status, rest in text:gmatch('<testcase name="([^"]*)"[^>]* status="(%l+)"[^>]*>(.-)</testcase>') do
    name = name:gsub("&(%l+);", ENTITIES)
    count[name] = (count[name] or 0) + 1
    if count[name] > 1 then name = ("%s#%d"):format(name, count[name]) end
    if status == "notrun" then status = rest:find('message="SKIP_', 1, true) and "skipped" or "fail" end
    states[name] = status
  end
  return states
end

local CTEST_STATUS = {
  passed = "run", failed = "fail", crashed = "fail", timed_out = "fail", skipped = "skipped", flaky = "fail",
}

--- A project of shell commands: `tests` is a list of { name, script, properties as CMake }.
local function new(tests, options, retries, parallel)
  local lines = { "cmake_minimum_required(VERSION 3.20)", "project(x NONE)", "enable_testing()" }
  for _, test in ipairs(tests) do
    lines[#lines + 1] = ("add_test(NAME [==[%s]==] COMMAND sh -c [==[%s]==])"):format(test[1], test[2])
    for property, value in pairs(test[3] or {}) do
      lines[#lines + 1] = ("set_property(TEST [==[%s]==] PROPERTY %s %s)"):format(test[1], property, value)
    end
  end
  return project.new({
    ["CMakeLists.txt"] = table.concat(lines, "\n"),
    ["runner.lua"] = CONFIG:format(parallel or 2, retries or 0, options or 'build_command = "cmake -S . -B build"'),
  })
end

--- A program that stands in for ctest.
local function fake(script, limit)
  local dir = project.new({
    ctest = "#!/bin/sh\n" .. script .. "\n", ["build/CTestTestfile.cmake"] = "",
    ["runner.lua"] = CONFIG:format(2, 0, 'ctest = "../ctest", list_timeout = "' .. (limit or "1s") .. '"'),
  })
  assert.are.equal(0, process.run({ "chmod", "+x", dir .. "/ctest" }).code)
  return dir
end

--- Checks what tests wrote into a log, "+ NAME" when they began and "- NAME" when they ended, against their properties.
local function check(seed, log, properties, setups, fixtures)
  local running, over, runs = {}, {}, {}
  for sign, name in log:gmatch("([-+]) (%S+)\n") do
    local one = properties[name]
    local where = ("seed %d: %s%s"):format(seed, sign, name)
    if sign == "+" then
      runs[name] = (runs[name] or 0) + 1
      for fixture in (one.FIXTURES_REQUIRED or ""):gmatch("%S+") do
        for _, setup in ipairs(setups[fixture]) do assert.is_true(over[setup], where .. " before " .. setup) end
      end
      if one.DEPENDS then assert.is_true(over[one.DEPENDS], where .. " before " .. one.DEPENDS) end
      if one.FIXTURES_CLEANUP then
        for other in pairs(running) do
          assert.is_nil((" " .. (properties[other].FIXTURES_REQUIRED or "") .. " ")
            :find(" " .. one.FIXTURES_CLEANUP .. " ", 1, true), where .. " while " .. other)
        end
      end
      running[name] = true
    else
      running[name], over[name] = nil, true
      if one.FIXTURES_CLEANUP then
        for _, setup in ipairs(setups[one.FIXTURES_CLEANUP]) do over[setup] = nil end
      end
    end
  end
  for name, count in pairs(runs) do
    if name:find("^test") then assert.are.equal(1, count, ("seed %d: %s"):format(seed, name)) end
  end
  for i, fixture in ipairs(fixtures) do
    if properties["cleanup" .. i] and over[setups[fixture][1]] then
      error(("seed %d: %s was not cleaned up"):format(seed, fixture))
    end
  end
end

describe("frameworks.ctest", function()
  after_each(project.remove_all)

  it("ends every test of the example as ctest reports it", async(function()
    if not needs_ctest() then return end
    local dir = example.copy("ctest")
    local expected = example.expected("ctest")
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(expected, finished.states(dir), text)
    assert.are.same({}, finished.events(dir, "problem"))

    local states = reported(dir .. "/build", { RUNNER_ATTEMPT = "1" })
    for id, state in pairs(expected) do
      local status = id == "is-disabled" and "disabled" or CTEST_STATUS[state]
      assert.are.equal(status, states[id], id)
      states[id] = nil
    end
    assert.are.same({}, states)

    assert.are.equal("said\nsaid on stderr\n", finished.output(dir, "passes"))
    assert.are.equal("last words", finished.output(dir, "crashes"))
    assert.are.equal("caf\xe9 \0 \xff\xfe \27[31mred", finished.output(dir, "odd-bytes"))
    assert.are.same({ "quick", "smoke" }, finished.find(dir, "test", { id = "labelled" }).tags)
    local attempt = finished.find(dir, "attempt_finished", { id = "needs-the-impossible" })
    assert.are.equal("not run: cannot-be-made, which sets up a fixture of this test, failed", attempt.message)
    attempt = finished.find(dir, "attempt_finished", { id = "is-skipped-by-code" })
    assert.are.equal("SKIP_RETURN_CODE=77", attempt.reason)

    result, text = run(dir, "-E", "tag(smoke)")
    assert.are.equal(0, result.code, text)
    assert.are.same({ labelled = "passed" }, finished.states(dir))
  end))

  it("works in sandboxes with folders of their own, with an agent and by plain commands", async(function()
    if not needs_ctest() then return end
    for _, agent in ipairs({ "true", "false" }) do
      local dir = project.new({
        ["create.sh"] = 'mkdir -p boxes; d=$(mktemp -d "$PWD/boxes/XXXXXX"); cp -R example/. "$d"; echo "$d"\n',
        ["exec.sh"] = 'cd "$1" && exec sh -c "$2"\n',
        ["runner.lua"] = ([[
          local settings = dofile("example/runner.lua")
          settings.provider = require "providers.command" {
            create_command = "sh create.sh", exec_command = "sh exec.sh {sandbox_id} {command}",
            destroy_command = "rm -rf {sandbox_id}", agent = %s,
          }
          return settings
        ]]):format(agent),
      })
      assert.are.equal(0, process.run({ "cp", "-R", example.copy("ctest"), dir .. "/example" }).code)
      local _, text = run(dir)
      assert.are.same(example.expected("ctest"), finished.states(dir), text)
      assert.are.same({}, finished.events(dir, "problem"))
    end
  end))

  it("judges combinations of properties as ctest does", async(function()
    if not needs_ctest() then return end
    local dir = new({
      { "signal, will fail", "kill -SEGV $$", { WILL_FAIL = "ON" } },
      { "signal, skip regex", "echo SKIP; kill -SEGV $$", { SKIP_REGULAR_EXPRESSION = "SKIP" } },
      { "pass regex missed, will fail", "echo no", { PASS_REGULAR_EXPRESSION = "y.s", WILL_FAIL = "ON" } },
      { "pass and fail regex", "echo error", { PASS_REGULAR_EXPRESSION = "err", FAIL_REGULAR_EXPRESSION = "err" } },
      { "fail regex, will fail", "echo error", { FAIL_REGULAR_EXPRESSION = "err", WILL_FAIL = "ON" } },
      { "skip and fail regex", "echo SKIP; exit 1",
        { SKIP_REGULAR_EXPRESSION = "SKIP", FAIL_REGULAR_EXPRESSION = "SKIP" } },
      { "skip code 0", "exit 0", { SKIP_RETURN_CODE = "0" } },
      { "skip code, will fail", "exit 77", { SKIP_RETURN_CODE = "77", WILL_FAIL = "ON" } },
      { "time out, will fail", "sleep 30", { TIMEOUT = "0.3", WILL_FAIL = "ON" } },
      { "no time limit", "sleep 0.1", { TIMEOUT = "0" } },
      { "invalid pass regex", "echo a", { PASS_REGULAR_EXPRESSION = '"a(b"' } },
      { "invalid fail regex", "echo a", { FAIL_REGULAR_EXPRESSION = '"*a"' } },
      { "regex over lines", "printf 'a\\nb\\n'; exit 1", { PASS_REGULAR_EXPRESSION = '"a.b.$"' } },
      { "regex on stderr", "echo oops >&2", { FAIL_REGULAR_EXPRESSION = "oops" } },
      { "regex after much", "head -c 30000000 /dev/zero | tr '\\0' x; echo the end",
        { PASS_REGULAR_EXPRESSION = '"end.$"' } },
      { "setup that is skipped", "exit 77", { FIXTURES_SETUP = "K", SKIP_RETURN_CODE = "77" } },
      { "user of a skipped setup", "true", { FIXTURES_REQUIRED = "K" } },
      { "disabled setup", "exit 1", { FIXTURES_SETUP = "D", DISABLED = "ON" } },
      { "user of a disabled setup", "true", { FIXTURES_REQUIRED = "D" } },
      { "user of a fixture that nobody makes", "true", { FIXTURES_REQUIRED = "Nobody" } },
    })
    local _, text = run(dir)
    local ours = finished.states(dir)
    local theirs = reported(dir .. "/build", {})
    for id, status in pairs(theirs) do
      if status == "disabled" then status = "skipped" end
      assert.are.equal(status, CTEST_STATUS[ours[id]], id .. "\n" .. text:sub(1, 3000))
      theirs[id], ours[id] = nil, nil
    end
    assert.are.same({}, ours)
  end))

  it("keeps what fixtures and DEPENDS promise, whatever they look like", async(function()
    if not needs_ctest() then return end
    local seed = os.time()
    math.randomseed(seed)
    local log = project.new() .. "/log"
    local tests, fixtures = {}, {}
    local function add(name, properties)
      tests[#tests + 1] = { name, ("echo + %s >> %s; sleep 0.00%d; echo - %s >> %s"):format(name, log, math.random(9),
        name, log), properties }
      return name
    end
    for i = 1, 6 do
      local name = "F" .. i
      fixtures[i] = name
      local needs = i > 1 and math.random(2) == 1 and fixtures[math.random(i - 1)]
      for k = 1, math.random(2) do
        add(("setup%d.%d"):format(i, k), { FIXTURES_SETUP = name, FIXTURES_REQUIRED = needs or nil,
          RUN_SERIAL = math.random(3) == 1 and "ON" or nil })
      end
      if math.random(3) > 1 then add("cleanup" .. i, { FIXTURES_CLEANUP = name }) end
    end
    for i = 1, 60 do
      local required = {}
      for k = 1, math.random(0, 2) do required[k] = fixtures[math.random(#fixtures)] end
      add("test" .. i, {
        FIXTURES_REQUIRED = required[1] and table.concat(required, " ") or nil,
        DEPENDS = i > 1 and math.random(4) == 1 and "test" .. math.random(i - 1) or nil,
        RESOURCE_LOCK = math.random(5) == 1 and "lock" or nil,
      })
    end
    local dir = new(tests, nil, 0, 4)
    local properties, setups = {}, {}
    for _, test in ipairs(tests) do
      properties[test[1]] = test[3]
      local made = test[3].FIXTURES_SETUP
      if made then
        setups[made] = setups[made] or {}
        table.insert(setups[made], test[1])
      end
    end
    for _, arguments in ipairs({ {}, { "--seed", tostring(seed) } }) do
      project.remove(log)
      local result, text = run(dir, table.unpack(arguments))
      assert.are.equal(0, result.code, "seed " .. seed .. "\n" .. text)
      check(seed, assert(project.read(log)), properties, setups, fixtures)
    end
  end))

  it("runs a set-up that was not selected, and cleans up at the end", async(function()
    if not needs_ctest() then return end
    local dir = new({
      { "make", "echo made >> log", { FIXTURES_SETUP = "F" } },
      { "use", "echo used >> log", { FIXTURES_REQUIRED = "F" } },
      { "remove", "echo removed >> log; echo cannot; exit 3", { FIXTURES_CLEANUP = "F" } },
      { "other", "true" },
    })
    local result, text = run(dir, "use")
    assert.are.equal(1, result.code, text)
    assert.are.same({ use = "passed" }, finished.states(dir))
    assert.are.equal("made\nused\nremoved\n", project.read(dir .. "/build/log"))
    local problem = finished.find(dir, "problem")
    assert.are.same({ "teardown", "remove", "the clean-up remove failed: exit status 3", "cannot\n" },
      { problem.kind, problem.id, problem.message, problem.text })

    project.remove(dir .. "/build/log")
    result, text = run(dir, "other")
    assert.are.equal(0, result.code, text)
    assert.is_nil(project.read(dir .. "/build/log"))
  end))

  it("tries a set-up that failed again, and then those that wait for it", async(function()
    if not needs_ctest() then return end
    local dir = new({
      { "make", "test $RUNNER_ATTEMPT = 2", { FIXTURES_SETUP = "F" } },
      { "use", "true", { FIXTURES_REQUIRED = "F" } },
    }, nil, 2)
    local result, text = run(dir)
    assert.are.equal(2, result.code, text)
    local states = finished.states(dir)
    for id, state in pairs(states) do assert.is_true(state == "flaky" or state == "passed", id .. " " .. state) end
  end))

  it("stops while a set-up runs", async(function()
    if not needs_ctest() then return end
    local dir = new({
      { "make", "sleep 600", { FIXTURES_SETUP = "F", TIMEOUT = "0.5" } },
      { "use", "true", { FIXTURES_REQUIRED = "F" } },
    }, nil, 0, 1)
    local result, text = run(dir, "use")
    assert.are.equal(1, result.code, text)
    assert.are.same({ use = "failed" }, finished.states(dir))

    dir = new({
      { "make", "echo $$ > ../pid; sleep 600", { FIXTURES_SETUP = "F" } },
      { "use", "true", { FIXTURES_REQUIRED = "F" } },
    })
    result, text = run(dir, "use", "--global-timeout", "2s")
    assert.are.equal(1, result.code, text)
    assert.are.same({ use = "not_run" }, finished.states(dir))
    local pid = tonumber(project.read(dir .. "/pid"))
    assert.are_not.equal(0, require("luv").kill(pid, 0))
  end))

  it("fails with the reason when the tests cannot be listed", async(function()
    if not needs_ctest() then return end
    local function refused(dir, words)
      local result, text = run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches(words, text, 1, true)
    end
    refused(fake("echo no tests; exit 0"), "printed no list of tests")
    refused(fake("echo broken >&2; exit 8"), "broken")
    refused(fake("exec sleep 60"), "did not end in time")
    refused(fake("head -c 300000000 /dev/zero", "1m"), "printed too much")
    refused(fake([[echo '{"kind":"ctestInfo","tests":[]}'; rm CTestTestfile.cmake]]), "has no CTestTestfile.cmake")
    refused(project.new({ ["runner.lua"] = CONFIG:format(2, 0, 'build_dir = "out"') }), "out")
    local dir = fake([[printf 'complaint\n{\n"tests":[{"name":"a","command":["true"]},{}]}']])
    local result, text = run(dir)
    assert.matches("ctest: complaint", text, 1, true)
    assert.are.equal(1, result.code, text)
  end))

  it("shows a configuration that fails whole, and runs nothing", async(function()
    if not needs_ctest() then return end
    local dir = new({ { "a", "true", { NO = "(" } } })
    local result, text = run(dir)
    assert.are.equal(1, result.code, text)
    assert.matches("CMake Error", finished.find(dir, "problem").text)
    assert.are.same({}, finished.states(dir))
  end))

  it("says how to mend it where the build or ctest is missing", async(function()
    for options, message in pairs({
      [""] = "/build: configure the project (cmake -B build), or set build_dir or build_command",
      ['build_dir = "out/x"'] = "/out/x: configure the project (cmake -B out/x), or set build_dir",
      ['build_dir = ".", ctest = "no-such-ctest"'] = "): install CMake, or set ctest = ",
    }) do
      local result, text = run(project.new({ ["runner.lua"] = CONFIG:format(2, 0, options) }))
      assert.are.equal(78, result.code, text)
      assert.matches(message, text, 1, true)
      assert.is_nil(text:find("chdir", 1, true))
    end
  end))

  it("modifies the environment as ctest does", function()
    local base = { PATH = "/bin", EMPTY = "" }
    local env = environment.of({
      env = { "A=1", "PATHS=x" },
      modifications = {
        "PATH=path_list_prepend:/first", "PATH=path_list_append:/last", "PATHS=cmake_list_append:y",
        "A=string_append:2", "NEW=path_list_append:z", "EMPTY=path_list_append:e", "GONE=unset:", "BACK=set:1",
        "BACK=reset:", "S=set:a:b=c",
      },
    }, base)
    env.CTEST_INTERACTIVE_DEBUG_MODE = nil
    assert.are.same({
      PATH = "/first:/bin:/last", PATHS = "x;y", A = "12", NEW = "z", EMPTY = "e", GONE = false, S = "a:b=c",
    }, env)
    assert.is_true(environment.needs_base({ "A=set:1", "P=path_list_append:x" }))
    assert.is_false(environment.needs_base({ "A=set:1" }))
  end)
end)
