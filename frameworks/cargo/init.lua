--- cargo: Rust tests, each in a process of its own, started directly.
---
--- via:
---   "libtest"  (default) runner builds, lists and runs the test binaries; nothing needs to be installed but cargo
---   "nextest"  cargo-nextest does, with the project's own configuration for it (.config/nextest.toml)
---
--- isolation, of libtest:
---   "process"  (default) a process for each test
---   "binary"   a process for many tests of a binary, one after the other
---
--- Tests are named as cargo-nextest names them: package$test, package::integration$test, package::bin/name$test.
---
--- doc = true makes it a group of doctests instead, as `cargo test --doc` is a command of its own; lib, bin, test,
--- example and bench choose among the others (default: all that `cargo test` runs).
---
--- Sandboxes that cannot see this machine's files get what was built here (build = "host"), or build for themselves
--- (build = "sandbox"); doctests and nextest always build where they run.

local doctest_session = require("frameworks.cargo.doctest_session")
local errors = require("runner.base.errors")
local session = require("frameworks.cargo.session")
local nextest_session = require("frameworks.cargo.nextest_session")
local plugin = require("runner.plugin")

local function reject(options, names, why)
  for _, name in ipairs(names) do
    if options[name] ~= nil then errors.raise("config", ("framework cargo: %s means nothing %s"):format(name, why)) end
  end
end

return plugin.framework({
  name = "cargo",
  api = 1,
  chooses = { "package", "workspace", "exclude", "lib", "bin", "test", "example", "bench", "include_ignored" },
  options = {
    package = "string|string[]?", -- as for cargo -p; default: cargo's own choice
    workspace = "boolean?", -- all packages
    exclude = "string|string[]?", -- packages, of a workspace
    features = "string|string[]?",
    all_features = "boolean?",
    default_features = "boolean?", -- false: --no-default-features
    lib = "boolean?",
    bin = "string|string[]?", -- names, or patterns such as "*"
    test = "string|string[]?",
    example = "string|string[]?",
    bench = "string|string[]?",
    doc = "boolean?",
    include_ignored = "boolean?", -- tests marked #[ignore] run, too
    profile = "string?", -- of cargo: "release"
    target = "string?", -- triple
    args = "string[]?", -- more arguments for cargo: { "--locked" }
    manifest_path = "string?",
    working_dir = "string?", -- where cargo is called, relative to the tests' folder
    cargo = "string|string[]?", -- what runs cargo: { "cargo", "+nightly" }
    env = "env?",
    via = '"libtest"|"nextest"?',
    isolation = '"process"|"binary"?',
    build = '"host"|"sandbox"?',
    nextest_profile = "string?", -- of cargo-nextest's configuration
    build_timeout = "duration?", -- default 1h
    list_timeout = "duration?", -- for one binary to name its tests; default 60s
  },

  session = function(options, ctx)
    if options.doc then
      reject(options, { "via", "isolation", "build", "lib", "bin", "test", "example", "bench" }, "with doc = true")
      return doctest_session.open(options, ctx)
    elseif options.via == "nextest" then
      reject(options, { "isolation", "build", "list_timeout" }, 'with via = "nextest"')
      return nextest_session.open(options, ctx)
    end
    reject(options, { "nextest_profile" }, 'without via = "nextest"')
    return session.open(options, ctx)
  end,
})
