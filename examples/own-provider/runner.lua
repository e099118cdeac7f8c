-- Tests in sandboxes of a provider that lies in .runner/providers/cleanroom.lua.
return {
  provider = "cleanroom",
  max_parallel = 2,
  framework = require "frameworks.command" {
    discover_command = "ls tests",
    run_command = { "sh", "tests/{tests}" },
  },
}
