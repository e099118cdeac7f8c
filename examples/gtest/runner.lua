-- GoogleTest programs: `runner run` builds them, lists their tests and runs many in one process. Several tests here
-- fail, crash or hang on purpose; expected.json says how each has to end.
local gtest = require "frameworks.gtest"

return {
  max_parallel = 2,
  test_timeout = "3s",
  grace = "1s",
  retries = 1,
  groups = {
    unit = gtest {
      build_command = "cmake -S . -B build -DCMAKE_BUILD_TYPE=Debug && cmake --build build",
      binaries = { "build/*_test" },
    },
  },
}
