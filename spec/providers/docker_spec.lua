--- The docker provider against a real daemon: whole runs of the binary, and what is left of them afterwards.

local uv = require("luv")
local cjson = require("cjson.safe")
local async = require("spec.support.async")
local dockerd = require("spec.support.dockerd")
local process = require("runner.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local task = require("runner.task")

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

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function events(dir, name)
  local list = {}
  for line in io.lines(dir .. "/test-results/events.ndjson") do
    local event = assert(cjson.decode(line))
    if not name or event.event == name then list[#list + 1] = event end
  end
  return list
end

--- Final states by test id; each has exactly one.
local function states(dir)
  local state = {}
  for _, event in ipairs(events(dir, "test_finished")) do
    assert.is_nil(state[event.id], "two final states: " .. event.id)
    state[event.id] = event.status
  end
  for _, event in ipairs(events(dir, "test")) do assert.is_string(state[event.id], "no final state: " .. event.id) end
  return state
end

local function output(dir, id)
  for _, event in ipairs(events(dir, "attempt_finished")) do
    if event.id == id then return read(dir .. "/test-results/" .. event.log) end
  end
end

--- Starts the binary; returns its pid, its exit as an event, and what it has said so far.
local function start(dir, ...)
  local done, pipes, text = task.event(), { uv.new_pipe(false), uv.new_pipe(false) }, ""
  local handle, pid
  handle, pid = uv.spawn(uv.exepath(), {
    args = { ... }, cwd = dir, stdio = { nil, pipes[1], pipes[2] },
  }, function(code, signal)
    handle:close()
    done:set({ code = code, signal = signal })
  end)
  assert(handle, pid)
  for _, pipe in ipairs(pipes) do
    pipe:read_start(function(_, bytes)
      if bytes then text = text .. bytes else pipe:close() end
    end)
  end
  return pid, done, function() return text end
end

local function eventually(condition, seconds)
  local deadline = uv.hrtime() + (seconds or 30) * 1e9
  while not condition() do
    assert(uv.hrtime() < deadline, "it never came to pass")
    task.sleep(0.02)
  end
end

--- An engine may be a moment behind with removing what has ended.
local function no_containers()
  eventually(function() return #dockerd.containers() == 0 end)
end

local function count_events(dir, name)
  local file = io.open(dir .. "/test-results/events.ndjson")
  if not file then return 0 end
  local _, count = file:read("a"):gsub('"event":"' .. name .. '"', "")
  file:close()
  return count
end

describe("docker", function()
  local usable, why = dockerd.available()
  if not usable then
    pending("needs a daemon: " .. why)
    return
  end

  local state
  local busybox

  local function docker(fn)
    return async(function()
      no_containers() -- of the test before
      fn()
    end)
  end

  setup(function()
    state = project.new()
    uv.os_setenv("RUNNER_STATE_DIR", state)
    task.main(dockerd.start)
    uv.os_setenv("DOCKER_HOST", dockerd.address())
    busybox = task.main(dockerd.busybox)
  end)

  teardown(function()
    task.main(dockerd.stop)
    uv.os_unsetenv("DOCKER_HOST")
    uv.os_unsetenv("RUNNER_STATE_DIR")
    project.remove_all()
  end)

  it("runs tests in containers, one each, and leaves none", docker(function()
    local dir = new(('{ image = %q, env = { WORD = "a  b" } }'):format(busybox),
      '{ "hostname", "echo $WORD; echo oops >&2", "exit 3", "kill -9 $$", "test $PPID = 1" }', "{ max_parallel = 2 }")
    local result = runner(dir, "run")
    assert.are.equal(1, result.code, result.stdout .. result.stderr)
    assert.are.same({
      hostname = "passed", ["echo $WORD; echo oops >&2"] = "passed", ["exit 3"] = "failed",
      ["kill -9 $$"] = "crashed", ["test $PPID = 1"] = "passed",
    }, states(dir))
    assert.are.equal("a b\noops\n", output(dir, "echo $WORD; echo oops >&2"))
    assert.matches("^%x+\n$", output(dir, "hostname"))
    no_containers()
    assert.is_true(#events(dir, "sandbox_ready") >= 1)
  end))

  it("starts ten at once, and the first test does not wait for the last container", docker(function()
    local tests = {}
    for i = 1, 40 do tests[i] = ("echo %d"):format(i) end
    local dir = new(("{ image = %q }"):format(busybox), '{ "' .. table.concat(tests, '", "') .. '" }',
      "{ max_parallel = 10 }")
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.are.equal(40, #events(dir, "test_finished"))
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
    assert.are.equal("1234\n99\n/code\nfrom the host\n", output(dir, "id -u; id -g; pwd; cat data.txt"))
    assert.are.equal("failed", states(dir)["echo 1 >/code/x"])
    assert.matches("67108864", output(dir,
      "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; :"))
    no_containers()
    dockerd.post("/volumes/spec-volume", nil, "DELETE")
  end))

  it("makes a working folder that the image lacks", docker(function()
    local dir = new(('{ image = %q, working_dir = "/a/b" }'):format(busybox), '{ "pwd" }')
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("/a/b\n", output(dir, "pwd"))
  end))

  it("re-runs elsewhere what a killed container was running; nothing is lost or counted twice", docker(function()
    local tests = {}
    for i = 1, 30 do tests[i] = ("sleep 0.2; echo %d"):format(i) end
    local dir = new(("{ image = %q }"):format(busybox), '{ "' .. table.concat(tests, '", "') .. '" }',
      "{ max_parallel = 4 }")
    local _, done, text = start(dir, "run")
    eventually(function() return count_events(dir, "attempt_started") >= 6 end)
    local names = dockerd.containers()
    dockerd.post("/containers/" .. names[1] .. "/kill")
    eventually(function() return count_events(dir, "sandbox_lost") == 1 end)
    dockerd.post("/containers/" .. names[2] .. "/kill", { signal = "SEGV" })
    assert.are.equal(0, done:wait().code, text())
    local count = 0
    for _, status in pairs(states(dir)) do
      assert.are.equal("passed", status)
      count = count + 1
    end
    assert.are.equal(30, count)
    assert.matches("it was ended by signal 9", text())
    no_containers()
  end))

  it("leaves nothing when the runner is killed", docker(function()
    local dir = new(("{ image = %q }"):format(busybox), '{ "sleep 60", "sleep 61" }', "{ max_parallel = 2 }")
    local pid, done = start(dir, "run")
    eventually(function() return count_events(dir, "attempt_started") == 2 end)
    assert.are.equal(2, #dockerd.containers())
    uv.kill(pid, "sigkill")
    done:wait()
    eventually(function() return #dockerd.containers() == 0 end)
    local result = runner(dir, "gc")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("", result.stdout)
    assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(state .. "/live")))
  end))

  local function kill_with_paused(dir)
    local pid, done = start(dir, "run")
    eventually(function() return count_events(dir, "attempt_started") == 2 end)
    local names = dockerd.containers()
    for _, name in ipairs(names) do dockerd.post("/containers/" .. name .. "/pause") end
    uv.kill(pid, "sigkill")
    done:wait()
    return names
  end

  it("removes by `runner gc` what could not end by itself, and not what lives", docker(function()
    local sleeping = new(("{ image = %q }"):format(busybox), '{ "sleep 60" }')
    local living, ended = start(sleeping, "run")
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
    assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(state .. "/live")))
  end))

  it("keeps containers for the next run when asked to, until the options change", docker(function()
    local options = '{ image = "%s", reuse = true, env = { A = "1" }, cpus = %s }'
    local dir = new(options:format(busybox, 1), '{ "echo x >>/kept; cat /kept" }', "{ max_parallel = 1 }")
    assert.are.equal(0, runner(dir, "run").code)
    local first = dockerd.containers()
    assert.are.equal(1, #first)
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("x\nx\n", output(dir, "echo x >>/kept; cat /kept"))
    assert.are.same(first, dockerd.containers())
    project.write(dir, { ["runner.lua"] = read(dir .. "/runner.lua"):gsub("cpus = 1", "cpus = 0.5") })
    assert.are.equal(0, runner(dir, "run").code)
    assert.are.equal("x\n", output(dir, "echo x >>/kept; cat /kept"))
    assert.are.equal(1, #dockerd.containers())
    assert.are.equal("", runner(dir, "gc").stdout)
    assert.matches("removed container", runner(dir, "gc", "--all").stdout)
    no_containers()
  end))

  it("builds an image, and again only when something in it changes", docker(function()
    local options = '{ dockerfile = "Dockerfile", build_args = { WHO = "me" } }'
    local dir = new(options, '{ "cat /who /app/file; ls /app" }', nil, {
      Dockerfile = "FROM " .. busybox .. "\nARG WHO\nRUN echo $WHO >/who\nCOPY . /app\n",
      [".dockerignore"] = "runner.lua\ntest-results\nsecret\n", file = "one\n", secret = "x",
    })
    local function built()
      local result = runner(dir, "run", "-v")
      assert.are.equal(0, result.code, result.stdout .. result.stderr)
      return (result.stdout .. result.stderr):find("building the image", 1, true) ~= nil
    end
    assert.is_true(built())
    assert.are.equal("me\none\nDockerfile\nfile\n", output(dir, "cat /who /app/file; ls /app"))
    assert.is_false(built())
    project.write(dir, { secret = "y" })
    assert.is_false(built())
    project.write(dir, { file = "two\n" })
    assert.is_true(built())
    assert.matches("two", output(dir, "cat /who /app/file; ls /app"))
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
    local result = runner(state, "provider", "test", "docker", "--option", "image=" .. busybox)
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    assert.matches("0 fail, 0 absent", result.stdout)
  end))

  it("names the container that ran out of memory", docker(function()
    local dir = new(('{ image = %q, memory = "32M" }'):format(busybox),
      '{ "dd if=/dev/zero of=/dev/null bs=200M count=1", "true" }')
    local result = runner(dir, "run")
    assert.are.equal(1, result.code)
    assert.matches("docker%-%d: the kernel killed 1 process for want of memory %(limit 32 MiB%)",
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
