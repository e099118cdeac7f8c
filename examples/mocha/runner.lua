-- mocha: the files run in resident processes, one a slot; each file in a mocha of its own.
local mocha = require "frameworks.mocha"

return {
  max_parallel = 2,
  test_timeout = "3s",
  retries = 1,
  groups = { unit = mocha {} },
}
