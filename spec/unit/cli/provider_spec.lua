local async = require("spec.support.async")
local runner = require("spec.support.command_line")

describe("runner provider test", function()
  it("runs only the checks that --only names", async(function()
    local result = runner("/", "provider", "test", "local", "--only", "exit codes")
    assert.are.equal(0, result.code, result.stderr)
    assert.matches("^The contract of providers, against local:\n  holds   a sandbox opens", result.stdout)
    assert.matches("exit codes are the command's .*\n2 hold, 0 fail, 0 absent\n$", result.stdout)
  end))

  it("refuses --only that names no check, and lists them", async(function()
    local result = runner("/", "provider", "test", "local", "--only", "stream")
    assert.are.equal(64, result.code)
    assert.are.equal("", result.stdout)
    assert.matches('--only: no check has "stream" in its name\n  hint: the checks are:\n    output arrives whole',
      result.stderr, 1, true)
  end))

  it("calls missing arguments what the help calls them", async(function()
    for words, name in pairs({
      ["provider"] = "ACTION", ["provider test"] = "FILE.lua|NAME", ["history"] = "ACTION",
      ["simulate"] = "EVENTS.ndjson", ["completion"] = "SHELL",
    }) do
      local argv = {}
      for word in words:gmatch("%S+") do argv[#argv + 1] = word end
      local result = runner("/", table.unpack(argv))
      assert.are.equal(64, result.code)
      assert.matches(("missing argument '%s'"):format(name), result.stderr, 1, true)
      assert.matches("\n   " .. name .. " ", runner("/", argv[1], "--help").stdout, 1, true)
    end
  end))
end)
