local uv = require("luv")
local process = require("runner.io.process")
local ssh = require("runner.io.ssh")
local task = require("runner.base.task")
local async = require("spec.support.async")
local sshd = require("spec.support.sshd")
local support = require("spec.support.ssh")

local with_sshd, failure, expect = support.tests(it, pending), support.failure, support.expect
local MB = 1024 * 1024

local function resident_bytes()
  local file = assert(io.open("/proc/self/statm"))
  local pages = math.tointeger(tonumber(file:read("a"):match("^%d+ (%d+)")))
  file:close()
  return pages * 4096
end

describe("runner.ssh", function()
  teardown(sshd.clean)

  local has_client = uv.fs_stat("/usr/bin/ssh") ~= nil

  for _, transport in ipairs { "libssh2", "openssh" } do
    describe("over " .. transport, function()
      local function without_client()
        if transport == "openssh" and not has_client then pending("no ssh here") end
      end

      local function connect(server, changes)
        changes = changes or {}
        changes.transport = transport
        return ssh.connect(server:options(changes))
      end

      with_sshd("runs a command: output, errors, exit code", {}, function(server)
        local connection <close> = connect(server)
        local result = connection:run("cat; echo problem >&2; exit 3", "input")
        assert.are.same({ code = 3, stdout = "input", stderr = "problem\n" }, result)
        assert.are.equal(transport, connection.transport)
      end)

      with_sshd("carries any byte, in both directions", {}, function(server)
        local connection <close> = connect(server)
        local bytes = {}
        for i = 0, 255 do bytes[i + 1] = string.char(i) end
        local data = table.concat(bytes):rep(1000)
        assert.are.equal(data, connection:run("cat", data).stdout)
      end)

      with_sshd("passes on what a shell's start-up file prints", {}, function()
        if not (os.getenv("SHELL") or uv.os_get_passwd().shell or ""):find("bash$") then
          return pending("the login shell is not bash")
        end
        local home = sshd.path("home")
        uv.fs_mkdir(home, 448)
        sshd.write(home .. "/.bashrc", "echo noise from bashrc\n")
        sshd.with({ home = home }, function(noisy)
          local connection <close> = connect(noisy)
          local result = connection:run("echo data; exit 4")
          assert.are.same({ code = 4, stdout = "noise from bashrc\ndata\n", stderr = "" }, result)
        end)
      end)

      with_sshd("moves 100 MB each way in little memory", {}, function(server)
        local connection <close> = connect(server)
        local size, got, worst = 100 * MB, 0, 0
        local chunk = ("x"):rep(64 * 1024)
        collectgarbage()
        local before = resident_bytes()
        local channel = connection:exec("cat")
        channel:start(function(bytes)
          got = got + #(bytes or "")
          worst = math.max(worst, channel.pending)
        end)
        for _ = 1, size // #chunk do
          if not channel:write(chunk) then channel:drain() end
        end
        channel:close_write()
        assert.are.equal(0, channel:exit_status())
        assert.are.equal(size, got)
        assert.is_true(worst <= 1.1 * MB, "queued " .. worst)
        local grown = resident_bytes() - before
        local quarantine = os.getenv("ASAN_OPTIONS") -- what AddressSanitizer does not give back
        assert.is_truthy(quarantine or grown < 32 * MB, ("grew by %.1f MB"):format(grown / MB))
      end)

      with_sshd("ends every channel with an error when the connection is killed", {},
        function(server)
        local connection <close> = connect(server)
        local ends = {}
        for i = 1, 3 do
          local channel = connection:exec("yes")
          local first = task.event()
          ends[i] = task.event()
          channel:start(function(bytes, err)
            if bytes then first:set(true) else ends[i]:set(err or "no error") end
          end)
          first:wait()
        end
        server:signal("sigkill")
        for i = 1, 3 do assert.is_truthy(ends[i]:wait():find("lost", 1, true)) end
      end)

      with_sshd("tells a writer and a waiter of the loss", {}, function(server)
        local connection <close> = connect(server)
        local channel = connection:exec("sleep 1000")
        local errs = {}
        task.scope(function(scope)
          scope:spawn(function() errs[1] = failure(channel.exit_status, channel) end)
          scope:spawn(function()
            while channel:write(("x"):rep(MB)) or not channel.error do
              if channel.error then break end
              channel:drain()
              task.sleep(0.001)
            end
          end)
          server:signal("sigkill")
        end)
        expect(errs[1], "ECONNRESET", server:options().host)
      end)

      with_sshd("refuses a host whose key has changed", {}, function(server)
        local other = sshd.public(sshd.key("ed25519", "other"))
        local path = sshd.write(sshd.path("known"),
          ("# comment\n[127.0.0.1]:%d %s\n"):format(server.port, other))
        local err = failure(function()
          local connection <close> = connect(server, { known_hosts = path })
          connection:exec("true")
        end)
        local offered = process.run { "ssh-keygen", "-lf", server.host_key .. ".pub" }.stdout
        expect(err, "EHOSTKEYCHANGED", path .. ":2", offered:match("SHA256:%S+"), "127.0.0.1:"
          .. server.port)
      end)

      with_sshd("refuses an unknown host, unless told not to check", {}, function(server)
        local path = sshd.write(sshd.path("known"), "")
        local err = failure(function()
          local connection <close> = connect(server, { known_hosts = path })
          connection:exec("true")
        end)
        expect(err, "EHOSTKEYUNKNOWN", "ssh-keyscan")
        local lines, log = support.recorder()
        local connection <close> = connect(server,
          { known_hosts = path, disable_host_key_check = true, log = log })
        assert.are.equal("ok\n", connection:run("echo ok").stdout)
        assert.is_truthy(table.concat(lines):find("warn: the host key of .* is not checked"))
      end)

      with_sshd("names the user and the key that were refused", {}, function(server)
        local key = sshd.key("ed25519", "stranger")
        local err = failure(function()
          local connection <close> = connect(server, { key_path = key, user = "nobody" })
          connection:exec("true")
        end)
        expect(err, "EAUTH", "nobody@127.0.0.1:" .. server.port, key, "authorized_keys")
      end)

      with_sshd("names a host that refuses connections", {}, function(server)
        local err = failure(function()
          local connection <close> = connect(server, { port = sshd.free_port() })
          connection:exec("true")
        end)
        expect(err, "ECONNREFUSED", "127.0.0.1", "sshd")
      end)

      it("names a host that does not answer", async(function()
        without_client()
        support.with_mute_server(function(port)
          local err = failure(function()
            local connection <close> = ssh.connect {
              host = "127.0.0.1", port = port, transport = transport, connect_timeout = 1,
            }
            connection:exec("true")
          end)
          expect(err, "ETIMEDOUT", "127.0.0.1:" .. port)
        end)
      end))

      it("names a host that does not exist", async(function()
        without_client()
        local err = failure(function()
          local connection <close> = ssh.connect {
            host = "no-such-host.invalid", transport = transport, connect_timeout = 10,
          }
          connection:exec("true")
        end)
        expect(err, "ENOTFOUND", "no-such-host.invalid")
      end))

      with_sshd("leaves nothing behind when cancelled during a command", {}, function(server)
        local connection <close> = connect(server)
        task.scope(function(scope)
          local running = task.event()
          scope:spawn(function()
            local channel = connection:exec("echo started; sleep 1000")
            channel:start(function() running:set(true) end)
            channel:exit_status()
          end)
          running:wait()
          scope:cancel()
        end)
        task.scope(function(scope)
          scope:spawn(function() connection:run("sleep 1000") end)
          scope:spawn(function() connection:exec("sleep 1000") end)
          task.sleep(0.001)
          scope:cancel()
        end)
        assert.are.equal("ok\n", connection:run("echo ok").stdout)
      end)

      with_sshd("uses an encrypted key with the passphrase it is given", {}, function()
        local key = sshd.key("ed25519", "locked", "open sesame")
        sshd.with({ keys = { key } }, function(locked)
          local asked = {}
          local connection <close> = connect(locked, {
            key_path = key, passphrase = function(path) asked[#asked + 1] = path; return "open "
              .. "sesame" end,
          })
          assert.are.equal("ok\n", connection:run("echo ok").stdout)
          assert.are.same({ key }, asked)
          expect(failure(connect, locked, { key_path = key }), "EPASSPHRASE", key, "ssh-add")
        end)
      end)

      it("names a key that is missing, open to others, or none", async(function()
        local function try(path)
          return failure(ssh.connect, { host = "127.0.0.1", transport = transport,
            key_path = path })
        end
        expect(try("/nowhere/id"), "EKEYMISSING", "/nowhere/id", "key_path")
        local open = sshd.write(sshd.path("open"), "secret", 420)
        expect(try(open), "EKEYPERM", "chmod 600 " .. open)
        local junk = sshd.write(sshd.path("junk"), "secret")
        expect(try(junk), "EKEYFILE", junk)
        local public = sshd.write(sshd.path("id.pub"), "ssh-ed25519 AAAA", 420)
        expect(try(public), "EKEYFILE", "is a public key")
      end))
    end)
  end
end)
