local async = require("spec.support.async")
local config = require("runner.config")
local init = require("runner.cli.init_config")
local plugin = require("runner.plugin")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

describe("runner init", function()
  after_each(project.remove_all)

  for _, provider in ipairs(plugin.builtin.provider) do
    for _, framework in ipairs(plugin.builtin.framework) do
      it(("writes a configuration for %s on %s that is valid"):format(framework, provider),
        async(function()
        local dir = project.new()
        local result = runner(dir, "init", "--provider", provider, "--framework", framework)
        assert.are.equal(0, result.code, result.stderr)
        assert.are.equal("Wrote runner.lua. Next: runner run\n", result.stdout)
        local loaded = config.load(dir .. "/runner.lua")
        assert.are.equal(provider, loaded.providers[1].name)
        assert.are.equal(framework, loaded.groups[1].framework.name)
      end))

      it(("comments on every setting, also valid with %s on %s"):format(framework, provider),
        function()
        local text = init.template(provider, framework)
        for line in text:gmatch("[^\n]+") do
          assert.is_true(#line <= 100, line)
        end
        local all, count = text:gsub("%-%-([%a_]+ = )", "%1")
        assert.is_true(count >= 15)
        local dir = project.new({ ["runner.lua"] = all, ["fixtures/x"] = "" })
        local loaded = config.load(dir .. "/runner.lua")
        assert.are.equal(2, loaded.retries)
        assert.are.same({ MODE = "test" }, loaded.env)
      end)
    end
  end

  it("writes a first configuration that runs as it is", async(function()
    local dir = project.new()
    assert.are.equal(0, runner(dir, "init", "--framework", "command").code)
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
  end))

  it("never overwrites", async(function()
    local dir = project.new({ ["runner.lua"] = "mine" })
    local result = runner(dir, "init")
    assert.are.equal(64, result.code)
    assert.matches("^runner: runner.lua is there already; it is not overwritten", result.stderr)
    assert.are.equal("mine", project.read(dir .. "/runner.lua"))
  end))

  it("does not write through a dangling link", async(function()
    local dir = project.new()
    assert(require("luv").fs_symlink("elsewhere.lua", dir .. "/runner.lua"))
    assert.are.equal(64, runner(dir, "init").code)
    assert.is_nil(require("luv").fs_stat(dir .. "/elsewhere.lua"))
  end))

  it("writes another file when asked", async(function()
    local dir = project.new()
    local result = runner(dir, "init", "-c", "other.lua")
    assert.are.equal("Wrote other.lua. Next: runner run other.lua\n", result.stdout)
    assert.are.equal(init.template("local", "pytest"), project.read(dir .. "/other.lua"))
  end))

  it("takes the framework that the project looks like", async(function()
    for file, framework in pairs({
      ["Cargo.toml"] = "cargo", ["tests.py"] = "pytest", [".rspec"] = "rspec", [".busted"] = "busted",
      ["go.mod"] = "go", ["CMakeLists.txt"] = "ctest", ["package.json"] = "jest",
    }) do
      local dir = project.new({ ["below/" .. file] = '{ "devDependencies": { "jest": "^30", "mochawesome": "1" } }' })
      assert.are.equal(0, runner(dir, "init", "-c", "below/runner.lua").code)
      assert.are.equal(init.template("local", framework), project.read(dir .. "/below/runner.lua"))
    end
  end))

  it("says why it cannot write", async(function()
    local result = runner(project.new(), "init", "-c", "no/such/folder.lua")
    assert.are.equal(64, result.code)
    assert.matches("cannot write no/such/folder.lua: ENOENT", result.stderr)
  end))

  it("refuses plug-ins it does not know", async(function()
    local dir = project.new()
    assert.are.equal(64, runner(dir, "init", "--framework", "nope").code)
    assert.are.equal(64, runner(dir, "init", "--provider", "nope").code)
    assert.is_nil(require("luv").fs_stat(dir .. "/runner.lua"))
  end))
end)
