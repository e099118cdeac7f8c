-- vitest: the files run in resident processes, one a slot; each file isolated as vitest does it.
local vitest = require "frameworks.vitest"

return {
  max_parallel = 2,
  test_timeout = "3s",
  retries = 1,
  groups = { unit = vitest {} },
}
