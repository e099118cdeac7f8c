--- Whole runs over sandboxes that refuse, hang, lie and die. Each must end, with every test in exactly one state, and
--- that state must be one which the test can truly have.

local uv = require("luv")
local command = require("frameworks.command")
local async = require("spec.support.async")
local fake = require("spec.support.fake_provider")
local runs = require("runner.run")
local task = require("runner.base.task")

local RUNS = tonumber(os.getenv("RUNNER_CHAOS_RUNS")) or 2000
local SEED = tonumber(os.getenv("RUNNER_CHAOS_SEED")) or 20260704 -- fixed: a failure in CI can be repeated anywhere

local AT_ONCE = 8 -- most of a run is waiting

--- What may become of each kind of test, given enough retries or none. Any may stay without a sandbox.
local function possible(kind, retries)
  if kind == "pass" then return { passed = true } end
  -- A first attempt that was lost with its sandbox is nobody's failure: the second then passes plainly. A retry that
  -- never got a sandbox leaves the failure.
  if kind == "flaky" then return { passed = true, failed = true, flaky = retries > 0 } end
  return ({ fail = { failed = true }, crash = { crashed = true }, hang = { timed_out = true } })[kind]
end

--- Settings as config.load would make them.
local function settings(random, provider, tests, retries)
  local group = {
    name = "chaos", framework = command({ tests = tests, run_command = { "{tests}" } }),
    retries = retries, schedule = random(4) == 1 and "individual" or "batch", test_timeout = 0.3,
  }
  return {
    path = "/runner.lua", dir = "/", working_dir = "/", max_parallel = random(6), max_parallel_given = true,
    grace = 0.01, retries = retries, no_tests = "fail", env = {}, copy_dirs = {}, providers = { provider },
    groups = { group }, report = {}, on = {}, ping = 0.05, connect_timeout = 0.2, open_delay = 0.001,
    max_fail = random(10) == 1 and random(3) or nil, sync = false,
  }
end

local function one_run(seed)
  local state = seed
  local function rng() -- xorshift64*: the same schedule of faults on every machine
    state = state ~ (state >> 12)
    state = state ~ (state << 25)
    state = state ~ (state >> 27)
    return ((state * 0x2545F4914F6CDD1D) >> 11) / (1 << 53)
  end
  local function random(n) return math.floor(rng() * n) + 1 end

  local kinds = { "pass", "pass", "pass", "pass", "fail", "crash", "flaky" }
  if random(40) == 1 then kinds[#kinds + 1] = "hang" end
  local tests = {}
  for i = 1, random(25) do tests[i] = kinds[random(#kinds)] end
  local function maybe(most) return random(3) == 1 and rng() * most or 0 end
  local faults = {
    refuse = maybe(0.5), drop = maybe(0.05), truncate = maybe(0.05), garbage = maybe(0.03), duplicate = maybe(0.3),
    mute = random(10) == 1 and maybe(0.02), latency = maybe(0.003),
  }
  local retries = random(3) - 1
  local config = settings(random, fake.new(faults, rng, random(3)), tests, retries)

  local known, states, finished = {}, {}, nil
  local run = runs.new({
    id = "chaos", settings = config,
    bus = { emit = function(_, event)
      if event.event == "test" then
        known[event.id] = event.name
      elseif event.event == "test_finished" then
        assert(not states[event.id], "two states: " .. event.id)
        states[event.id] = event.status
      elseif event.event == "run_finished" then
        finished = event
      end
    end },
  })
  local in_time, code = task.deadline(20, function() return run:execute() end)
  assert(in_time, "the run did not end")
  assert(finished and finished.exit_code == code, "no end of the run was told")
  for id, kind in pairs(known) do
    local status = assert(states[id], "no state: " .. id)
    local allowed = possible(kind, retries)
    assert(status == "not_run" or allowed[status], ("%s ended as %s"):format(id, status))
  end
  if code == 0 then
    for id, status in pairs(states) do assert(status == "passed", id .. " is green but " .. status) end
  end
end

describe("a run over broken sandboxes", function()
  it("stops a test that was on its way when the run was interrupted", async(function()
    local run
    local provider = fake.new({ on_spawn = function() run:interrupt("sigint") end }, math.random, 1)
    local config = settings(function() return 2 end, provider, { "hang" }, 0)
    config.groups[1].test_timeout = nil
    local states = {}
    run = runs.new({ id = "stop", settings = config, bus = { emit = function(_, event)
      if event.event == "test_finished" then states[event.id] = event.status end
    end } })
    local started = uv.hrtime()
    local _, code = task.deadline(10, function() return run:execute() end)
    assert.is_true(uv.hrtime() - started < 9e9, "nobody stopped it")
    assert.are.equal(130, code)
    assert.are.same({ hang = "not_run" }, states)
  end))

  it(("ends with every test in exactly one true state, %d times"):format(RUNS), async(function()
    local last = 0
    task.scope(function(scope)
      for _ = 1, AT_ONCE do
        scope:spawn(function()
          while last < RUNS do
            last = last + 1
            local i = last
            local ok, err = pcall(one_run, SEED + i)
            if not ok then
              error(("run %d (RUNNER_CHAOS_SEED=%d RUNNER_CHAOS_RUNS=%d): %s\n%s")
                :format(i, SEED, i, tostring(err), type(err) == "table" and err.traceback or ""), 0)
            end
          end
        end)
      end
    end)
  end))
end)
