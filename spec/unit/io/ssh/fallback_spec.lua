local uv = require("luv")
local process = require("runner.io.process")
local ssh = require("runner.io.ssh")
local sshd = require("spec.support.sshd")
local support = require("spec.support.ssh")

local with_sshd, failure, expect = support.tests(it, pending), support.failure, support.expect
local rsa_works = require("runner.core.ssh").rsa_sha2

describe("runner.ssh where libssh2 cannot go", function()
  teardown(sshd.clean)

  with_sshd("uses ssh for an RSA key, and says so once", {}, function()
    if rsa_works then return pending("this libssh2 can") end
    local key = sshd.key("rsa", "user")
    sshd.with({ keys = { key } }, function(server)
      local lines, log = support.recorder()
      local options = server:options { key_path = key, log = log }
      for _ = 1, 2 do
        local connection <close> = ssh.connect(options)
        assert.are.equal("openssh", connection.transport)
        assert.are.equal("ok\n", connection:run("echo ok").stdout)
      end
      local said = 0
      for _, line in ipairs(lines) do
        if line:find("^info: .*RSA.*using the ssh program") then said = said + 1 end
      end
      assert.are.equal(1, said, table.concat(lines, "\n"))
      options.transport = "libssh2"
      expect(failure(ssh.connect, options), "EUNSUPPORTED", key, "RSA", "1.11",
        'transport = "auto"')
    end)
  end)

  with_sshd("uses ssh for a host that has only an RSA key", { host_keys = { "rsa" } },
    function(server)
    if rsa_works then return pending("this libssh2 can") end
    local connection <close> = ssh.connect(server:options())
    assert.are.equal("openssh", connection.transport)
    assert.are.equal("ok\n", connection:run("echo ok").stdout)
    local unchecked <close> = ssh.connect(server:options { disable_host_key_check = true })
    assert.are.equal("openssh", unchecked.transport)
    expect(failure(ssh.connect, server:options { transport = "libssh2",
      disable_host_key_check = true }),
      "EUNSUPPORTED", "RSA")
  end)

  with_sshd("uses ssh for an RSA key of the configuration or the key agent", {}, function()
    if rsa_works then return pending("this libssh2 can") end
    local key = sshd.key("rsa", "user")
    sshd.with({ keys = { key } }, function(server)
      local config = sshd.write(sshd.path("config"),
        ("IdentityAgent none\nIdentityFile %s\n"):format(key))
      local connection <close> = ssh.connect(server:options { key_path = false,
        config_file = config })
      assert.are.equal("openssh", connection.transport)
      assert.are.equal("ok\n", connection:run("echo ok").stdout)
    end)
  end)

  with_sshd("uses ssh for a certificate", {}, function()
    local authority, key = sshd.key("ed25519", "authority"), sshd.key("ed25519", "certified")
    assert.are.equal(0, process.run({
      "ssh-keygen", "-q", "-s", authority, "-I", "spec", "-n", uv.os_get_passwd().username, key
        .. ".pub",
    }).code)
    sshd.with({ config = "TrustedUserCAKeys " .. authority .. ".pub" }, function(server)
      local connection <close> = ssh.connect(server:options { key_path = key })
      assert.are.equal("openssh", connection.transport)
      assert.are.equal("ok\n", connection:run("echo ok").stdout)
    end)
  end)

  with_sshd("uses ssh for a ProxyCommand", {}, function(server)
    local config = sshd.write(sshd.path("config"), ("ProxyCommand ssh -F none -o BatchMode=yes "
      .. "-i %s "
      .. "-o UserKnownHostsFile=%s -p %d -W %%h:%%p 127.0.0.1\n"):format(server.key_path,
      server.known_hosts, server.port))
    local connection <close> = ssh.connect(server:options { config_file = config })
    assert.are.equal("openssh", connection.transport)
    assert.are.equal("ok\n", connection:run("echo ok").stdout)
  end)
end)
