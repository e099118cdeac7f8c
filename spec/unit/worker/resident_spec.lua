--- Resident workers: real processes under a real agent. The process is a Python script that does in each test what its
--- name says, as Python.

local agents = require("spec.support.agent_process")
local listener = require("spec.support.listener")
local resident = require("runner.worker.resident")
local task = require("runner.base.task")

local PROCESS = [[
import json, os, signal, subprocess, sys, time
def say(**message): os.write(3, (json.dumps(message) + "\n").encode())
def start(): say(start=token)
def done(status="passed"): say(done=token, result={"status": status})
def output(text, stream="stdout"): say(output=[stream, token, text])
def hang(): time.sleep(1000)
begin = sys.argv[1]
exec(begin)
say(ready={"pid": os.getpid()})
for line in os.fdopen(os.dup(3)):
    message = json.loads(line)
    if "close" in message:
        exec(sys.argv[2])
        sys.exit()
    run = message.get("run")
    if not run: continue
    ran = {"ran": run["unit"]}
    for token, code in run["tests"]:
        exec(code)
    say(**ran)
]]

--- Items named a, b, c …: { "file", "what it does" } each.
local function items(rows)
  local list = {}
  for i, row in ipairs(rows) do
    local id = string.char(96 + i)
    list[i] = {
      id = id, attempt = 1, policy = { test_timeout = 60 },
      test = { id = id, file = row[1], code = row[2] },
    }
  end
  return list
end

