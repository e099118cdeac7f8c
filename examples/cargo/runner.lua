-- Rust tests: every test of the workspace in a process of its own, and the doctests.
local cargo = require "frameworks.cargo"

return {
  max_parallel = 2,
  test_timeout = "3s",
  retries = 1,
  groups = {
    tests = cargo { workspace = true },
    -- Doctests are compiled when they run.
    docs = { cargo { workspace = true, doc = true }, test_timeout = "1m" },
  },
}
