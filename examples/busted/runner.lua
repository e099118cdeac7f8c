-- busted: `runner run` lists the tests and runs many in one process. Several here fail, crash or hang on purpose;
-- expected.json says how each has to end.
local busted = require "frameworks.busted"

return {
  max_parallel = 2,
  test_timeout = "4s",
  grace = "1s",
  retries = 1,
  framework = busted {
    --lua = "lua5.1",
    --args = { "--exclude-tags", "slow" },
    --isolation = "test", -- each test in a process of its own
  },
}
