--- One queue over sandboxes of several providers.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

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

--- One whose sandboxes can never be opened.
local ABSENT = [[
  return require("runner.plugin").provider {
    name = "absent", api = 1,
    open = function() require("runner.base.errors").raise("provider", "not today", { permanent = true }) end,
  }
]]

--- Providers that ran each group, by the attempts' sandboxes.
local function providers_of(dir)
  local group_of, used = {}, {}
  for _, event in ipairs(finished.events(dir)) do
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

  --- Runs tests of groups that must stay on one provider each, with few slots.
  local function run_few(groups, ...)
    local dir = project.new({
      [".runner/providers/second.lua"] = SECOND,
      [".runner/providers/absent.lua"] = ABSENT,
      ["runner.lua"] = ([[
        local command = require "frameworks.command"
        local function tests(...) return command { tests = { ... }, run_command = "eval {tests}" } end
        return { provider = { "local", "second"%s }, %s }
      ]]):format(groups:find("absent") and ', "absent"' or "", groups),
    })
    local pid, done = runner.start(dir, "run", ...)
    local exit
    if not task.deadline(20, function() exit = done:wait() end) then
      require("luv").kill(pid, "sigkill")
      error("it hangs: " .. (project.read(dir .. "/printed") or ""))
    end
    return dir, exit.code
  end

  it("gives its only slot to the provider that the tests need", async(function()
    local groups = [[groups = {
      there = { tests("true 1", "true 2"), only_on = { "second" } },
      here = { tests("true 3"), only_on = { "local" }, exclusive = true } }]]
    local dir, code = run_few(groups, "-j", "1")
    assert.are.equal(0, code)
    assert.are.same({ here = { ["local"] = true }, there = { second = true } }, providers_of(dir))
    assert.are.equal(0, select(2, run_few(groups, "-j", "4", "true 1")))
  end))

  it("gives up tests whose provider is not there, and no others", async(function()
    local dir, code = run_few([[groups = { one = { tests("true 1", "true 2", "true 3"), only_on = { "absent" } } },
      overrides = { { filter = "test(=true 2)", only_on = { "second" } } }]])
    assert.are.equal(3, code)
    assert.are.same({ ["true 1"] = "not_run", ["true 2"] = "passed", ["true 3"] = "not_run" }, finished.states(dir))
    dir, code = run_few([[framework = tests("true 1", "true 2"),
      overrides = { { filter = "test(=true 2)", only_on = { "absent" } } }]])
    assert.are.equal(3, code)
    assert.are.same({ ["true 1"] = "passed", ["true 2"] = "not_run" }, finished.states(dir))
    assert.matches("not today", project.read(dir .. "/printed"))
  end))

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
