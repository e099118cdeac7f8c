-- The smallest useful configuration: `runner run` in this folder finds the tests, runs them in
-- parallel on this machine, tries a failure again, and says which tests are flaky.
local pytest = require "frameworks.pytest"

return {
  max_parallel = 2,
  test_timeout = "30s",
  retries = 2,
  groups = {
    unit = pytest { paths = { "tests" } },
  },
  report = { dir = "test-results", junit = "junit.xml" },
}