--- A worker; `runs` lists the units that it was asked for, as ids: "abc".
local function open(agent, options)
  options = options or {}
  local heard, runs, started = listener(), {}, 0
  local ctx = {
    agent = agent, settings = { grace = 0.2 },
    spawn = function(one)
      started = started + 1
      return agent:spawn(one)
    end,
  }
  local worker = resident.worker(ctx, { index = 0 }, heard.report, {
    name = "the script", load_timeout = options.load_timeout,
    process = function()
      return { argv = { "python3", "-c", PROCESS, options.begin or "", options.close or "" } }
    end,
    unit = function(item) return item.test.file end,
    request = function(list, token)
      local rows, ids = {}, {}
      for i, item in ipairs(list) do
        rows[i], ids[i] = { token(item), item.test.code }, item.id
      end
      runs[#runs + 1] = table.concat(ids)
      return { tests = rows }
    end,
    admit = options.admit, release = options.release,
  })
  return worker, heard, runs, function() return started end
end

--- Runs items to their end.
local function run(agent, rows, options)
  local worker, heard, runs, started = open(agent, options)
  local list = items(rows)
  worker:push(list)
  for _, item in ipairs(list) do
    if not heard.results[item.id] then heard.wait("^[^s][%l_]+ " .. item.id .. "$") end
  end
  worker:close()
  return heard, runs, started()
end

local PASS = { "start(); done()" }
local function file(name, ...)
  local rows = {}
  for i, code in ipairs({ ... }) do rows[i] = { name, code } end
  return table.unpack(rows)
end

describe("a resident worker", function()
  it("runs unit after unit in one process, and knows whose output it is", agents.with(function(agent)
    local heard, runs, started = run(agent, {
      { "one", "start(); output('a'); done()" },
      { "two", "output('before '); start(); output('c'); done('failed')" },
      { "one", "start(); output('b'); done()" },
    })
    assert.are.same({ "start a", "passed a", "start c", "passed c", "start b", "failed b" }, heard.words)
    assert.are.same({ "ac", "b" }, runs)
    assert.are.equal(1, started)
    assert.are.equal("b", heard.output.c)
    assert.are.equal("before c", heard.output.b)
    assert.are.equal("a", heard.output.a)
  end))

  it("blames the test that ran when the process dies, and runs the rest in another", agents.with(function(agent)
    local heard, runs, started = run(agent, { file("one", PASS[1],
      "start(); os.kill(os.getpid(), signal.SIGSEGV)", PASS[1], "start(); os._exit(3)", PASS[1]) })
    assert.are.same({ "start a", "passed a", "start b", "crashed b", "start c", "passed c", "start d", "crashed d",
      "start e", "passed e" }, heard.words)
    assert.are.same({ "abcde", "cde", "e" }, runs)
    assert.are.equal(3, started)
    assert.are.equal("the process was ended by SIGSEGV while this test ran", heard.results.b.message)
    assert.are.equal("the process exited with status 3 while this test ran", heard.results.d.message)
  end))

  it("says so when a process of the process dies", agents.with(function(agent)
    local heard, runs, started = run(agent, { file("one", PASS[1],
      "start(); ran['died'] = {'message': 'it', 'signal': 'SIGABRT', 'trace': 'why'}", "ran['died']") })
    assert.are.same({ "start a", "passed a", "start b", "crashed b" }, { table.unpack(heard.words, 1, 4) })
    assert.are.same({ "SIGABRT", "why" }, { heard.results.b.signal, heard.results.b.trace })
    assert.are.same({ "abc", "c" }, { runs[1], runs[2] })
    assert.are.equal("crashed", heard.results.c.status) -- the process itself, by a KeyError
    assert.is_true(started <= 3)
  end))

  it("runs each alone when several ran at once as it died", agents.with(function(agent)
    local at_once = "start(); tokens = globals().setdefault('tokens', []); tokens.append(token)\n"
      .. "if len(run['tests']) == 1: %s"
    local heard, runs = run(agent, { file("one", at_once:format("done()"), at_once:format("os.abort()"),
      "if len(run['tests']) == 1: start(); done()\nelse: os.abort()") })
    assert.are.same({ "passed", "crashed", "passed" },
      { heard.results.a.status, heard.results.b.status, heard.results.c.status })
    assert.are.same({ "abc", "a", "b", "c" }, runs)
  end))

  it("knows that a test has ended whose result was lost", agents.with(function(agent)
    local heard, runs = run(agent, { file("one", "start(); say(over=token)\nif len(run['tests']) == 1: done()",
      "start(); os.abort()") })
    assert.are.same({ "start a", "start b", "crashed b", "start a", "passed a" }, heard.words)
    assert.are.same({ "ab", "a" }, runs)

    -- Its process ended outside of tests: it runs again, alone, and once.
    heard, runs = run(agent, { file("one", "start(); say(over=token)", "os.abort()") })
    assert.are.same({ "start a", "crashed b", "failed a" }, { heard.words[1], heard.words[2], heard.words[4] })
    assert.are.same({ "ab", "a" }, runs)
  end))

  it("lets all tests of a unit share its fate when it dies outside of them", agents.with(function(agent)
    local heard, runs = run(agent, {
      { "one", PASS[1] }, { "one", "os._exit(9)" }, { "one", PASS[1] }, { "two", PASS[1] },
    })
    assert.are.same({ "start a", "passed a", "crashed b", "crashed c", "start d", "passed d" }, heard.words)
    assert.are.same({ "abc", "d" }, runs)
    assert.matches("exited with status 9 while it loaded the file", heard.results.c.message)
  end))

  it("ends what a file does outside of its tests when that takes too long", agents.with(function(agent)
    local heard = run(agent, { file("one", PASS[1], "hang()", PASS[1]) }, { load_timeout = 0.3 })
    assert.are.same({ "start a", "passed a", "timed_out b", "timed_out c" }, heard.words)
    assert.are.equal("one: what it does outside of its tests did not end within 0.3 s", heard.results.b.message)
  end))

  it("takes an error of the file for that of its tests without a result, or for a problem", agents.with(function(agent)
    local failed = "ran['errors'] = [{'message': 'no', 'type': 'E', 'trace': 'at x'}, {'message': 'nor that'}]"
    local heard = run(agent, { { "one", PASS[1] }, { "one", failed }, { "two", PASS[1] .. "; " .. failed } })
    assert.are.same({ "start a", "passed a", "failed b", "problem teardown nor that", "start c", "passed c",
      "problem teardown no", "problem teardown nor that" }, heard.words)
    assert.are.same({ status = "failed", message = "no", type = "E", trace = "at x" }, heard.results.b)
  end))

  it("tells of tests that are not there, and of those that nobody had listed", agents.with(function(agent)
    local heard = run(agent, {
      file("one", "ran['gone'] = [token]", "ran['unlisted'] = [['x', 'y']]; " .. PASS[1], "pass"),
    })
    assert.are.same({ "start b", "passed b", "failed a", "failed c",
      "problem collection 1 tests appeared only when it ran; they are not counted" }, heard.words)
    assert.matches("^one has no such test when it runs", heard.results.a.message)
    assert.are.equal("one came to its end, but this test did not run", heard.results.c.message)
  end))

  it("stops a test, and runs what is left in a new process", agents.with(function(agent)
    local worker, heard, runs = open(agent)
    local list = items({ file("one", PASS[1], "start(); hang()", PASS[1]) })
    worker:push(list)
    heard.wait("start b")
    worker:stop(list[2], "timeout")
    heard.wait("passed c")
    worker:close()
    assert.are.same({ "start a", "passed a", "start b", "failed b", "start c", "passed c" }, heard.words)
    assert.are.same({ "abc", "c" }, runs)
  end))

  it("does not go on with a process that is being stopped, whatever that says", agents.with(function(agent)
    local worker, heard, runs, started = open(agent, {
      begin = "signal.signal(signal.SIGTERM, lambda *_: say(ran=1, died={'message': 'a part of it'}))",
    })
    local list = items({ file("one", PASS[1], "start(); time.sleep(1000)", PASS[1]) })
    worker:push(list)
    heard.wait("start b")
    worker:stop(list[2], "timeout")
    heard.wait("passed c")
    worker:close()
    assert.are.same({ "start a", "passed a", "start b", "failed b", "start c", "passed c" }, heard.words)
    assert.are.same({ "abc", "c" }, runs)
    assert.are.equal(2, started())
  end))

  it("gives all back when the run ends", agents.with(function(agent)
    local worker, heard = open(agent)
    worker:push(items({ file("one", "os.write(2, b'x'); hang()", PASS[1]) }))
    while not heard.output.a do task.sleep(0.01) end
    worker:cancel()
    heard.wait("returned")
    worker:close()
    assert.are.same({ "returned a b" }, heard.words)
  end))

  it("gives whole units back from the end, and once something runs", agents.with(function(agent)
    local worker, heard, runs = open(agent)
    worker:push(items({ { "one", "start(); hang()" }, { "two", PASS[1] }, { "two", PASS[1] }, { "three", PASS[1] } }))
    heard.wait("start a")
    worker:take(2)
    worker:take(1) -- nothing is left: answered when the unit ends
    assert.are.same({ "start a", "returned b c d" }, heard.words)
    worker:kill()
    heard.wait("returned$")
    assert.are.same({ "start a", "returned b c d", "crashed a", "returned" }, heard.words)
    assert.are.same({ "a" }, runs)
    worker:close()
  end))

  it("keeps what has started and waits to be run alone: it is the slot's to end", agents.with(function(agent)
    local worker, heard = open(agent)
    local at_once = "start()\nif len(run['tests']) == 1: hang()"
    worker:push(items({ file("one", at_once, at_once .. "\nelse: os.abort()") }))
    heard.wait("start a", 2)
    worker:take(1) -- b waits for its turn
    assert.are.same({ "start a", "start b", "start a" }, heard.words)
    worker:kill()
    heard.wait("crashed a")
    heard.wait("start b", 2)
    worker:kill()
    heard.wait("crashed b")
    worker:close()
    assert.is_nil(table.concat(heard.words, ","):find("returned [ab]"))
  end))

  it("keeps the unit that it is about to begin, so that none is passed on for ever", agents.with(function(agent)
    local worker, heard = open(agent, { begin = "hang()" })
    local list = items({ file("one", PASS[1], PASS[1], PASS[1]) })
    worker:push(list)
    worker:take(2)
    assert.are.same({}, heard.words)
    worker:take(3)
    assert.are.same({ "returned a b c" }, heard.words)
    worker:kill()
    heard.wait("exited")
    worker:close()
  end))

  it("complains when the process cannot start to work", agents.with(function(agent)
    for begin, said in pairs({
      ["say(fatal={'message': 'there is no tool', 'text': ''}); sys.exit(1)"] = "there is no tool",
      ["sys.exit(7)"] = "exit status 7",
    }) do
      local worker, heard = open(agent, { begin = begin })
      worker:push(items({ PASS }))
      heard.wait("exited")
      assert.are.same({ "problem infrastructure the script cannot run tests: " .. said, "exited exited" }, heard.words)
      worker:close()
    end
  end))

  it("replaces a process that wants to be", agents.with(function(agent)
    local code = "start(); output(str(os.getpid())); done(); ran['recycle'] = True"
    local heard, _, started = run(agent, { { "one", code }, { "two", code } })
    assert.are.same({ "start a", "passed a", "start b", "passed b" }, heard.words)
    assert.are.equal(2, started)
    assert.are_not.equal(heard.output.a, heard.output.b)
  end))

  it("tells what went wrong at the end, and what was left running", agents.with(function(agent)
    local heard = run(agent, {
      { "one", "start(); os.environ['RUNNER_TEST_ID'] = 'a'; subprocess.Popen(['sleep', '77']); done()" },
    }, { close = "say(bye={'error': {'message': 'it hurts', 'trace': 'here'}})" })
    table.sort(heard.words)
    assert.are.same({ "passed a", "problem leak left running: sleep 77",
      "problem teardown the script did not end well: it hurts", "start a" }, heard.words)
  end))

  it("asks before each unit, and fails what is refused", agents.with(function(agent)
    local asked, released = {}, 0
    local heard = run(agent, { { "one", PASS[1] }, { "two", PASS[1] }, { "three", PASS[1] } }, {
      admit = function(item, _, _, go)
        asked[#asked + 1] = item.id
        if item.id == "a" then return go() end
        go({ message = "no entry", trace = "at the door" })
      end,
      release = function() released = released + 1 end,
    })
    assert.are.same({ "start a", "passed a", "failed b", "failed c" }, heard.words)
    assert.are.same({ status = "failed", message = "no entry", trace = "at the door" }, heard.results.c)
    assert.are.same({ "a", "b" }, asked)
    assert.are.equal(1, released)
  end))

  it("is gone when its sandbox is", agents.with(function(agent)
    local worker, heard = open(agent)
    worker:push(items({ { "one", "start(); hang()" } }))
    heard.wait("start a")
    agent:give_up("it fell silent")
    assert.are.same({ "start a", "exited lost" }, heard.words)
    worker:close()
  end))
end)
