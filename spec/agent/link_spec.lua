--- The link between host and agent: flow control, its death on either side, and frames that nobody should send.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local frame = require("runner.agent.frame")
local task = require("runner.base.task")

local with, start = agents.with, agents.start

describe("agent", function()
  describe("flow control", function()
    it("lets a command print far more than anybody remembers", with(function(agent, stream)
      if os.getenv("RUNNER_SANITIZED") then return pending("a sanitizer takes memory of its own") end
      local size, got = 300 * 1024 * 1024, 0
      local exit = task.await(function(resume)
        agent:spawn({
          argv = { "head", "-c", tostring(size), "/dev/zero" },
          on_output = function(_, _, bytes) got = got + #bytes end,
          on_exit = function(_, result) resume(result) end,
        })
      end)
      assert.are.equal(0, exit.code)
      assert.are.equal(size, got)
      assert(agents.peak_memory(stream.pid) < 16e6, agents.peak_memory(stream.pid))
    end))

    it("stops a command whose output nobody takes, and only that one", async(function()
      local stream, sent, out, exits = agents.stream(), {}, {}, task.channel()
      local decoder = frame.decoder(frame.to_host)
      stream:start(function(bytes)
        if bytes then
          assert(decoder:feed(bytes, function(f)
            if f.type == "out" then out[f.id] = (out[f.id] or 0) + #f.bytes end
            if f.type == "exit" then exits:put(f) end
          end))
        end
      end)
      local function send(name, id, fields)
        sent[#sent + 1] = assert(frame.encode(frame.to_agent, name, id, fields))
        stream:write(sent[#sent])
      end
      local function zeroes(bytes)
        return { argv = { "head", "-c", tostring(bytes), "/dev/zero" } }
      end
      send("hello", 0, { version = 1 })
      send("spawn", 1, zeroes(10000000))
      send("spawn", 2, zeroes(200000))
      assert.are.equal(2, exits:get().id)
      agents.eventually(function() return out[1] == frame.WINDOW end)
      send("spawn", 3, zeroes(200000))
      assert.are.equal(3, exits:get().id)
      assert.are.same({ frame.WINDOW, 200000, 200000 }, out)
      send("credit", 1, { bytes = 10000000 })
      assert.are.equal(1, exits:get().id)
      assert.are.equal(10000000, out[1])
      stream:shutdown()
      assert.are.same({ code = 0, signal = 0 }, stream.exited:wait())
      stream:close()
    end))

    it("keeps the agent small when the host does not read at all", with(function(agent, stream)
      if os.getenv("RUNNER_SANITIZED") then return pending("a sanitizer takes memory of its own") end
      local runs, total = {}, 0
      for i = 1, 30 do
        runs[i] = start(agent, { argv = { "head", "-c", "2000000", "/dev/zero" } })
      end
      runs[30].started:wait()
      stream:pause()
      task.sleep(0.3)
      assert(agents.peak_memory(stream.pid) < 16e6, agents.peak_memory(stream.pid))
      stream:resume()
      for i = 1, 30 do
        assert.are.equal(0, select(2, runs[i].wait()).code)
        total = total + #runs[i].stdout
      end
      assert.are.equal(60000000, total)
    end))

    it("answers a ping at once among a hundred thousand lines", with(function(agent)
      local run = start(agent, { argv = { "sh", "-c", "while :; do seq 100000; done" } })
      run.says("100000\n")
      for _ = 1, 10 do
        local before = uv.hrtime()
        assert.is_nil(task.await(function(resume) agent:ping(resume) end))
        assert((uv.hrtime() - before) / 1e9 < 1)
      end
      run.command:kill()
      run.wait()
    end))
  end)

  describe("death", function()
    it("of the host takes everything along within a second", async(function()
      local stdout = uv.new_pipe(false)
      local said, ended = "", task.event()
      local host, err
      host, err = uv.spawn(uv.exepath(), {
        args = { "lua", "spec/support/doomed_host.lua" }, stdio = { nil, stdout, 2 },
      }, function()
        host:close()
        ended:set(true)
      end)
      assert(host, err)
      stdout:read_start(function(_, bytes)
        if bytes then said = said .. bytes else stdout:close() end
      end)
      agents.eventually(function() return said:find("ready\n") end, 20)
      local pids, folder = {}, said:match("folder (%S+)")
      for pid in said:gsub("folder %S+", ""):gmatch("%d+") do pids[#pids + 1] = pid end
      assert.are.equal(151, #pids)
      for _, pid in ipairs(pids) do assert.is_true(agents.alive(pid)) end
      assert(uv.fs_stat(folder))

      host:kill("sigkill")
      ended:wait()
      local start_ns = uv.hrtime()
      agents.eventually(function()
        for _, pid in ipairs(pids) do
          if agents.alive(pid) then return false end
        end
        return not uv.fs_stat(folder)
      end)
      assert((uv.hrtime() - start_ns) / 1e9 < 1)
    end))

    it("of the agent loses every command, and what was asked", async(function()
      local lost
      local agent, stream = agents.open({ on_lost = function(err) lost = err end })
      local running = start(agent, { argv = { "sleep", "100" }, lane = 1 })
      local queued = start(agent, { argv = { "sleep", "100" }, lane = 1 })
      local pid = running.started:wait()
      uv.kill(stream.pid, "sigkill")
      local _, exit = running.wait()
      assert.are.equal("lost", exit.kind)
      assert.are.equal("the agent ended", exit.message)
      assert.are.equal("lost", select(2, queued.wait()).kind)
      assert.are.equal("transport", lost.kind)
      agents.eventually(function() return not agents.alive(pid) end) -- its parent's death is its own
      assert.are.equal("lost", select(2, start(agent, { argv = { "true" } }).wait()).kind)
      local err = task.await(function(resume) agent:ping(resume) end)
      assert.matches("closed", err)
      task.await(function(resume) agent:close(resume) end)
      stream.exited:wait()
    end))

    it("that was asked for ends what still runs", async(function()
      local agent, stream = agents.open()
      local run = start(agent, { argv = { "sh", "-c", "trap '' TERM; echo ready; sleep 100" } })
      run.says("ready")
      local closed = task.event()
      agent:close(function() closed:set(true) end)
      assert.are.equal("lost", select(2, run.wait()).kind)
      closed:wait()
      assert.is_false(agents.alive(run.pid))
      stream.exited:wait()
    end))

    it("is no matter of signals from a terminal", with(function(agent, stream)
      for _, name in ipairs({ "sigterm", "sigint", "sighup", "sigpipe" }) do
        uv.kill(stream.pid, name)
      end
      assert.are.equal(0, select(2, agents.run(agent, { argv = { "true" } })).code)
    end))
  end)

  describe("refuses", function()
    -- Sends the bytes; returns the agent's ERROR and its exit code.
    local function offend(bytes)
      local stream, message = agents.stream(), nil
      local decoder, over = frame.decoder(frame.to_host), task.event()
      stream:start(function(came)
        if not came then return over:set(true) end
        assert(decoder:feed(came, function(f)
          if f.type == "error" then message = f.message end
        end))
      end)
      stream:write(bytes)
      over:wait()
      local exit = stream.exited:wait()
      stream:close()
      return message, exit.code
    end

    local hello = frame.encode(frame.to_agent, "hello", 0, { version = 1, run_id = "x" })
    local function raw(code, payload)
      return string.pack("<I4BI4", #payload + 5, code, 1) .. payload
    end
    local function spawn(fields, id)
      fields.argv = fields.argv or { "sleep", "100" }
      return frame.encode(frame.to_agent, "spawn", id or 1, fields)
    end

    local cases = {
      { "text", "GET / HTTP/1.1\r\n\r\n", "impossible length" },
      { "a frame before HELLO", frame.encode(frame.to_agent, "ping", 1), "not HELLO" },
      { "a second HELLO", hello .. hello, "second HELLO" },
      { "another version", frame.encode(frame.to_agent, "hello", 0, { version = 2 }), "version" },
      { "an unknown type", hello .. raw(99, ""), "unknown type 99" },
      { "an impossible length", hello .. "\255\255\255\255", "impossible length" },
      { "a SPAWN cut short", hello .. raw(2, "\0\0\0\0"), "malformed SPAWN" },
      { "a SPAWN that is too long", hello .. raw(2, spawn({}):sub(10) .. "x"), "malformed SPAWN" },
      { "too many arguments", hello .. raw(2, ("\0"):rep(40) .. "\1\16\0\0"), "malformed SPAWN" },
      { "a SPAWN without a program", hello .. spawn({ argv = {} }), "without a program" },
      { "an empty program", hello .. spawn({ argv = { "" } }), "without a name" },
      { "a NUL in a string", hello .. spawn({ argv = { "a\0b" } }), "malformed SPAWN" },
      { "a variable without a name", hello .. spawn({ env = { "=x" } }), "nameless" },
      { "unknown flags", hello .. spawn({ flags = 64 }), "unknown flags" },
      { "the id 0", hello .. spawn({}, 0), "no id" },
      { "an id twice", hello .. spawn({}) .. spawn({}), "taken" },
      { "input without a stream", hello .. raw(3, "\7x"), "malformed INPUT" },
      { "a signal that is none", hello .. raw(4, "\200"), "malformed SIGNAL" },
      { "a folder's name with a slash", hello .. raw(8, "\1\0\0\0/"), "malformed MKDTEMP" },
      { "input beyond the window", hello .. spawn({ flags = 4 }) ..
        raw(3, "\0" .. ("x"):rep(200000)):rep(2), "beyond the window" },
    }
    for _, case in ipairs(cases) do
      it(case[1], async(function()
        local message, code = offend(case[2])
        assert.matches(case[3], message, 1, true)
        assert.are.equal(70, code)
      end))
    end
  end)

  it("host refuses what is no agent", async(function()
    local connect = require("runner.agent.client").connect
    for _, case in ipairs({
      { "Welcome to the machine!\n", "no agent answers.*Welcome to the machine!" },
      { frame.encode(frame.to_host, "pong", 1), "first frame was PONG" },
      { frame.encode(frame.to_host, "hello", 0, { version = 9 }), "version 9" },
      { frame.encode(frame.to_host, "hello", 0, { version = 1 }) ..
        frame.encode(frame.to_host, "exit", 5, {}), "EXIT for 5, which nobody knows" },
    }) do
      local closed = 0
      local err = task.await(function(resume)
        connect({
          start = function(_, on_bytes) on_bytes(case[1]) end,
          write = function() end,
          close = function() closed = closed + 1 end,
        }, { on_lost = resume })
      end)
      assert.matches(case[2], tostring(err))
      assert.are.equal(1, closed)
    end
  end))
end)
