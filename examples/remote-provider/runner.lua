-- Every command goes to a script of your own, which gets it as one argument. Here it runs in a scratch folder; a real
-- one would send it to a function in a cloud. The same scripts work with shotgun.
local remote = require "providers.remote"
local pytest = require "frameworks.pytest"

return {
  max_parallel = 2,
  test_timeout = "1m",
  provider = remote {
    execute_command = "./scripts/run-elsewhere.py",
    setup_command = "./scripts/upload.sh",     -- once, before the tests
    teardown_command = "./scripts/clean-up.sh", -- once, after them, whatever happened
    timeout = "2m",
    env = { ELSEWHERE = "${ELSEWHERE:-elsewhere}" },
  },
  framework = pytest { paths = { "tests" } },
}
