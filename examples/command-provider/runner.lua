-- Sandboxes made, used and destroyed by scripts of your own. Here a sandbox is a folder with a copy of the project; for
-- a real one the scripts would call the command line of your cloud. The same scripts work with offload.
local command = require "providers.command"

return {
  max_parallel = 2,
  provider = command {
    prepare_command = "./scripts/build-image.sh",       -- once; its last line is {image_id}
    create_command = "./scripts/create.sh {image_id}",  -- its last line is {sandbox_id}
    exec_command = "./scripts/exec.sh {sandbox_id} {command}",
    destroy_command = "./scripts/destroy.sh {sandbox_id}",
    download_command = "./scripts/download.sh {sandbox_id} {paths}",
    timeout = "1m",
    env = { GREETING = "${GREETING:-hello}" },
  },
  framework = require "frameworks.command" {
    discover_command = "ls tests/*.sh",
    run_command = { "sh", "{tests}" },
  },
}
