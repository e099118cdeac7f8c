--- Three languages in one run: examples/mixed.

local uv = require("luv")
local async = require("spec.support.async")
local cargo = require("spec.support.cargo")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local javascript = require("spec.support.javascript")
local project = require("spec.support.project")

describe("examples/mixed", function()
  after_each(project.remove_all)

  it("runs pytest, cargo and vitest in one queue, each test to the expected end", async(function()
    local modules = javascript.need(pending, "vitest")
    cargo.need(pending)
    if not example.has("pytest") then return pending("pytest is missing") end
    local dir = example.copy("mixed")
    assert(uv.fs_symlink(modules, dir .. "/web/node_modules"))
    local result, text = javascript.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same(example.expected("mixed"), finished.states(dir), text)
    assert.are.same({}, finished.events(dir, "problem"))
    local groups = {}
    for _, event in ipairs(finished.events(dir, "test")) do groups[event.group .. ":" .. event.framework] = true end
    assert.are.same({ ["api:pytest"] = true, ["core:cargo"] = true, ["web:vitest"] = true }, groups)
    for _, name in ipairs({ "test_voucher", "takes_a_tenth", "writes two digits" }) do
      assert.matches(name, project.read(dir .. "/test-results/junit.xml"))
    end
  end))
end)
