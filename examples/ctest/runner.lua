-- CTest: `runner run` configures the project, lists its tests and runs each in a process of its own. Several tests here
-- fail, crash or hang on purpose; expected.json says how each has to end.
local ctest = require "frameworks.ctest"

return {
  max_parallel = 2,
  test_timeout = "30s",
  grace = "1s",
  retries = 1,
  groups = {
    all = ctest { build_dir = "build", build_command = "cmake -S . -B build" },
  },
}
