--- The docker provider against a real daemon: whole runs of the binary, and what is left of them afterwards.

local uv = require("luv")
local async = require("spec.support.async")
local boxes = require("spec.support.boxes")
local dockerd = require("spec.support.dockerd")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

--- A project whose tests are lines of shell in containers.
local function new(options, tests, settings, files)
  files = files or {}
  files["runner.lua"] = ([[
    local settings = %s
    settings.sync = settings.sync or false
    settings.provider = require "providers.docker" (%s)
    settings.framework = require "frameworks.command" { tests = %s, run_command = "eval {tests}" }
    return settings
  ]]):format(settings or "{}", options, tests)
  return project.new(files)
end

--- An engine may be a moment behind with removing what has ended.
local function no_containers()
  local left
  local ok = pcall(eventually, function()
    left = dockerd.containers()
    return #left == 0
  end)
  assert(ok, "left behind: " .. table.concat(left, ", "))
end

local function count_events(dir, name)
  return #finished.events(dir, name)
end

describe("docker", function()
  local busybox
  if not dockerd.around(function() busybox = dockerd.busybox() end) then return end

  local function docker(fn)
    return async(function()
      no_containers() -- of the test before
      fn()
    end)
  end

  it("runs tests in containers, one each, and leaves none", docker(function()
    local dir = new(('{ image = %q, env = { WORD = "a  b" } }'):format(busybox),
      '{ "hostname", "echo $WORD; echo oops >&2", "exit 3", "kill -9 $$", "test $PPID = 1" }', "{ max_parallel = 2 }")
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    assert.are.same({
      hostname = "passed", ["echo $WORD; echo oops >&2"] = "passed", ["exit 3"] = "failed",
      ["kill -9 $$"] = "crashed", ["test $PPID = 1"] = "passed",
    }, finished.states(dir))
    assert.are.equal("a b\noops\n", finished.output(dir, "echo $WORD; echo oops >&2"))
    assert.matches("^%x+\n$", finished.output(dir, "hostname"))
    no_containers()
    assert.is_table(finished.find(dir, "sandbox_ready"))
  end))

  it("starts ten at once, and the first test does not wait for the last container", docker(function()
    local tests = {}
    for i = 1, 40 do tests[i] = ("echo %d"):format(i) end
    local dir = new(("{ image = %q }"):format(busybox), '{ "' .. table.concat(tests, '", "') .. '" }',
      "{ max_parallel = 10 }")
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal(40, count_events(dir, "test_finished"))
    local ready = finished.events(dir, "sandbox_ready")
    assert.is_true(#ready < 10 or finished.find(dir, "attempt_started").time < ready[10].time)
    no_containers()
  end))

  it("passes user, folder, limits and volumes on; a volume's files are the project's", docker(function()
    local dir = new(([[{
      image = %q, user = "1234:99", cpus = 0.5, memory = "64M", network = "none",
      volumes = { ".:/code:ro", "spec-volume:/data" }, host_config = { ShmSize = 1048576 },
    }]]):format(busybox), [[{ "id -u; id -g; pwd; cat data.txt", "echo 1 >/code/x", "echo 1 >data/x",
      "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; :" }]], nil,
      { ["data.txt"] = "from the host\n" })
    uv.fs_chmod(dir, 493)
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    assert.are.equal("1234\n99\n/code\nfrom the host\n", finished.output(dir, "id -u; id -g; pwd; cat data.txt"))
    assert.are.equal("failed", finished.states(dir)["echo 1 >/code/x"])
    assert.matches("67108864", finished.output(dir,
      "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; :"))
    no_containers()
    dockerd.post("/volumes/spec-volume", nil, "DELETE")
  end))

  it("makes a working folder that the image lacks", docker(function()
    local dir = new(('{ image = %q, working_dir = "/a/b" }'):format(busybox), '{ "pwd" }')
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("/a/b\n", finished.output(dir, "pwd"))
  end))

  it("re-runs elsewhere what a killed container was running; nothing is lost or counted twice", docker(function()
    local tests = {}
    for i = 1, 30 do tests[i] = ("sleep 0.2; echo %d"):format(i) end
    local dir = new(("{ image = %q }"):format(busybox), '{ "' .. table.concat(tests, '", "') .. '" }',
      "{ max_parallel = 4 }")
    local _, done = runner.start(dir, "run")
    eventually(function() return count_events(dir, "attempt_started") >= 6 end)
    local names = dockerd.containers()
    dockerd.post("/containers/" .. names[1] .. "/kill")
    eventually(function() return count_events(dir, "sandbox_lost") == 1 end)
    dockerd.post("/containers/" .. names[2] .. "/kill", { signal = "SEGV" })
    local exit, printed = done:wait(), project.read(dir .. "/printed")
    assert.are.equal(0, exit.code, printed)
    assert.are.same({ passed = 30 }, finished.counts(dir))
    assert.matches("it was ended by SIGKILL", printed)
    no_containers()
  end))

  it("leaves nothing when the runner is killed", docker(function()
    local dir = new(("{ image = %q }"):format(busybox), '{ "sleep 60", "sleep 61" }', "{ max_parallel = 2 }")
    local pid, done = runner.start(dir, "run")
    eventually(function() return count_events(dir, "attempt_started") == 2 end)
    assert.are.equal(2, #dockerd.containers())
    uv.kill(pid, "sigkill")
    done:wait()
    eventually(function() return #dockerd.containers() == 0 end)
    local result = runner(dir, "gc")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("", result.stdout)
    assert.are.equal(0, boxes.journals())
  end))

  local function kill_with_paused(dir)
    local pid, done = runner.start(dir, "run")
    eventually(function() return count_events(dir, "attempt_started") == 2 end)
    local run = finished.find(dir, "run_started").run
    for _, name in ipairs(dockerd.containers()) do
      if name:find(run, 1, true) then dockerd.post("/containers/" .. name .. "/pause") end
    end
    uv.kill(pid, "sigkill")
    done:wait()
  end

  it("removes by `runner gc` what could not end by itself, and not what lives", docker(function()
    local sleeping = new(("{ image = %q }"):format(busybox), '{ "sleep 60" }')
    local living, ended = runner.start(sleeping, "run")
    eventually(function() return count_events(sleeping, "attempt_started") == 1 end)
    local dir = new(("{ image = %q }"):format(busybox), '{ "sleep 60", "sleep 61" }', "{ max_parallel = 2 }")
    kill_with_paused(dir)
    assert.are.equal(3, #dockerd.containers())

    local dry = runner(dir, "gc", "--dry-run")
    assert.matches("would remove container runner%-.*would remove container runner%-", dry.stdout)
    assert.are.equal(3, #dockerd.containers())
    local result = runner(dir, "gc")
    assert.are.equal(0, result.code, result.stderr)
    assert.matches("removed container runner%-.*removed container runner%-", result.stdout)
    assert.are.equal(1, #dockerd.containers())

    uv.kill(living, "sigint")
    assert.are.equal(130, ended:wait().code)
    no_containers()
  end))

  it("removes at the start of the next run, too", docker(function()
    local dir = new(("{ image = %q }"):format(busybox), '{ "sleep 60", "sleep 61" }', "{ max_parallel = 2 }")
    kill_with_paused(dir)
    local next_run = new(("{ image = %q }"):format(busybox), '{ "true" }')
    assert.are.equal(0, runner(next_run, "run").code)
    no_containers()
    assert.are.equal(0, boxes.journals())
  end))

  it("keeps containers for the next run when asked to, until the options change", docker(function()
    local options = '{ image = "%s", reuse = true, env = { A = "1" }, cpus = %s }'
    local dir = new(options:format(busybox, 1), '{ "echo x >>/kept; cat /kept" }', "{ max_parallel = 1 }")
    assert.are.equal(0, runner(dir, "run").code)
    local first = dockerd.containers()
    assert.are.equal(1, #first)
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("x\nx\n", finished.output(dir, "echo x >>/kept; cat /kept"))
    assert.are.same(first, dockerd.containers())
    project.write(dir, { ["runner.lua"] = project.read(dir .. "/runner.lua"):gsub("cpus = 1", "cpus = 0.5") })
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("x\n", finished.output(dir, "echo x >>/kept; cat /kept"))
    assert.are.equal(1, #dockerd.containers())
    assert.are.equal("", runner(dir, "gc").stdout)
    assert.matches("removed container", runner(dir, "gc", "--all").stdout)
    no_containers()
  end))

  it("builds an image, and again only when something in it changes", docker(function()
    local options = '{ dockerfile = "Dockerfile", build_args = { WHO = "me" } }'
    local dir = new(options, '{ "cat /who /app/file; ls /app" }', nil, {
      Dockerfile = "FROM " .. busybox .. "\nARG WHO\nRUN echo $WHO >/who\nCOPY . /app\n",
      [".dockerignore"] = "runner.lua\nsecret\n", file = "one\n", secret = "x",
    })
    local function built()
      local result = runner(dir, "run", "-v")
      assert.are.equal(0, result.code, result.stdout .. result.stderr)
      return (result.stdout .. result.stderr):find("building the image", 1, true) ~= nil
    end
    assert.is_true(built())
    assert.are.equal("me\none\nDockerfile\nfile\n", finished.output(dir, "cat /who /app/file; ls /app"))
    assert.is_false(built())
    project.write(dir, { secret = "y" })
    assert.is_false(built())
    project.write(dir, { file = "two\n" })
    assert.is_true(built())
    assert.matches("two", finished.output(dir, "cat /who /app/file; ls /app"))
  end))

  it("uses several daemons in turn, and goes on without one that is down", docker(function()
    local options = ('{ image = %q, hosts = { %q, "unix:///nowhere/docker.sock" } }')
      :format(busybox, dockerd.address())
    local dir = new(options, '{ "true", "echo 2" }', "{ max_parallel = 2 }")
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("unix:///nowhere/docker.sock is not used", result.stdout .. result.stderr)
  end))

  it("keeps the contract of providers", docker(function()
    local result = runner(project.new(), "provider", "test", "docker", "--option", "image=" .. busybox)
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("0 fail, 0 absent", result.stdout)
  end))

  it("holds the container of a failed test, and prints the command that opens a shell in it", docker(function()
    if not os.execute("command -v docker >/dev/null 2>&1") then return pending("needs the docker program") end
    local dir = new(("{ image = %q }"):format(busybox), '{ "echo this is left >/left; exit 1" }')
    local pid, done = runner.start(dir, "run", "--hold-failed", "5m")
    local command = eventually(function()
      local held = finished.find(dir, "log", { level = "warning" })
      return held and held.message:match("docker%-%d is held for 300 s because .*: (docker .*)$")
    end)
    local inside, replaced = command:gsub(" exec %-it ", " exec -i ")
    assert.are.equal(1, replaced) -- there is no terminal here
    assert.are.equal("this is left\n", process.run({ "/bin/sh", "-c", inside .. " -c 'cat /left'" }).stdout)
    uv.kill(pid, "sigint")
    assert.are.equal(130, done:wait().code)
    no_containers()
  end))

  it("names the container that ran out of memory", docker(function()
    local dir = new(('{ image = %q, memory = "32M" }'):format(busybox),
      '{ "dd if=/dev/zero of=/dev/null bs=200M count=1", "true" }')
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.matches("docker%-%d: the kernel killed something for want of memory %(limit 32 MiB%)",
      result.stderr .. result.stdout)
  end))

  describe("says what is wrong, where, and how to mend it:", function()
    local function fails(options, code)
      local result = runner(new(options, '{ "true" }', "{ max_parallel = 2 }"), "run")
      local text = result.stdout .. result.stderr
      assert.are.equal(code or 3, result.code, text)
      no_containers()
      return text
    end

    it("an image that is missing", docker(function()
      local text = fails('{ image = "runner-spec/none:1", pull = "never" }')
      assert.matches('the image runner%-spec/none:1 is not on unix:.*pull = "never"; pull or build it first', text)
      text = fails('{ image = "127.0.0.1:1/none:1" }')
      assert.matches("cannot be pulled: .*connection refused.*docker pull 127.0.0.1:1/none:1", text)
    end))

    it("no daemon", docker(function()
      local text = fails(('{ image = %q, hosts = { "unix:///nowhere.sock" } }'):format(busybox))
      assert.matches("the Docker daemon at unix:///nowhere.sock: there is no such socket; start the daemon", text)
      text = fails(('{ image = %q, hosts = { "tcp://127.0.0.1:1" } }'):format(busybox))
      assert.matches("tcp://127.0.0.1:1: nobody listens there", text)
      text = fails(('{ image = %q, hosts = { "ssh://me@there" } }'):format(busybox), 78)
      assert.matches("forward the socket yourself", text)
    end))

    it("permission denied on the socket", docker(function()
      local dir = new(("{ image = %q }"):format(busybox), '{ "true" }')
      uv.fs_chmod(dir, 511)
      local socket = dockerd.address():match("^unix://(.*)$")
      uv.fs_chmod(socket:match("^(.*)/"), 493)
      -- As nobody, who may read neither this user's home nor the build folder: the binary is copied.
      assert(process.run({ "cp", uv.exepath(), dir .. "/runner-copy" }).code == 0)
      uv.fs_mkdir(dir .. "/home", 511)
      uv.fs_chmod(dir .. "/home", 511)
      local result = process.run({
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-u", "RUNNER_ROOT",
        "HOME=" .. dir .. "/home", "RUNNER_STATE_DIR=" .. dir .. "/home/state", dir .. "/runner-copy", "run",
      }, { cwd = dir })
      assert.are.equal(3, result.code, result.stdout .. result.stderr)
      assert.matches("permission denied; join the group of the socket", result.stdout .. result.stderr)
    end))

    it("a platform that the daemon does not have", docker(function()
      local text = fails(('{ image = %q, platform = "windows/vax" }'):format(busybox))
      assert.matches("platform", text)
    end))

    it("a container that does not start", docker(function()
      local text = fails(('{ image = %q, user = "nobody-there" }'):format(busybox))
      assert.matches("does not start: .*nobody%-there", text)
    end))

    it("options that exclude each other, and a volume that is none", docker(function()
      assert.matches("image and dockerfile/context exclude each other", fails('{ image = "x", dockerfile = "y" }', 78))
      assert.matches('set image = "NAME"', fails("{}", 78))
      assert.matches("there is no Dockerfile", fails('{ dockerfile = "nowhere" }', 78))
      assert.matches("volumes%[1%]: expected", fails(('{ image = %q, volumes = { "a:b" } }'):format(busybox), 78))
    end))

    it("a build that fails, with its last lines", docker(function()
      local dir = new('{ dockerfile = "Dockerfile" }', '{ "true" }', nil, {
        Dockerfile = "FROM " .. busybox .. "\nRUN echo the reason; exit 3\n",
      })
      local result = runner(dir, "run")
      assert.are.equal(3, result.code, result.stdout .. result.stderr)
      assert.matches("building the image failed: .*code: 3.*the reason", result.stdout .. result.stderr)
    end))
  end)
end)
