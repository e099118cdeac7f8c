--- Whole runs of the real binary over tests that speak in their worker's name: they reach its control channel and its
--- pipes. Each costs its own worker, at most; no other test's result, nor the run.

local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local pytest = require("spec.support.pytest.project")

local TOOLS = [[
import gc, os, socket, time

def say(text):
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name).startswith("socket:"):
                os.write(int(name), text.encode() + b"\n")
        except OSError:
            pass

def slot():
    return next(o for o in gc.get_objects() if type(o).__name__ == "Slot" and hasattr(o, "promised"))

def token():
    return slot().output.open_token
]]

--- Lines that end the worker: the test that said them has crashed, whatever it does then.
local LINES = {
  '{"returned":5}', '{"log":5}', '{"bye":{}}', '{"bye":5}', '{"problem":5}', '{"bye":{"threads":[]}}',
  '{"problem":{"kind":"usage","message":"m"}}', '{"log":["loud","x"]}', '{"log":[]}',
  '{"hello":{"pid":1,"dump_signal":9}}',
  '{"returned":[1,2,3]}', '{"returned":[]}', '{"done":99,"status":"passed"}', '{"done":"1","status":"passed"}',
  '{"done":null,"status":"passed"}', '{"tests":[["a","a","",0,[]]]}', '{"unknown":1}', "[]", "7", "null", "no json",
  '{"settled":5}', '{"settling":5}', '{"unmarked":"x"}', '{"done":%d,"status":"bogus"}', '{"done":%d}',
  '{"done":%d,"status":"passed","duration":"x"}', '{"done":%d,"status":"failed","leaks":5}',
  '{"done":%d,"status":"failed","leaks":[5]}', '{"done":%d,"status":"failed","sections":5}',
  '{"done":%d,"status":"failed","trace":{}}', '{"done":%d,"status":"passed","phases":[1]}',
  '{"done":%d,"status":"passed","reruns":"x"}', '{"done":%d,"status":"passed","memory":-1}',
  '{"done":%d,"status":"passed","duration":1e999}', '{"done":%d,"status":"timed_out"}',
}

local function quoted(text) return ("%q"):format(text) end

describe("runner run with pytest tests that speak for their worker", function()
  after_each(pytest.clean)

  for how, ending in pairs({ ["go on"] = "time.sleep(60)", ["end their process"] = "os._exit(0)" }) do
    it("blames them alone when they say what no worker says and " .. how, async(function()
      local files = { ["conftest.py"] = TOOLS }
      for i, line in ipairs(LINES) do
        files[("test_%02d.py"):format(i)] = ([[
from conftest import *
def test_before_%d(): pass
def test_hostile_%d():
    say(%s.replace("%%d", str(token())))
    %s
def test_fails_%d(): assert 0
def test_after_%d(): pass
]]):format(i, i, quoted(line), ending, i, i)
      end
      local result, states = pytest.run(pytest.new(files, nil, 'test_timeout = "30s"'))
      assert.are.equal(1, result.code, result.text)
      for i, line in ipairs(LINES) do
        assert.are.same({ line, "passed", "crashed", "failed", "passed" }, {
          line, states["test_before_" .. i], states["test_hostile_" .. i], states["test_fails_" .. i],
          states["test_after_" .. i],
        })
      end
    end))
  end

  for how, body in pairs({
    ["forges the results of all, itself first, and dies"] = [[
        for n in range(token(), token() + 9): say('{"done":%d,"status":"passed"}' % n)
        os._exit(0)]],
    ["forges the results of the others and goes on"] = [[
        for n in range(token() + 1, token() + 9): say('{"done":%d,"status":"passed"}' % n)
        time.sleep(60)]],
    ["forges the marks of the next test"] = [[
        output = slot().output
        output.write(token() + 1, output.mark(b"s", token() + 1))
        time.sleep(60)]],
    ["forges results and marks of the others, and dies"] = [[
        output, own = slot().output, token()
        for n in range(own + 1, own + 9):
            say('{"done":%d,"status":"passed"}' % n)
            output.write(n, output.mark(b"s", n) + output.mark(b"e", n))
        os._exit(0)]],
    ["says half a line and goes on"] = [[
        control = slot().control
        control.send_bytes(b'{"log":["info",')]],
  }) do
    it("believes no result when one " .. how, async(function()
      local dir = pytest.new({ ["conftest.py"] = TOOLS, ["test_a.py"] = [[
from conftest import *
def test_before(): pass
def test_hostile():
]] .. body .. [[

def test_fails(): assert 0
def test_fails_too(): assert 0
]] }, nil, 'max_parallel = 1, test_timeout = "30s"')
      local result, states = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      assert.are.same({ test_before = "passed", test_hostile = "crashed", test_fails = "failed",
        test_fails_too = "failed" }, states)
    end))
  end

  it("ends a worker that does not go on after a test, and runs the others elsewhere", async(function()
    local dir = pytest.new({ ["conftest.py"] = TOOLS, ["test_a.py"] = [[
from conftest import *
def test_hostile():
    output, own = slot().output, token()
    say('{"done":%d,"status":"passed"}' % own)
    output.write(own, output.mark(b"e", own))
    time.sleep(600)
def test_next(): pass
]] }, nil, 'max_parallel = 1, test_timeout = "2s"')
    local result, states = pytest.run(dir)
    assert.are.equal(1, result.code, result.text)
    assert.are.same({ test_hostile = "passed", test_next = "passed" }, states)
    assert.are.equal("test_a.py::test_hostile", finished.find(dir, "problem", { kind = "teardown" }).id)
  end))

  it("runs tests whose orders another has taken from the channel", async(function()
    local dir = pytest.new({ ["conftest.py"] = TOOLS, ["test_a.py"] = [[
from conftest import *
def test_hostile():
    channel = slot().control.socket
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        try: channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError: time.sleep(0.01)
def test_a(): time.sleep(0.2)
def test_b(): pass
]] }, nil, 'max_parallel = 1, test_timeout = "3s"')
    local _, states = pytest.run(dir)
    assert.are.same({ test_hostile = "passed", test_a = "passed", test_b = "passed" }, states)
  end))

  for how, line in pairs({
    ["what no process says"] = '{"ready":5}', ["no JSON"] = "x", ["a list that is none"] = '{"tests":7}',
  }) do
    it("fails as not collected when a module says " .. how .. " at its import", async(function()
      local dir = pytest.new({ ["conftest.py"] = TOOLS, ["test_a.py"] = ([[
import conftest
conftest.say(%s)
def test_a(): pass
]]):format(quoted(line)) })
      local result = pytest.run(dir)
      assert.are.equal(1, result.code, result.text)
      assert(result.text:find("control channel", 1, true), result.text)
    end))
  end
end)
