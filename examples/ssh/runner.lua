-- Runs the tests on machines that you can log in to with ssh: `runner run` in this folder.
--
-- Each host is one sandbox: one connection, one small agent that is brought along and stays for the
-- next run, and as many tests at once as the host has cores. What `ssh HOST` does by itself holds
-- here, too: ~/.ssh/config, the key agent, known_hosts, jump hosts. A host that is down, or whose key
-- has changed, is named, and the run goes on with the others.
--
-- To try it: put your hosts into ssh_config beside this file (or delete the line config_file, and
-- name hosts as you do for ssh), and copy the folder checks to ~/acceptance on each of them.
local ssh = require "providers.ssh"
local command = require "frameworks.command"

return {
  provider = ssh {
    hosts = { "build1", "build2" },
    config_file = "ssh_config",
    working_dir = "~/acceptance", -- the tests are there already
    -- user = "ci", port = 22, key_path = "~/.ssh/id_ed25519",
    -- slots = 4,                 -- tests at once on one host; default: its cores
  },
  test_timeout = "1m",
  groups = {
    checks = command {
      discover_command = "ls checks/*.sh",
      run_command = "sh {tests}",
    },
  },
}
