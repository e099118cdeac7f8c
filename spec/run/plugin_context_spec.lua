--- What docs/plugins.md promises of `ctx` holds in every call of a provider: `process http ssh json` are there.

local uv = require("luv")
local async = require("spec.support.async")
local process = require("runner.io.process")
local project = require("spec.support.project")

local PROVIDER = [[
local plugin = require "runner.plugin"
local function note(ctx, call)
  for _, name in ipairs { "process", "http", "ssh", "json" } do assert(ctx[name], call .. " has no " .. name) end
  assert(ctx.run_id and ctx.dir and ctx.settings and ctx.log)
  local line = ctx.json.encode({ call })
  ctx.process.run({ "sh", "-c", "echo '" .. line .. "' >> " .. ctx.dir .. "/calls" })
end
return plugin.provider {
  name = "noting", api = 1,
  prepare = function(_, ctx) note(ctx, "prepare") return "prepared" end,
  open = function(_, ctx, prepared)
    assert(prepared == "prepared")
    note(ctx, "open")
    return {
      cwd = ctx.dir, sees_project = true,
      connect = function(argv) return ctx.process.stream(argv) end,
    }
  end,
  finish = function(_, ctx, prepared)
    assert(prepared == "prepared")
    note(ctx, "finish")
  end,
}
]]

describe("the ctx of a provider", function()
  after_each(project.remove_all)

  it("has the modules that are promised in prepare, open and finish", async(function()
    local dir = project.new({
      [".runner/providers/noting.lua"] = PROVIDER,
      ["runner.lua"] = [[
local command = require "frameworks.command"
return { provider = "noting", history = false, max_parallel = 1,
  groups = { all = command { discover_command = "echo one", run_command = "true {tests}" } } }
]],
    })
    local result = process.run({ uv.exepath(), "run" }, { cwd = dir })
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal('["prepare"]\n["open"]\n["finish"]\n', project.read(dir .. "/calls"))
  end))
end)
