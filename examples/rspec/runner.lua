-- RSpec: `runner run` lists the examples and runs many in one process. Several here fail, crash or hang on purpose;
-- expected.json says how each has to end.
local rspec = require "frameworks.rspec"

return {
  max_parallel = 2,
  test_timeout = "4s",
  grace = "1s",
  retries = 1,
  framework = rspec {
    --command = { "bundle", "exec", "rspec" },
    --args = { "--tag", "~slow" },
    --isolation = "test", -- each example in a process of its own
  },
}
