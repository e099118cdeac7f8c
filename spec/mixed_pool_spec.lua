--- One queue over sandboxes of several providers.

local cjson = require("cjson.safe")
local async = require("spec.support.async")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

--- A provider of the user's own that runs its sandboxes here, like "local", but through an agent that is brought along.
local SECOND = [[
  return require("runner.plugin").provider {
    name = "second", api = 1,
    open = function(_, ctx)
      return {
        cwd = ctx.dir, sees_project = true,
        connect = function(argv) return ctx.process.stream(argv) end,
        close = function() end,
      }
    end,
  }
]]

--- Providers that ran each group, by the attempts' sandboxes.
local function providers_of(dir)
  local group_of, used = {}, {}
  for line in io.lines(dir .. "/test-results/events.ndjson") do
    local event = assert(cjson.decode(line))
    if event.event == "test" then
      group_of[event.id] = event.group
    elseif event.event == "attempt_finished" then
      local group = group_of[event.id]
      used[group] = used[group] or {}
      used[group][event.sandbox:match("^%a+")] = true
    end
  end
  return used
end

describe("a pool of several providers", function()
  after_each(project.remove_all)

  it("serves one queue, and groups stay where they say", async(function()
    local dir = project.new({
      [".runner/providers/second.lua"] = SECOND,
      ["runner.lua"] = [[
        local command = require "frameworks.command"
        local function tests(word)
          return command { discover_command = "for i in $(seq 30); do echo " .. word .. " $i; done",
            run_command = "sleep 0.05; echo {tests}" }
        end
        return {
          provider = { "local", "second" }, max_parallel = 4,
          groups = {
            anywhere = tests("anywhere"),
            here = { tests("here"), only_on = { "local" } },
            there = { tests("there"), only_on = { "second" } },
          },
        }
      ]],
    })
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    local used = providers_of(dir)
    assert.are.same({ ["local"] = true }, used.here)
    assert.are.same({ second = true }, used.there)
    assert.is_truthy(next(used.anywhere))
  end))

  it("ends with exit 3 when a group's provider has no sandbox", async(function()
    local dir = project.new({
      [".runner/providers/second.lua"] = SECOND:gsub("return {\n", "error('no machine today')\n      return {", 1),
      ["runner.lua"] = [[
        local command = require "frameworks.command"
        return {
          provider = { "local", "second" }, max_parallel = 2,
          groups = {
            here = command { tests = { "a" }, run_command = "true" },
            there = { command { tests = { "b" }, run_command = "true" }, only_on = { "second" } },
          },
        }
      ]],
    })
    local result = runner(dir, "run")
    assert.are.equal(3, result.code, result.stdout .. result.stderr)
    assert.matches("no machine today", result.stdout .. result.stderr)
    assert.matches("1 passed", result.stdout)
  end))
end)
