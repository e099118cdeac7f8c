-- The example as it is, with the hosts of its ssh_config on loopback.
local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local hosts = require("spec.support.ssh_hosts")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local sshd = require("spec.support.sshd")

describe("examples/ssh", function()
  after_each(project.remove_all)
  teardown(sshd.clean)

  it("runs the checks on both hosts", async(function()
    if not sshd.available() then return pending("no sshd here") end
    local dir = project.new({})
    assert(process.run({ "cp", "-R", "examples/ssh/.", dir }).code == 0)
    hosts.with(hosts.alike(2), function(h)
      local config = sshd.read(dir .. "/ssh_config")
      for i, server in ipairs(h.servers) do
        local count
        config, count = config:gsub(("HostName build%d.example.com"):format(i),
          ("HostName %s\n  Port %d"):format(server.address, server.port))
        assert.equal(1, count)
        local there = server.home .. "/acceptance"
        assert(uv.fs_mkdir(there, 493))
        assert(process.run({ "cp", "-R", "examples/ssh/checks", there }).code == 0)
      end
      config = config:gsub("User ci", "User " .. uv.os_get_passwd().username) .. ("  IdentityFile %s\n"
        .. "  IdentitiesOnly yes\n  UserKnownHostsFile %s\n"):format(h.key_path, h.known_hosts)
      project.write(dir, { ssh_config = config })
      local result = runner(dir, "run")
      assert.equal(0, result.code, result.stdout .. result.stderr)
      assert.same({ passed = 3 }, finished.counts(dir))
      assert.truthy(finished.find(dir, "sandbox_ready"))
    end)
  end))
end)
