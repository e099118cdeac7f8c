-- jest: the files run in resident processes, one a slot; each file in a context of its own, as under jest.
local jest = require "frameworks.jest"

return {
  max_parallel = 2,
  test_timeout = "3s",
  retries = 1,
  groups = { unit = jest {} },
}
