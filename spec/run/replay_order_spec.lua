--- `--replay-order`: tests start in the order of an earlier run, whatever their rules are.

local async = require("spec.support.async")
local cjson = require("cjson.safe")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

describe("--replay-order", function()
  after_each(project.remove_all)

  it("keeps the order across groups, mutexes and weights", async(function()
    local ids, lines = {}, {}
    for id in ("b4 a2 b1 b3 a1 a4 b2 a3"):gmatch("%w+") do
      local event = { event = "attempt_started", id = "true #" .. id, attempt = 1 }
      ids[#ids + 1], lines[#lines + 1] = event.id, cjson.encode(event)
    end
    local dir = project.new({ ["earlier.ndjson"] = table.concat(lines, "\n") .. "\n", ["runner.lua"] = [[
      local function group(name)
        local tests = {}
        for i = 1, 4 do tests[i] = ("true #%s%d"):format(name, i) end
        return { name = name, framework = require "frameworks.command" { tests = tests, run_command = "eval {tests}" } }
      end
      return {
        max_parallel = 1, groups = { group "a", group "b" }, overrides = {
          { filter = "test(~#a4)", weight = 2 }, { filter = "test(~#b3) | test(~#b4)", exclusive = { "m" } },
        },
      }]] })
    local result = runner(dir, "run", "--no-history", "--replay-order", "earlier.ndjson")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    local started = {}
    for i, event in ipairs(finished.events(dir, "attempt_started")) do started[i] = event.id end
    assert.are.same(ids, started)
  end))
end)
