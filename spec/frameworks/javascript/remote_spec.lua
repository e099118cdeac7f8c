--- The JavaScript frameworks in sandboxes: where the project's files are brought to, and where no agent can run.

local uv = require("luv")
local async = require("spec.support.async")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

describe("frameworks.javascript, in sandboxes,", function()
  local cache, folder

  setup(function()
    cache, folder = os.getenv("XDG_CACHE_HOME"), os.getenv("TMPDIR")
  end)

  after_each(function()
    if cache then uv.os_setenv("XDG_CACHE_HOME", cache) else uv.os_unsetenv("XDG_CACHE_HOME") end
    if folder then uv.os_setenv("TMPDIR", folder) else uv.os_unsetenv("TMPDIR") end
    javascript.reset()
  end)

  it("runs where node_modules was put by init_command, and says so where it was not", async(function()
    for _, name in ipairs(javascript.FRAMEWORKS) do
      local modules = javascript.need(pending, name)
      uv.os_setenv("XDG_CACHE_HOME", project.new())
      local files = javascript.files(name, {
        a = "it('passes', () => {})\nit('fails', () => { throw new Error('no') })",
      })
      local dir = javascript.new(name, nil, files, nil, '{ provider = "local", sync = true }')
      local result, text = javascript.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches(name .. " is not installed", text, 1, true)
      assert.matches("node_modules is not sent to sandboxes when git ignores it", text, 1, true)
      assert.matches('so it belongs into their image or into init_command ("npm ci")', text, 1, true)

      javascript.configure(name, dir, nil,
        ('{ provider = "local", sync = true, init_command = "ln -sfn %s node_modules" }'):format(modules))
      result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      local path = javascript.path(name, "a")
      assert.are.same({ [path .. " > passes"] = "passed", [path .. " > fails"] = "failed" }, finished.states(dir))
    end
  end))

  for _, name in ipairs(javascript.FRAMEWORKS) do
    it("runs the example of " .. name .. " by plain commands, one a batch", async(function()
      local modules = javascript.need(pending, name)
      local dir, tmp = javascript.example(name, modules), project.new()
      uv.os_setenv("TMPDIR", tmp)
      project.write(dir, { ["runner.lua"] = ([[
        return {
          max_parallel = 2, test_timeout = "5s", retries = 1, framework = require "frameworks.%s" {},
          provider = require "providers.command" {
            create_command = "echo box", exec_command = "sh -c {command} </dev/null # {sandbox_id}",
            destroy_command = "true",
          },
        }]]):format(name) })
      local result, text = javascript.run(dir)
      assert.are.equal(1, result.code, text)
      assert.are.same(example.expected(name), finished.states(dir), text)
      assert.are.same({}, finished.events(dir, "problem"))
      local scan = uv.fs_scandir(tmp)
      local left = uv.fs_scandir_next(scan)
      while left do
        assert.is_nil(left:find("^runner"), left)
        left = uv.fs_scandir_next(scan)
      end
      assert.are.equal("latin-1: \xe9\xfc, NUL: \0, escape: \27[31m\n",
        finished.output(dir, "test/output.test.js > prints odd bytes"))
      local crashed = finished.find(dir, "attempt_finished", { id = name == "vitest" and "test/crash.test.ts > crashes"
        or "test/crash.test.js > crashes" })
      assert.is_nil((crashed.trace or ""):find('{"', 1, true))
    end))
  end
end)
