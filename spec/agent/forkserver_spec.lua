--- Commands made by a fork server: a process of the tests' own that has loaded everything once.

local agents = require("spec.support.agent_process")
local task = require("runner.base.task")

local with, start = agents.with, agents.start

-- Serves until its socket ends. Its children do what the first line on their control socket says, as Python; FAIL in
-- its environment says what it does wrong instead.
local SERVER = [[
import array, os, resource, socket, struct, subprocess, sys, time
requests, fail = socket.socket(fileno=4), os.environ.get("FAIL")
print("ready", flush=True)
while True:
    message, ancillary, _, _ = requests.recvmsg(4, socket.CMSG_SPACE(12))
    if not message or fail == "die":
        break
    fds = array.array("i", ancillary[0][2])
    if fail:
        answer = {"refuse": 0, "lie": 1, "stranger": os.getpid()}.get(fail)
        if fail == "babble":
            requests.send(b"what?")
        elif answer is not None:
            requests.send(message + struct.pack("<I", answer))
        continue
    receive, send = os.pipe()
    middle = os.fork()
    if middle == 0:
        pid = os.fork()
        if pid:
            os.write(send, struct.pack("<I", pid))
            os._exit(0)
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for new, old in enumerate([null, *fds]):
            os.dup2(old, new)
        os.closerange(4, 64)
        control = socket.socket(fileno=3)
        line = control.makefile().readline()
        try:
            exec(line)
        finally:
            sys.stdout.flush()
            os._exit(0)
    for fd in [send, *fds]:
        os.close(fd)
    os.waitpid(middle, 0)
    requests.send(message + os.read(receive, 4))
    os.close(receive)
]]

local function serve(agent, fail)
  local run = start(agent, {
    argv = { "python3", "-c", SERVER }, forkserver = true, env = { FAIL = fail or false },
  })
  run.says("ready")
  return run
end

local function fork(agent, server, line, spec)
  spec = spec or {}
  spec.via = server.command
  local run = start(agent, spec)
  run.command:write(line .. "\n")
  return run
end

describe("agent fork server", function()
  it("makes commands with streams, exit codes and times of their own", with(function(agent)
    local server = serve(agent)
    local first = fork(agent, server, "print('one'); print('err', file=sys.stderr);"
      .. "os.write(3, b'ctl'); sys.stdout.flush(); os._exit(7)")
    local second = fork(agent, server, "sum(range(3000000)); print(os.getsid(0) == os.getpid())")
    local run, exit = first.wait()
    assert.are.equal("started", run.order[1])
    assert.are.equal("exited", run.order[#run.order])
    assert.are.equal("one\n", run.stdout)
    assert.are.equal("err\n", run.stderr)
    assert.are.equal("ctl", run.control)
    assert.are.equal("exited", exit.kind)
    assert.are.equal(7, exit.code)
    run, exit = second.wait()
    assert.are.equal("True\n", run.stdout)
    assert(exit.user > 0.01 and exit.memory > 1e6 and exit.wall >= exit.user)
    server.command:kill()
    local _, ended = server.wait()
    assert.are.same({}, ended.leaks)
  end))

  it("loses no command that is over before the answer arrives", with(function(agent)
    local server, runs = serve(agent), {}
    for i = 1, 40 do runs[i] = fork(agent, server, ("os._exit(%d)"):format(i)) end
    for i = 1, 40 do
      local run, exit = runs[i].wait()
      assert.are.same({ "started", "exited" }, run.order)
      assert.are.equal(i, exit.code)
    end
  end))

  it("keeps lanes, merged output, deadlines and memory limits", with(function(agent)
    local server = serve(agent)
    local a = fork(agent, server, "time.sleep(0.1); print('a')", { lane = 1, merge = true })
    local b = fork(agent, server, "os.write(2, b'b'); os.write(1, b'c'); time.sleep(100)",
      { lane = 1, merge = true, deadline = 0.2, grace = 5 })
    local c = fork(agent, server, "print(resource.getrlimit(resource.RLIMIT_AS)[0])",
      { memory = 1 << 34 })
    assert.are.equal("a\n", a.wait().stdout)
    local run, exit = b.wait()
    assert.are.equal("bc", run.stdout)
    assert.is_true(exit.timed_out)
    assert.are.equal(15, exit.signal)
    assert.are.equal(1 << 34, tonumber(c.wait().stdout))
  end))

  it("has the trees of its commands killed, and their leaks told apart", with(function(agent)
    local server = serve(agent)
    local line = "p = subprocess.Popen(['sleep', '%d'], stdout=2, start_new_session=%s);"
      .. "print(p.pid, flush=True);"
    local leaky = fork(agent, server, line:format(111, "False"))
    local _, exit = leaky.wait()
    assert.are.equal(1, #exit.leaks)
    assert.are.equal("sleep 111", exit.leaks[1].command)

    local daemon = [[trap "" TERM; echo $$; sleep 22; :]]
    local run = fork(agent, server, "subprocess.Popen(['sh', '-c', '" .. daemon .. "'],"
      .. "stdout=1, start_new_session=True); time.sleep(100)")
    local pid = run.says("(%d+)\n")
    run.command:kill(0.1)
    assert.is_true(select(2, run.wait()).killed)
    assert.is_false(agents.alive(pid))
    assert.is_nil(server.exit)
  end))

  it("may end before its commands do", with(function(agent)
    local server = serve(agent)
    local run = fork(agent, server, "print('ready', flush=True); time.sleep(0.3); print('done')")
    run.says("ready")
    server.command:kill()
    server.wait()
    assert.are.equal("ready\ndone\n", run.wait().stdout)
    local _, exit = fork(agent, server, "pass").wait()
    assert.are.equal("failed", exit.kind)
    assert.are.equal("the fork server is not running", exit.message)
  end))

  for fail, messages in pairs({
    refuse = { "the fork server refused", "the fork server refused" },
    lie = { "named process 1, no child of ours", "named process 1, no child" },
    stranger = { "named process %d+, no child of ours", "named process" },
    die = { "the fork server ended before it answered", "the fork server is not running" },
    babble = { "the fork server ended before it answered", "the fork server is not running" },
  }) do
    it(("may %s without harm"):format(fail), with(function(agent)
      local server = serve(agent, fail)
      for _, message in ipairs(messages) do
        local run, exit = fork(agent, server, "pass").wait()
        assert.are.same({ "exited" }, run.order)
        assert.are.equal("failed", exit.kind)
        assert.matches(message, exit.message)
      end
      assert.are.equal(0, select(2, agents.run(agent, { argv = { "true" } })).code)
      server.command:kill()
      server.wait()
    end))
  end

  it("that does not answer is waited for until the deadline, or the kill", with(function(agent)
    local server = serve(agent, "silence")
    local late = fork(agent, server, "pass", { deadline = 0.1 })
    local _, exit = late.wait()
    assert.are.equal("failed", exit.kind)
    assert.are.equal("the fork server did not answer", exit.message)
    assert.is_true(exit.timed_out)
    local killed = fork(agent, server, "pass")
    killed.command:kill(0.05)
    assert.are.equal("failed", select(2, killed.wait()).kind)
    task.sleep(0)
    server.command:kill()
    server.wait()
  end))
end)
