-- One repository, three languages: pytest, cargo and vitest in one run, one queue, one report.
local cargo = require "frameworks.cargo"
local pytest = require "frameworks.pytest"
local vitest = require "frameworks.vitest"

return {
  max_parallel = 2,
  test_timeout = "1m",
  retries = 1,
  groups = {
    api = pytest { paths = { "tests" } },
    core = cargo {},
    web = vitest { working_dir = "web" },
  },
}
