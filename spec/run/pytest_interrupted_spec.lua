--- Whole runs over pytest that end before their time, or have to live with a bad place for their results.

local uv = require("luv")
local agents = require("spec.support.agent_process")
-- @@
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local pytest = require("spec.support.pytest.project")
local runner = require("spec.support.command_line")
local screen = require("spec.support.screen")
local task = require("runner.base.task")

local read = project.read

local function contains(text, part)
  assert(text:find(part, 1, true), ("expected %q in %q"):format(part, text))
end

--- The numbers in the files of a folder: each file holds pids.
local function pids(dir)
  local list = {}
  for name in uv.fs_scandir_next, assert(uv.fs_scandir(dir)) do
    if not name:find("^%.") then -- those are still being written
      for pid in read(dir .. "/" .. name):gmatch("%d+") do list[#list + 1] = tonumber(pid) end
    end
  end
  return list
end

local function none_alive(list)
  for _, pid in ipairs(list) do
    if agents.alive(pid) then return false end
  end
  return true
end

local DAEMONS = [[
import os, subprocess, time
import pytest
@pytest.mark.parametrize("n", range(COUNT))
def test_daemon(n):
    child = subprocess.Popen(["sleep", "3600"], start_new_session=True, env={})
    with open("pids/.%d" % n, "w") as file: file.write("%d %d\n" % (os.getpid(), child.pid))
    os.rename("pids/.%d" % n, "pids/%d" % n)
    time.sleep(3600)
]]

local function daemons(count, isolation)
  return pytest.new({ ["test_x.py"] = DAEMONS:gsub("COUNT", count), ["pids/keep"] = "" },
    ("isolation = %q"):format(isolation), "max_parallel = " .. count)
end

--- Mounts a small file system, calls, unmounts. Needs root.
local function with_mount(options, fn)
  local dir = project.new({})
  local mounted = process.run({ "/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", dir })
  if mounted.code ~= 0 then return pending("cannot mount a file system here") end
  local ok, err = pcall(fn, dir)
  process.run({ "/bin/umount", "-l", dir })
  if not ok then error(err, 0) end
end

local PASSES = { ["test_x.py"] = "def test_passes(): print('output')\n" }

describe("a pytest run that is killed with SIGKILL", function()
  after_each(pytest.clean)

  for isolation, count in pairs({ worker = 50, test = 10, process = 4 }) do
    it(("leaves no process of %d tests and their daemons, with isolation = %s"):format(count, isolation),
      async(function()
        local dir = daemons(count, isolation)
        local pid, done = runner.start(dir, "run")
        eventually(function() return #pids(dir .. "/pids") == 2 * count end, 40)
        uv.kill(pid, "sigkill")
        done:wait()
        local list = pids(dir .. "/pids")
        eventually(function() return none_alive(list) end, 1)
        local report = runner(dir, "report")
        assert.are.equal(0, report.code, report.stderr)
        contains(report.stdout, "not run")
      end))
  end
end)

describe("a pytest run that is interrupted", function()
  after_each(pytest.clean)

  it("while it collects ends at once", async(function()
    local dir = pytest.new({ ["test_x.py"] = [[
import os, time
with open("pid", "w") as file: file.write("%d\n" % os.getpid())
time.sleep(3600)
]] })
    local pid, done = runner.start(dir, "run")
    eventually(function() return (read(dir .. "/pid") or ""):find("\n") end)
    uv.kill(pid, "sigint")
    local exit
    assert(task.deadline(5, function() exit = done:wait() end))
    assert.are.equal(130, exit.code, read(dir .. "/printed"))
    assert.is_false(agents.alive(tonumber(read(dir .. "/pid"))))
    assert.are.equal("interrupted", finished.find(dir, "run_finished").status)
  end))

  for _, isolation in ipairs({ "worker", "test", "process" }) do
    it("while tests run tells what ran and leaves nothing, with isolation = " .. isolation, async(function()
      local dir = daemons(2, isolation)
      local pid, done = runner.start(dir, "run")
      eventually(function() return #pids(dir .. "/pids") == 4 end)
      uv.kill(pid, "sigterm")
      local exit
      assert(task.deadline(10, function() exit = done:wait() end))
      assert.are.equal(143, exit.code, read(dir .. "/printed"))
      assert.is_true(none_alive(pids(dir .. "/pids")))
      assert.are.same({ not_run = 2 }, finished.counts(dir))
      contains(read(dir .. "/test-results/junit.xml"), "test_daemon[1]")
    end))
  end

  it("at its time limit reports the tests that did not run", async(function()
    local dir = pytest.new({ ["test_x.py"] = "import time\ndef test_0(): pass\ndef test_1(): time.sleep(3600)\n"
      .. "def test_2(): pass\n" }, nil, "max_parallel = 1")
    local result, states = pytest.run(dir, "--global-timeout", "1.5")
    assert.are.equal(1, result.code, result.text)
    assert.are.same({ test_0 = "passed", test_1 = "not_run", test_2 = "not_run" }, states)
    contains(result.text, "time limit")
  end))
end)

describe("the output of a pytest run", function()
  after_each(pytest.clean)

  it("is kept whole in bounded memory when a test prints 200 MB", async(function()
    if os.getenv("RUNNER_SANITIZED") then return pending("a sanitizer takes memory of its own") end
    local dir = pytest.new({ ["test_x.py"] = [[
import os, time
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.01)
def test_prints():
    open("started", "w").close()
    wait_for("go")
    block = b"0123456789abcde\n" * 65536
    for _ in range(200): os.write(1, block)
    open("done", "w").close()
    wait_for("end")
]] }, nil, "max_parallel = 1")
    local pid, done = runner.start(dir, "run")
    local function peak_kilobytes()
      local sum = 0
      local children = read(("/proc/%d/task/%d/children"):format(pid, pid))
      for each in (pid .. " " .. children):gmatch("%d+") do
        sum = sum + tonumber(read("/proc/" .. each .. "/status"):match("VmHWM:%s+(%d+)"))
      end
      return sum
    end
    eventually(function() return uv.fs_stat(dir .. "/started") end)
    local before = peak_kilobytes()
    project.write(dir, { go = "" })
    eventually(function() return uv.fs_stat(dir .. "/done") end, 60)
    local after = peak_kilobytes()
    project.write(dir, { ["end"] = "" })
    assert.are.equal(0, done:wait().code)
    local grown = after - before
    assert(grown <= 32 * 1024, ("grew by %d KiB"):format(grown))
    local log = dir .. "/test-results/" .. pytest.attempt(dir, "test_prints").log
    assert.are.equal(200 * 1024 * 1024, uv.fs_stat(log).size)
    local odd = process.run({ "/bin/sh", "-c", 'grep -vc "^0123456789abcde$" "$0"', log })
    assert.are.equal("0\n", odd.stdout)
    assert.is_true(uv.fs_stat(dir .. "/test-results/events.ndjson").size < 200000)
  end))

  it("may go to a reader that has seen enough, or to nobody", async(function()
    local dir = pytest.new({ ["test_x.py"] = "def test_x():\n    for i in range(100000): print('line', i)\n"
      .. "def test_y(): assert False\n" })
    for _, pipeline in ipairs({
      '{ "$0" run -v; echo $? > code; } | head -n 1', '"$0" run -v >&-; echo $? > code',
      '"$0" run -v >&- 2>&- <&-; echo $? > code', '"$0" run -v > /dev/full; echo $? > code',
    }) do
      process.run({ "/bin/sh", "-c", pipeline, uv.exepath() }, { cwd = dir })
      assert.are.equal("1\n", read(dir .. "/code"), pipeline)
      assert.are.same({ test_x = "passed", test_y = "failed" }, pytest.states(dir))
      contains(pytest.log(dir, "test_x"), "line 99999\n")
    end
  end))

  it("fits a terminal of 20 columns", async(function()
    local dir = pytest.new({
      ["test_a_file_with_quite_a_long_name.py"] = "import time, pytest\n@pytest.mark.parametrize('n', range(8))\n"
        .. "def test_with_a_long_name_too(n):\n    time.sleep(0.1)\n    assert n != 3\n",
      ["on_terminal.py"] = [[
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    while os.get_terminal_size(1).columns != 20: pass
    os.environ.update(TERM="xterm", CI="")
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
with open("screen", "wb") as file:
    try:
        while True: file.write(os.read(fd, 65536))
    except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
]] })
    local result = process.run({ "/usr/bin/env", "python3", "on_terminal.py", uv.exepath(), "run", "--color=never" },
      { cwd = dir })
    assert.are.equal(1, result.code, result.stderr)
    local terminal = screen.new(20)
    terminal:write((read(dir .. "/screen"):gsub("\27%[%?%d+[hl]", "")))
    contains(terminal:text():gsub("\n", ""), "8 tests run: 7 passed, 1 failed")
  end))
end)

describe("the results folder of a pytest run", function()
  after_each(pytest.clean)

  it("that cannot be made is an error before anything runs", async(function()
    local dir = pytest.new({ ["test_x.py"] = "open('ran', 'w').close()\ndef test_x(): pass\n" })
    local result = runner(dir, "run", "--output-dir", "/proc/no-such/results")
    assert.are.equal(78, result.code)
    contains(result.stderr, "/proc/no-such")
    assert.is_nil(read(dir .. "/ran"))
  end))

  it("that is read-only is an error that names it", async(function()
    with_mount("ro,size=64k", function(results)
      local result = runner(pytest.new(PASSES), "run", "--output-dir", results .. "/results")
      assert.are.equal(78, result.code, result.stdout)
      contains(result.stderr, results)
    end)
  end))

  it("that is full loses no result", async(function()
    with_mount("size=16k", function(results)
      local dir = pytest.new({ ["test_x.py"] = "import pytest\n@pytest.mark.parametrize('n', range(60))\n"
        .. "def test_x(n):\n    print('x' * 9000)\n    assert n != 59\n" })
      local result = runner(dir, "run", "--output-dir", results)
      assert.are.equal(1, result.code, result.stderr)
      contains(result.stdout, "60 tests run: 59 passed, 1 failed")
      contains(result.stderr, "cannot write")
    end)
  end))

  it("that is not ours is not emptied", async(function()
    local dir = pytest.new({ ["test_x.py"] = PASSES["test_x.py"], ["logs/mine.log"] = "precious" })
    local result = runner(dir, "run", "--output-dir", ".")
    assert.are.equal(78, result.code, result.stdout)
    assert.are.equal("precious", read(dir .. "/logs/mine.log"))
    local home = pytest.new({ ["test_x.py"] = PASSES["test_x.py"], ["home/notes"] = "precious" })
    assert.are.equal(0, runner(home, "run", "--output-dir", "home").code)
    assert.are.equal(0, runner(home, "run", "--output-dir", "home").code)
    assert.are.equal("precious", read(home .. "/home/notes"))
  end))

  it("of another run at the same time is left to it", async(function()
    local dir = pytest.new({ ["test_x.py"] = "import os, time\ndef test_x():\n"
      .. "    open('started', 'w').close()\n    while not os.path.exists('go'): time.sleep(0.01)\n" })
    local _, first = runner.start(dir, "run")
    eventually(function() return uv.fs_stat(dir .. "/started") end)
    local _, second = runner.start(dir, "run", "-q")
    eventually(function() return read(dir .. "/test-results-2/events.ndjson") end)
    project.write(dir, { go = "" })
    assert.are.same({ 0, 0 }, { first:wait().code, second:wait().code })
    assert.are.same({ test_x = "passed" }, pytest.states(dir))
    contains(read(dir .. "/test-results-2/junit.xml"), "test_x")
  end))
end)
