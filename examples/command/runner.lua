-- Any tool through its commands. Several tests here fail, crash or hang on purpose; expected.json says how each has to
-- end.
local command = require "frameworks.command"

return {
  max_parallel = 2,
  test_timeout = "3s",
  grace = "1s",
  retries = 1,
  groups = {
    -- Each file is a test; what it prints is TAP, whose points carry names of their own.
    tap = command {
      discover_command = "ls t/*.t",
      run_command = { "perl", "{tests}" },
      result_file = "-",
    },
    -- Many tests in one command, whose JUnit XML says how each went.
    junit = command {
      discover_command = "python3 -m pytest --collect-only -q {filters} | grep ::",
      run_command = "python3 -m pytest -q -o junit_logging=all --junitxml={result_file} {tests}",
      filters = "tests",
      test_id_format = "{file}::{name}",
    },
  },
}
