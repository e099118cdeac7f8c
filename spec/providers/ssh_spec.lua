--- Whole runs of the real binary over real sshds: each test is a line of shell.

local uv = require("luv")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local hosts = require("spec.support.ssh_hosts")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local sshd = require("spec.support.sshd")
local task = require("runner.base.task")

--- A project that runs on these hosts. `tests`: Lua source of a list, or how many tests that sleep for 50 ms.
local function new(provider, tests, settings)
  if type(tests) == "number" then
    tests = ([[(function()
      local list = {}
      for i = 1, %d do list[i] = "sleep 0.05; echo " .. i end
      return list
    end)()]]):format(tests)
  end
  return project.new({ ["runner.lua"] = ([[
    local settings = %s
    settings.provider = %s
    settings.framework = require("frameworks.command") { tests = %s, run_command = "eval {tests}" }
    return settings
  ]]):format(settings or "{}", provider, tests) })
end

--- Runs it to its end. → exit code, everything it printed
local function run(dir, ...)
  local result = runner(dir, "run", ...)
  return result.code, result.stdout .. result.stderr
end

--- Starts it. → its exit, as an event
local function start(dir)
  local done = task.event()
  local handle, pid
  handle, pid = uv.spawn(uv.exepath(), {
    args = { "run", "-q" }, cwd = dir, stdio = { nil, nil, 2 },
  }, function(code, signal)
    handle:close()
    done:set({ code = code, signal = signal })
  end)
  assert(handle, pid)
  return done
end

--- Waits for what another process does; that can only be polled.
local function eventually(condition)
  local deadline = uv.hrtime() + 20e9
  while not condition() do
    assert(uv.hrtime() < deadline, "it never came to pass")
    task.sleep(0.01)
  end
end

local function contains(text, ...)
  for _, part in ipairs({ ... }) do
    assert.is_truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
  end
end

--- Which sandboxes ran something.
local function sandboxes(dir)
  local used = {}
  for _, event in ipairs(finished.events(dir)) do
    if event.event == "attempt_started" then used[event.sandbox] = (used[event.sandbox] or 0) + 1 end
  end
  return used
end

