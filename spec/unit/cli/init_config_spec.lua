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
        assert.are.equal(("Wrote runner.lua for %s. Next: runner run\n"):format(framework), result.stdout)
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
    assert.are.equal("Wrote other.lua for pytest: nothing here was recognised, so this is a guess (--framework names "
      .. "another). Next: runner run other.lua\n", result.stdout)
    assert.are.equal(init.template("local", "pytest"), project.read(dir .. "/other.lua"))
  end))

  it("says what it chose and why, and writes a group for each framework", async(function()
    local dir = project.new({ ["below/Cargo.toml"] = "", ["below/spec/cart_spec.rb"] = "", ["below/pytest.ini"] = "" })
    local result = runner(dir, "init", "-c", "below/runner.lua")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("Wrote below/runner.lua for cargo (found Cargo.toml), pytest (found pytest.ini) and rspec (found "
      .. "spec/cart_spec.rb). Next: runner run below/runner.lua\n", result.stdout)
    local names = {}
    for i, group in ipairs(config.load(dir .. "/below/runner.lua").groups) do
      names[i] = group.name .. " " .. group.framework.name
    end
    assert.are.same({ "cargo cargo", "pytest pytest", "rspec rspec" }, names)
  end))

  it("writes a group that runs `make test`", async(function()
    local dir = project.new({ Makefile = ".PHONY: test\ntest:\n\t@echo made\n" })
    local result = runner(dir, "init")
    assert.are.equal("Wrote runner.lua for command (found Makefile's target test). Next: runner run\n", result.stdout)
    result = runner(dir, "run", "-v")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("made", result.stdout)
  end))

  it("warns of a configuration above that the new one hides", async(function()
    local dir = project.new({ [".git/HEAD"] = "", ["runner.lua"] = "return {}", ["a/b/x"] = "" })
    local result = runner(dir .. "/a/b", "init", "--framework", "go")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("runner: warning: ../../runner.lua is there already; in this folder and below, the new one takes "
      .. "its place\n", result.stderr)
    assert.are.equal("", runner(dir .. "/a/b", "init", "-c", "other.lua").stderr)
    assert.are.equal("", runner(project.new(), "init").stderr)
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
