--- Logs that others wrote stay readable: those of runner 0.1.0, damaged ones, and those of versions to come. No reader
--- of a log ends with exit code 70 for what stands in it.

local uv = require("luv")
local cjson = require("cjson")
local async = require("spec.support.async")
local process = require("runner.io.process")
local project = require("spec.support.project")
local schema = require("runner.results.event_schema")

local function lines_of(name)
  local lines = {}
  for line in assert(project.read("spec/support/logs/" .. name)):gmatch("[^\n]+") do lines[#lines + 1] = line end
  return lines
end

local function results(lines)
  return project.new({ [".runner-results"] = "", ["events.ndjson"] = table.concat(lines, "\n") .. "\n" })
end

local function runner(...)
  local result = process.run({ uv.exepath(), ... })
  return result.code, result.stdout .. result.stderr
end

local READERS = {
  { "report", "--trace", "-v" }, { "logs", "--output-dir" }, { "logs", "--failures", "--output-dir" },
  { "logs", "--errors", "--output-dir" }, { "simulate" }, { "simulate", "-p", "1,3" },
}

--- Runs every reader over the log; what ended as an internal error.
local function mistakes(lines)
  local dir = results(lines)
  local found = {}
  for _, words in ipairs(READERS) do
    local argv = table.move(words, 1, #words, 1, {})
    argv[#argv + 1] = dir
    local code, printed = runner(table.unpack(argv))
    if code == 70 or code > 128 or printed:find("report failed", 1, true) then
      found[#found + 1] = ("%s: %d\n%s"):format(table.concat(words, " "), code, printed)
    end
  end
  return found
end

describe("the event log of 0.1.0", function()
  after_each(project.remove_all)

  for name, expected in pairs({
    ["pytest-0.1.0.ndjson"] = { "9 tests run: 6 passed %(1 flaky, 1 leaky%), 1 timed out, 1 crashed, 1 quarantined, "
      .. "2 skipped, 1 problem", 15 },
    ["command-0.1.0.ndjson"] = { "11 tests run: 7 passed %(1 leaky%), 3 failed, 1 crashed, 1 problem", 11 },
  }) do
    local summary, attempts = expected[1], expected[2]

    it("is as documented, in " .. name, function()
      for i, line in ipairs(lines_of(name)) do
        assert.is_nil(schema.problem(cjson.decode(line)), ("line %d"):format(i))
      end
    end)

    it("makes the same summary and report, from " .. name, async(function()
      local dir = results(lines_of(name))
      local code, printed = runner("report", dir, "--trace")
      assert.are.equal(0, code, printed)
      assert.matches(summary, printed)
      local junit = project.read(dir .. "/junit.xml")
      assert.matches('<testsuites name="runner" tests="12"', junit)
      local slices = 0
      for _, entry in ipairs(cjson.decode(project.read(dir .. "/trace.json"))) do
        if entry.ph == "X" and entry.args and entry.args.test then slices = slices + 1 end
      end
      assert.are.equal(attempts, slices)
    end))

    it("can be simulated, from " .. name, async(function()
      local code, printed = runner("simulate", results(lines_of(name)), "-p", "1,4")
      assert.are.equal(0, code, printed)
      assert.matches("parallel +sandboxes", printed)
    end))
  end
end)

describe("a damaged event log", function()
  after_each(project.remove_all)

  local VALUES = {
    cjson.null, true, -1, 0.5, 1e300, 2 ^ 53, "", "x", "../../x", "\27[2J", { }, { 5 }, { a = 1 }, { { } },
    { { pid = "x" } }, { head = 5 }, { "a", "b", "c" },
  }

  --- Changes some fields of some lines, drops lines, doubles them.
  local function damage(lines)
    local out = {}
    for _, line in ipairs(lines) do
      local event = cjson.decode(line)
      local names = {}
      for key in pairs(event) do names[#names + 1] = key end
      table.sort(names)
      if math.random() < 0.3 then event[names[math.random(#names)]] = VALUES[math.random(#VALUES)] end
      if math.random() < 0.1 then event[names[math.random(#names)]] = nil end
      if math.random() < 0.02 then event.event = "of_a_version_to_come" end
      if math.random() < 0.95 then out[#out + 1] = cjson.encode(event) end
      if math.random() < 0.03 then out[#out + 1] = cjson.encode(event) end
      if math.random() < 0.02 then out[#out + 1] = line:sub(1, math.random(#line)) end
    end
    return out
  end

  for _, name in ipairs({ "pytest-0.1.0.ndjson", "command-0.1.0.ndjson" }) do
    it("is no mistake of runner, whatever fields are missing or of another type: " .. name, async(function()
      local seed = math.tointeger(tonumber(os.getenv("RUNNER_SPEC_SEED"))) or os.time()
      for i = seed, seed + 4 do
        math.randomseed(i)
        assert.are.same({}, mistakes(damage(lines_of(name))), ("RUNNER_SPEC_SEED=%d"):format(i))
      end
    end))
  end

  it("counts a test whose end says no status as not run", async(function()
    local code, printed = runner("report", results({
      '{"event":"run_started","time":1,"run":"r"}', '{"event":"test","id":"a","group":"g","time":1}',
      '{"event":"test_finished","id":"a","time":2}',
    }))
    assert.are.equal(0, code, printed)
    assert.matches("1 not run", printed)
  end))
end)