describe("provider ssh", function()
  after_each(project.remove_all)
  teardown(sshd.clean)

  local function with_hosts(name, each, fn)
    it(name, async(function()
      if not sshd.available() then return pending("no sshd here") end
      hosts.with(type(each) == "number" and hosts.alike(each) or each, fn)
    end))
  end

  for _, transport in ipairs({ "libssh2", "openssh" }) do
    with_hosts("runs tests on every host, as many as it has cores, over " .. transport, 2, function(h)
      local dir = new(h:provider({ transport = ("%q"):format(transport) }), 16)
      local code, text = run(dir)
      assert.are.equal(0, code, text)
      assert.are.same({ passed = 16 }, finished.counts(dir))
      local used = sandboxes(dir)
      assert.is_truthy(used["ssh-h1"] and used["ssh-h2"], text)
      local ready = finished.find(dir, "sandbox_ready")
      assert.are.equal(ready.cpus, ready.slots)
      for _, server in ipairs(h.servers) do
        local _, logins = server.log:gsub("Accepted publickey", "")
        assert.are.equal(1, logins, server.log)
      end
    end)
  end

  with_hosts("deals max_parallel over the hosts", 3, function(h)
    local dir = new(h:provider({ slots = "5" }), 12, "{ max_parallel = 4 }")
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    local slots, running, most = {}, 0, 0
    for _, event in ipairs(finished.events(dir)) do
      if event.event == "attempt_started" then
        slots[event.slot] = event.sandbox
        running = running + 1
        most = math.max(most, running)
      elseif event.event == "attempt_finished" then
        running = running - 1
      end
    end
    assert.is_true(most <= 4, most)
    local each = {}
    for _, sandbox in pairs(slots) do each[sandbox] = (each[sandbox] or 0) + 1 end
    for sandbox, n in pairs(each) do assert.is_true(n <= 2, sandbox) end
  end)

  with_hosts("opens no more hosts than there are slots", 3, function(h)
    local dir = new(h:provider(), 3, "{ max_parallel = 1 }")
    assert.are.equal(0, (run(dir)))
    local started = 0
    for _, event in ipairs(finished.events(dir)) do
      started = started + (event.event == "sandbox_started" and 1 or 0)
    end
    assert.are.equal(1, started)
  end)

  with_hosts("goes on without a host that is down, and names it", 3, function(h)
    h.config_file = sshd.write(sshd.path("config"), (sshd.read(h.config_file)
      :gsub("(Host h2\n  HostName %S+\n  Port )%d+", "%1" .. sshd.free_port())))
    local dir = new(h:provider(), 12, "{ retries = 0 }")
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.are.same({ passed = 12 }, finished.counts(dir))
    assert.is_nil(sandboxes(dir)["ssh-h2"])
    contains(text, "h2", "nothing listens there")
  end)

  with_hosts("gives the share of a host that is down to another", 2, function(h)
    h.config_file = sshd.write(sshd.path("config"), (sshd.read(h.config_file)
      :gsub("(Host h1\n  HostName %S+\n  Port )%d+", "%1" .. sshd.free_port())))
    local dir = new(h:provider(), 3, "{ max_parallel = 1 }")
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.are.same({ ["ssh-h2"] = 3 }, sandboxes(dir))
  end)

  with_hosts("ends with exit code 3 when no host can be reached, each named", 1, function(h)
    local dir = new(h:provider({ hosts = '{ "no-such-host.invalid", "nor-this.invalid" }' }), 2)
    local code, text = run(dir)
    assert.are.equal(3, code, text)
    contains(text, "no-such-host.invalid cannot be found", "nor-this.invalid cannot be found")
  end)

  with_hosts("does not wait for a host that never answers", 1, function(h)
    local silent = uv.new_tcp()
    silent:bind("127.0.0.1", 0)
    silent:listen(8, function() end)
    h.config_file = sshd.write(sshd.path("config"), sshd.read(h.config_file)
      .. ("Host silent\n  HostName 127.0.0.1\n  Port %d\n"):format(silent:getsockname().port))
    local dir = new(h:provider({ hosts = '{ "silent", "h1" }', connect_timeout = "30" }), 6)
    local began = uv.hrtime()
    local code, text = run(dir)
    silent:close()
    assert.are.equal(0, code, text)
    assert.is_true(uv.hrtime() - began < 15e9, text)
    assert.are.same({ passed = 6 }, finished.counts(dir))
  end)

  for _, transport in ipairs({ "libssh2", "openssh" }) do
    with_hosts("refuses a host whose key has changed, once, over " .. transport, 2, function(h)
      local other = sshd.public(sshd.key("ed25519", "other"))
      h.known_hosts = sshd.write(sshd.path("known"), (sshd.read(h.known_hosts)
        :gsub((":%d "):format(h.servers[2].port):gsub("%-", "%%-") .. "[^\n]*", function(line)
          return line:match("^:%d+ ") .. other
        end)))
      local dir = new(h:provider({ transport = ("%q"):format(transport) }), 60)
      local code, text = run(dir)
      assert.are.equal(0, code, text)
      assert.are.same({ ["ssh-h1"] = 60 }, sandboxes(dir))
      contains(text, "h2", "127.0.0.1:" .. h.servers[2].port)
      local problems = 0
      for _, event in ipairs(finished.events(dir)) do
        if event.event == "problem" then
          problems = problems + 1
          assert.are.equal("ssh-h2", event.sandbox)
          assert.matches("changed", event.message:lower())
        end
      end
      assert.are.equal(1, problems)
    end)
  end

  with_hosts("says on each run that keys are not checked", 2, function(h)
    h.known_hosts = sshd.write(sshd.path("known"), "")
    local dir = new(h:provider({ disable_host_key_check = "true" }), 4)
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    local _, times = text:gsub("not checked", "")
    assert.are.equal(1, times, text)
    local refused, why = run(new(h:provider(), 4))
    assert.are.equal(3, refused)
    contains(why, "ssh-keyscan")
  end)

  with_hosts("names the user and the key that a host refuses", 1, function(h)
    local stranger = sshd.key("ed25519", "stranger")
    local code, text = run(new(h:provider({ key_path = ("%q"):format(stranger), user = '"nobody"' }), 1))
    assert.are.equal(3, code)
    contains(text, "nobody@127.0.0.1", stranger, "authorized_keys")
  end)

  with_hosts("names a key that others can read, relative to the configuration", 1, function(h)
    local dir = new(h:provider({ key_path = '"keys/id"' }), 1)
    project.write(dir, { ["keys/id"] = sshd.read(h.key_path) })
    local code, text = run(dir)
    assert.are.equal(3, code)
    contains(text, "chmod 600 " .. dir .. "/keys/id")
    assert(uv.fs_chmod(dir .. "/keys/id", 384))
    assert.are.equal(0, (run(dir)))
  end)

  describe("with a key that has a passphrase", function()
    local function locked(name, fn)
      it(name, async(function()
        if not sshd.available() then return pending("no sshd here") end
        local key = sshd.key("ed25519", "locked", "open sesame")
        hosts.with(hosts.alike(2, { keys = { key } }), function(h)
          h.key_path = key
          fn(h, key)
        end)
      end))
    end

    locked("fails without a terminal to ask on, and says what to do", function(h, key)
      local dir = new(h:provider(), 1)
      local result = process.run({ "setsid", "-w", uv.exepath(), "run" }, { cwd = dir })
      assert.are.equal(3, result.code)
      contains(result.stdout .. result.stderr, key, "ssh-add")
    end)

    locked("asks once on the terminal, not showing the answer", function(h, key)
      local dir = new(h:provider(), 4)
      local screen, answered, done = "", false, task.event()
      local stdin, stdout = uv.new_pipe(false), uv.new_pipe(false)
      local handle, pid
      handle, pid = uv.spawn("script", {
        args = { "-qec", ("'%s' run"):format(uv.exepath()), "/dev/null" }, cwd = dir, stdio = { stdin, stdout, 2 },
      }, function(code)
        handle:close()
        done:set(code)
      end)
      if not handle then
        stdin:close()
        stdout:close()
        return pending("no script(1) here: " .. tostring(pid))
      end
      stdout:read_start(function(_, bytes)
        screen = screen .. (bytes or "")
        if not answered and screen:find("Passphrase of " .. key .. ": ", 1, true) then
          answered = true
          stdin:write("open sesamx\127e\r")
        end
      end)
      local code = done:wait()
      stdin:close()
      stdout:close()
      assert.are.equal(0, code, screen)
      assert.are.same({ passed = 4 }, finished.counts(dir))
      local _, times = screen:gsub("Passphrase of", "")
      assert.are.equal(1, times, screen)
      assert.is_nil(screen:find("sesam", 1, true))
    end)
  end)

  with_hosts("is not disturbed by what a login shell prints", 1, function(h)
    sshd.write(h.servers[1].home .. "/.bashrc", "echo 'noise on stdout, \1\2\255'; echo noise on stderr >&2\n")
    local dir = new(h:provider(), '{ "echo $HOME" }')
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    if (os.getenv("SHELL") or uv.os_get_passwd().shell or ""):find("bash$") then
      contains(finished.find(dir, "log", { level = "info", message = "h1: noise on stderr" }).message, "noise")
    end
  end)

  local refusing = { { config = "ForceCommand echo go away >&2; exit 255" } }
  with_hosts("says what the host said when the agent does not start", refusing, function(h)
    for _, transport in ipairs({ "libssh2", "openssh" }) do
      local code, text = run(new(h:provider({ transport = ("%q"):format(transport) }), 1))
      assert.are.equal(3, code)
      contains(text, "h1", "go away")
    end
  end)

  with_hosts("uses the ssh program by itself for an RSA key that libssh2 cannot use", 1, function()
    if require("runner.core.ssh").rsa_sha2 then return pending("this libssh2 can") end
    local key = sshd.key("rsa", "user")
    hosts.with(hosts.alike(1, { keys = { key } }), function(h)
      h.key_path = key
      local dir = new(h:provider(), 4)
      local code, text = run(dir)
      assert.are.equal(0, code, text)
      assert.are.same({ passed = 4 }, finished.counts(dir))
      assert.is_truthy(finished.find(dir, "log", { level = "info" }).message:find("using the ssh program", 1, true))
    end)
  end)

  with_hosts("goes through a ProxyJump of the configuration", 2, function(h)
    h.config_file = sshd.write(sshd.path("config"), (sshd.read(h.config_file)
      :gsub("Host h2\n", ("Host h2\n  ProxyJump h1\nHost h1\n  IdentityFile %s\n  UserKnownHostsFile %s\nHost h2\n")
        :format(h.key_path, h.known_hosts))))
    local dir = new(h:provider({ hosts = '{ "h2" }' }), 4)
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.are.same({ ["ssh-h2"] = 4 }, sandboxes(dir))
    h.servers[1]:wait_log("Accepted publickey")
  end)

  with_hosts("works in the folder it is told, with the environment and the shell it is told", 1, function(h)
    local there = project.new({ ["it's \\ here/file"] = "" })
    uv.fs_mkdir(h.servers[1].home .. "/project", 493)
    local bash = uv.fs_stat("/bin/bash") and "/bin/bash" or "/bin/sh"
    for given, expected in pairs({ [there .. "/it's \\ here"] = there .. "/it's \\ here", ["~/project"] = nil }) do
      local dir = new(h:provider({
        working_dir = ("%q"):format(given), env = '{ FROM_CONFIG = "yes" }', shell = ("%q"):format(bash),
      }), '{ "pwd; echo $FROM_CONFIG" }')
      local code, text = run(dir)
      assert.are.equal(0, code, text)
      local attempt = finished.find(dir, "attempt_finished")
      assert.are.equal(expected .. "\nyes\n", attempt.stdout.head)
    end
    local dir = new(h:provider({ working_dir = '"~/project"' }), '{ "pwd" }')
    assert.are.equal(0, (run(dir)))
    assert.are.equal(h.servers[1].home .. "/project\n", finished.find(dir, "attempt_finished").stdout.head)
  end)

  with_hosts("names a working folder that is not there", 1, function(h)
    local code, text = run(new(h:provider({ working_dir = '"/no/such/folder"' }), 1))
    assert.are.equal(3, code)
    contains(text, "h1", "/no/such/folder")
  end)

  with_hosts("brings the project along when it is not told of a folder", 2, function(h)
    local dir = new(h:provider({ working_dir = "nil", slots = "1" }), '{ "cat data/file", "sleep 0.1; cat data/file" }')
    project.write(dir, { ["data/file"] = "from here" })
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.are.equal("from here", finished.find(dir, "attempt_finished").stdout.head)
  end)

  with_hosts("takes a port beside a host's name", 2, function(h)
    local named = {}
    for i, server in ipairs(h.servers) do named[i] = ("%q"):format(server.address .. ":" .. server.port) end
    local dir = new(h:provider({ hosts = "{ " .. table.concat(named, ", ") .. " }", slots = "1" }), 6)
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    for _, server in ipairs(h.servers) do contains(server.log, "Accepted publickey") end
  end)

  it("refuses a host listed twice, and none at all", async(function()
    local code, text = run(new('require("providers.ssh") { hosts = { "a", "a" } }', 1))
    assert.are.equal(78, code)
    contains(text, "a is listed twice")
    code, text = run(new('require("providers.ssh") { hosts = {} }', 1))
    assert.are.equal(78, code)
    contains(text, "name at least one")
  end))

  with_hosts("leaves nothing running on the hosts", 2, function(h)
    local mark = ("RUNNER_SPEC_%d"):format(uv.os_getpid())
    local dir = new(h:provider({ env = ("{ %s = '1' }"):format(mark) }),
      '{ "sleep 1000", "(setsid sleep 1000 &); true" }',
      '{ test_timeout = "300ms", grace = 0.1, slow_timeout = "none" }')
    local code, text = run(dir)
    assert.are.equal(1, code, text)
    local left = process.run({ "grep", "-lsa", mark, "-r", "/proc", "--include=environ" })
    assert.are.equal("", left.stdout)
  end)

  with_hosts("loses nothing when 3 of 10 connections are killed while tests run", 10, function(h)
    local dir = new(h:provider({ slots = "2" }), 200, "{ test_timeout = 30 }")
    local done = start(dir)
    for i = 1, 3 do
      eventually(function() return finished.find(dir, "attempt_started", { sandbox = "ssh-h" .. i }) end)
      h.servers[i]:signal("sigkill")
    end
    local exit = done:wait()
    assert.are.same({ code = 0, signal = 0 }, exit)
    assert.are.same({ passed = 200 }, finished.counts(dir))
    for i = 1, 3 do assert.is_truthy(finished.find(dir, "sandbox_lost", { sandbox = "ssh-h" .. i })) end
  end)

  it("gives the tests of a host that was cut off to others", async(function()
    if not sshd.available() then return pending("no sshd here") end
    if not hosts.can_isolate() then return pending("no network namespaces here") end
    hosts.with_isolated(2, function(h)
      local dir = new(h:provider({ slots = "2", connect_timeout = "1" }), 60, "{ ping = 0.2 }")
      local done = start(dir)
      eventually(function() return finished.find(dir, "attempt_finished", { sandbox = "ssh-h1" }) end)
      h:cut(1)
      local began = uv.hrtime()
      assert.are.same({ code = 0, signal = 0 }, done:wait())
      assert.is_true(uv.hrtime() - began < 15e9)
      assert.are.same({ passed = 60 }, finished.counts(dir))
      contains(finished.find(dir, "sandbox_lost").message, "has not answered")
    end)
  end))
end)
