--- Whole runs over real RSpec suites: examples/rspec, and some that are broken.

local cjson = require("cjson.safe")
local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

local find = finished.find

local function needs_rspec()
  if example.has("rspec") then return true end
  pending("rspec is missing")
  return false
end

local function new(files, options, settings)
  files["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 2
    settings.framework = require "frameworks.rspec" { %s }
    return settings
  ]]):format(settings or "{}", options or "")
  return project.new(files)
end

local function run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return finished.states(dir), result.code, result.stdout .. result.stderr
end

--- What RSpec's own JSON formatter says of some examples: full description and place → status; nil: they hang.
local function reported(dir, argument)
  local result
  local ended = task.deadline(4, function()
    result = process.run({ "rspec", "--format", "json", "--out", "report.json", "--order", "defined", argument },
      { cwd = dir })
  end)
  if not ended then return nil end
  local report = cjson.decode(project.read(dir .. "/report.json") or "")
  project.remove(dir .. "/report.json")
  return report, result
end

describe("rspec", function()
  after_each(project.remove_all)

  it("runs examples/rspec as RSpec itself does, test by test", async(function()
    if not needs_rspec() then return end
    local dir, expected = example.copy("rspec"), example.expected("rspec")
    local states, code, text = run(dir)
    assert.are.same(expected, states, text)
    assert.are.equal(1, code)

    -- The first attempt of each, beside what RSpec says of it.
    local first, ids = {}, {}
    for _, event in ipairs(finished.events(dir, "attempt_finished")) do
      if event.attempt == 1 then first[event.id] = event.status end
    end
    local seen = {}
    for _, file in ipairs({ "spec/cart_spec.rb", "spec/names_spec.rb" }) do
      for _, one in ipairs(reported(dir, file).examples) do
        local id = file .. " > " .. one.full_description
        seen[id] = (seen[id] or 0) + 1
        if seen[id] > 1 then id = id .. "#" .. seen[id] end
        local status = one.status == "pending" and "skipped" or one.status
        ids[#ids + 1] = id
        -- Those without a description have one that RSpec makes up when they have run.
        if first[id] then assert.are.equal(status, first[id], id) else assert.are.equal("passed", status) end
      end
    end
    assert.are.equal(24, #ids)
    -- Where the process dies, RSpec has no report, or one without a status; where it hangs, it does, too.
    for _, one in ipairs(reported(dir, "spec/ends_spec.rb[1:1,1:6]").examples) do
      assert.are.equal("passed", one.status)
    end
    for place, ends in pairs({ ["1:2"] = true, ["1:3"] = true, ["1:4"] = true, ["1:5"] = false }) do
      local own, ended = reported(dir, ("spec/ends_spec.rb[%s]"):format(place))
      assert.are.equal(ends, ended ~= nil, place)
      assert.are.equal("", own and own.examples[1].status or "", place)
    end

    local latin = "spec/names_spec.rb > output in Latin-1, with a NUL"
    assert.are.equal("caf\xE9 \0 end\non stderr\n", finished.output(dir, latin))
    assert.are.equal("from a program\n", finished.output(dir, "spec/names_spec.rb > output of a program"))
    assert.are.equal("waiting\n", finished.output(dir, "spec/ends_spec.rb > a process hangs"))
    local failed = find(dir, "attempt_finished", { id = "spec/cart_spec.rb > Cart gives a discount" })
    assert.are.equal("RSpec::Expectations::ExpectationNotMetError", failed.type)
    assert.matches("^expected: 9", failed.message)
    assert.matches("Failure/Error: expect%(Cart.new.add%(10%).total%).to eq 9", failed.trace)
    assert.matches("# ./spec/cart_spec.rb:%d+", failed.trace)
    local pending_one = find(dir, "attempt_finished", { id = "spec/cart_spec.rb > Cart rounds" })
    assert.are.same({ true, "nobody has decided how" }, { pending_one.xfail, pending_one.reason })
    assert.are.equal("spec/cart_spec.rb", find(dir, "test", { id = "spec/cart_spec.rb > Cart adds prices" }).file)
    assert.is_nil(find(dir, "problem"))
  end))

  it("runs many examples in one process, or each in its own", async(function()
    if not needs_rspec() then return end
    local spec = "RSpec.describe('a') { 12.times { |i| it(\"n#{i}\") { "
      .. "File.write('pids', \"#{$$}\\n\", mode: 'a') } } }"
    for isolation, most in pairs({ batch = 8, test = 12 }) do
      local dir = new({ ["spec/a_spec.rb"] = spec }, ("isolation = %q"):format(isolation), "{ max_parallel = 1 }")
      local _, code, text = run(dir)
      assert.are.equal(0, code, text)
      local pids, count = {}, 0
      for pid in project.read(dir .. "/pids"):gmatch("%d+") do
        count = count + (pids[pid] and 0 or 1)
        pids[pid] = true
      end
      assert.is_true(isolation == "test" and count == most or isolation == "batch" and count < most, count)
    end
  end))

  it("knows examples again although lines have moved", async(function()
    if not needs_rspec() then return end
    local dir = new({ ["spec/a_spec.rb"] = "RSpec.describe('a') { it('x') {}; it {} }\n" })
    local before = run(dir)
    project.write(dir, { ["spec/a_spec.rb"] = "\n\n\nRSpec.describe('a') { it('new') {}; it('x') {}; it {} }\n" })
    local after = run(dir)
    after["spec/a_spec.rb > a new"] = nil
    assert.are.same(before, after)
    assert.are.same({ ["spec/a_spec.rb > a x"] = "passed", ["spec/a_spec.rb > a (example 1)"] = "passed" }, before)
  end))

  it("reports files that cannot be loaded, whole, and runs the others", async(function()
    if not needs_rspec() then return end
    local dir = new({
      ["spec/a_spec.rb"] = "RSpec.describe('a') { it('x') {} }\n",
      ["spec/missing_spec.rb"] = "require 'no_such_thing'\n", ["spec/syntax_spec.rb"] = "RSpec.describe('b') { it {\n",
      ["spec/raise_spec.rb"] = "RSpec.describe('c') { raise 'while it is described' }\n",
    }, nil, "{ retries = 2 }")
    local states, code, text = run(dir)
    assert.are.same({ ["spec/a_spec.rb > a x"] = "passed" }, states)
    assert.are.equal(1, code)
    local problems = finished.events(dir, "problem")
    assert.are.equal(3, #problems)
    for i, file in ipairs({ "spec/missing_spec.rb", "spec/raise_spec.rb", "spec/syntax_spec.rb" }) do
      assert.are.same({ "collection", file }, { problems[i].kind, problems[i].id })
    end
    assert.matches("cannot load such file %-%- no_such_thing", problems[1].message)
    assert.matches("# ./spec/raise_spec.rb:1", problems[2].text)
    assert.matches("spec/missing_spec.rb", text)
  end))

  it("fails what a hook of the suite keeps from running, at once, and reports one that fails at the end",
    async(function()
      if not needs_rspec() then return end
      local spec = "RSpec.describe('a') { 5.times { |i| it(\"n#{i}\") {} } }\n"
      local dir = new({ ["spec/a_spec.rb"] = spec,
        [".rspec"] = "--require ./spec/helper\n",
        ["spec/helper.rb"] = "File.write('loads', 'x', mode: 'a')\n"
          .. "RSpec.configure { |c| c.before(:suite) { raise 'no database' } }\n" }, nil, "{ max_parallel = 1 }")
      local states, code = run(dir)
      assert.are.equal(1, code)
      for _, state in pairs(states) do assert.are.equal("failed", state) end
      local attempt = find(dir, "attempt_finished")
      assert.matches("before%(:suite%).*no database", attempt.message)
      assert.is_true(#project.read(dir .. "/loads") <= 5)
      dir = new({ ["spec/a_spec.rb"] = spec,
        ["spec/b_spec.rb"] = "RSpec.describe('b') { after(:all) { raise 'too late' }; it('x') {} }\n" })
      states, code = run(dir)
      assert.are.equal(1, code)
      for _, state in pairs(states) do assert.are.equal("passed", state) end
      local problem = find(dir, "problem")
      assert.are.equal("teardown", problem.kind)
      assert.matches("after%(:context%).*too late", problem.message)
    end))

  it("tells of a process that ends badly although all passed", async(function()
    if not needs_rspec() then return end
    local dir = new({ ["spec/a_spec.rb"] = "at_exit { exit 7 }\nRSpec.describe('a') { it('x') {} }\n" })
    local _, code = run(dir)
    assert.are.equal(1, code)
    assert.matches("ended badly %(exit status 7%) although no test failed", find(dir, "problem").message)
  end))

  it("ends a file that hangs while it is loaded, or after its last example", async(function()
    if not needs_rspec() then return end
    local dir = new({
      ["spec/a_spec.rb"] = "sleep if ENV['RUNNER_ATTEMPT']\nRSpec.describe('a') { it('x') {}; it('y') {} }\n",
      ["spec/b_spec.rb"] = "RSpec.describe('b') { it('x') {}; after(:all) { sleep } }\n",
    }, nil, "{ test_timeout = 1, grace = 0.3, max_parallel = 1 }")
    local states, code, text = run(dir)
    assert.are.same({ ["spec/a_spec.rb > a x"] = "timed_out", ["spec/a_spec.rb > a y"] = "timed_out",
      ["spec/b_spec.rb > b x"] = "passed" }, states, text)
    assert.are.equal(1, code)
    -- It is ended by whoever loses patience first: the worker, or the core that closes it.
    assert.matches("^.* did not .* 1 s", find(dir, "problem", { kind = "teardown" }).message)
  end))

  it("keeps to its project's filters, and to names that are given", async(function()
    if not needs_rspec() then return end
    local dir = new({ [".rspec"] = "--tag ~slow\n", ["spec/a_spec.rb"] = [[
RSpec.describe("a", :db) { it("x", speed: :fast) {}; it("y", :slow) {}; it("z") { raise } }
]] })
    local states = run(dir)
    assert.are.same({ ["spec/a_spec.rb > a x"] = "passed", ["spec/a_spec.rb > a z"] = "failed" }, states)
    local tags = find(dir, "test", { id = "spec/a_spec.rb > a x" }).tags
    table.sort(tags)
    assert.are.same({ "db", "speed:fast" }, tags)
    local _, code = run(dir, "-E", "tag(speed:fast)")
    assert.are.equal(0, code)
  end))

  it("runs where only plain commands do", async(function()
    if not needs_rspec() then return end
    for _, provider in ipairs({
      [[require "providers.remote" { execute_command = "./exec.sh" }]],
      [[require "providers.command" { agent = false, create_command = "echo one", exec_command = "./exec.sh {command}",
        destroy_command = "true" }]],
    }) do
      local dir = new({ ["exec.sh"] = "#!/bin/sh\nexec sh -c \"$1\" </dev/null\n", ["spec/a_spec.rb"] = [[
RSpec.describe("a b") { it("x") { puts "out" }; it("y") { raise "no" }; it("z") { exit!(3) }; it("last") {} }
]] }, nil, ("{ provider = %s, sync = false }"):format(provider))
      require("luv").fs_chmod(dir .. "/exec.sh", 493)
      local states, code, text = run(dir)
      assert.are.same({ ["spec/a_spec.rb > a b x"] = "passed", ["spec/a_spec.rb > a b y"] = "failed",
        ["spec/a_spec.rb > a b z"] = "crashed", ["spec/a_spec.rb > a b last"] = "passed" }, states, text)
      assert.are.equal(1, code)
      assert.are.equal("out\n", finished.output(dir, "spec/a_spec.rb > a b x"))
    end
    local left = process.run({ "/bin/sh", "-c", "ls -d /tmp/runner-????????????????/runner_rspec.rb" })
    assert.are.equal("", left.stdout)
  end))

  it("says what is wrong with how it is set up", async(function()
    if not needs_rspec() then return end
    local files = { ["spec/a_spec.rb"] = "RSpec.describe('a') { it('x') {} }\n" }
    for options, message in pairs({
      ['command = "no-such-rspec"'] = "cannot run no-such-rspec (exit status 127)",
      ['command = { "no-such-rspec" }'] = "cannot run no-such-rspec (",
      ['args = { "--no-such-option" }'] = "does not accept how it is called",
      ['isolation = "none"'] = '"batch" or "test"',
    }) do
      local result = runner(new(files, options), "run")
      assert.are.equal(78, result.code, options .. result.stdout .. result.stderr)
      assert.is_truthy((result.stdout .. result.stderr):find(message, 1, true), result.stdout .. result.stderr)
    end
    local dir = new({ [".rspec"] = "--require ./spec/no_helper\n", ["spec/a_spec.rb"] = files["spec/a_spec.rb"] })
    local _, code = run(dir)
    assert.are.equal(1, code)
    assert.matches("no_helper", find(dir, "problem").text)
  end))
end)
