-- Go packages: `runner run` builds their test binaries once and runs many tests in one process. Several tests
-- here fail, crash or hang on purpose; expected.json says how each has to end.
local go = require "frameworks.go"

return {
  max_parallel = 2,
  test_timeout = "3s",
  grace = "1s",
  retries = 1,
  groups = {
    unit = go { packages = { "./..." } },
  },
}
