local styles = require("runner.results.console.style")

local function env(values)
  return function(name) return values[name] end
end

describe("style", function()
  it("colours by flag, then NO_COLOR, then CLICOLOR_FORCE, then the terminal", function()
    local wants = styles.wants_colour
    assert.is_true(wants("auto", true, env({ TERM = "xterm" })))
    assert.is_false(wants("auto", false, env({ TERM = "xterm" })))
    assert.is_false(wants(nil, true, env({ TERM = "dumb" })))
    assert.is_false(wants("auto", true, env({ NO_COLOR = "1", CLICOLOR_FORCE = "1" })))
    assert.is_true(wants("auto", true, env({ NO_COLOR = "" })))
    assert.is_true(wants("auto", false, env({ CLICOLOR_FORCE = "1" })))
    assert.is_false(wants("auto", false, env({ CLICOLOR_FORCE = "0" })))
    assert.is_false(wants("auto", true, env({ CLICOLOR = "0" })))
    assert.is_true(wants("always", false, env({ NO_COLOR = "1", TERM = "dumb" })))
    assert.is_false(wants("never", true, env({ CLICOLOR_FORCE = "1" })))
  end)

  it("draws with Unicode only where the locale has it", function()
    assert.are.equal("─",
      styles.new({ colour = false, env = env({ LANG = "de_DE.UTF-8" }) }).rule)
    assert.are.equal("─",
      styles.new({ colour = false, env = env({ LC_ALL = "C.utf8", LANG = "C" }) }).rule)
    assert.are.equal("-",
      styles.new({ colour = false, env = env({ LC_ALL = "C", LANG = "C.UTF-8" }) }).rule)
    assert.are.equal("-", styles.new({ colour = false, env = env({}) }).rule)
  end)

  it("right-aligns the status in 12 columns", function()
    local style = styles.new({ colour = true, env = env({}) })
    assert.are.equal("\27[32;1m        PASS\27[0m", style:status("green", "PASS"))
    style.colour = false
    assert.are.equal("        PASS", style:status("green", "PASS"))
  end)
end)
