--- Many tests in one process: real processes under a real agent. A test is a line of shell; the process prints
--- "start N" before each and "end N" behind it, and the reader follows these.

local agents = require("spec.support.agent_process")
local batch = require("runner.worker.batch")
local listener = require("spec.support.listener")

local function items(scripts, timeout)
  local list = {}
  for i, script in ipairs(scripts) do
    local id = string.char(96 + i)
    list[i] = { id = id, test = { id = id, name = script }, attempt = 1, policy = { test_timeout = timeout } }
  end
  return list
end

--- Runs the scripts of some items; marks say which runs.
local function command(batch_items)
  local parts = {}
  for _, item in ipairs(batch_items) do
    parts[#parts + 1] = ("echo start %s\n%s\necho end %s $?"):format(item.id, item.test.name, item.id)
  end
  return { argv = { "/bin/sh", "-c", table.concat(parts, "\n") } }
end

--- Follows the marks while the process runs.
local function streaming(batch_items, sink)
  local by_id, rest = {}, ""
  for _, item in ipairs(batch_items) do by_id[item.id] = item end
  return { output = function(stream, bytes)
    if stream ~= "stdout" then return sink.output(nil, stream, bytes) end
    rest = rest .. bytes
    rest = rest:gsub("([^\n]*)\n", function(line)
      local word, id, code = line:match("^(%l+) (%l) ?(%d*)$")
      if word == "start" then
        sink.started(by_id[id])
      elseif word == "end" then
        sink.finished(by_id[id], { status = code == "0" and "passed" or "failed" })
      else
        sink.output(nil, "stdout", line .. "\n")
      end
      return ""
    end)
  end }
end

--- Reads the same marks at the end.
local function afterwards(batch_items, sink)
  local text, inner = {}, streaming(batch_items, sink)
  return {
    output = function(stream, bytes)
      if stream == "stdout" then text[#text + 1] = bytes end
    end,
    ended = function(_, done)
      local whole = table.concat(text):gsub("start %l\n", "")
      inner.output("stdout", whole)
      done()
    end,
  }
end

--- A worker over the agent. `runs` lists the batches that it made: "abc".
local function open(agent, spec, grace)
  local heard, runs = listener(), {}
  local ctx = {
    agent = agent, settings = { grace = grace or 0.2 },
    spawn = function(one) return agent:spawn(one) end,
  }
  local made = spec.command or command
  spec.command = function(batch_items)
    local ids = {}
    for i, item in ipairs(batch_items) do ids[i] = item.id end
    runs[#runs + 1] = table.concat(ids)
    return made(batch_items)
  end
  local worker = batch.worker(ctx, { index = 3 }, heard.report, spec)
  return worker, heard, runs
end

local function run(agent, spec, list)
  local worker, heard, runs = open(agent, spec)
  worker:push(list)
  worker:close()
  return heard, runs
end

local function words_of(heard, ...)
  local kept = {}
  for _, word in ipairs(heard.words) do
    for _, pattern in ipairs({ ... }) do
      if word:find(pattern) then kept[#kept + 1] = word break end
    end
  end
  return kept
end

local STATES = { "^passed", "^failed", "^crashed", "^timed_out", "^cancelled", "^lost" }

describe("batch, of a reader that says what runs:", function()
  it("runs many in one process, tells of each as it happens, and knows whose output it is", agents.with(function(agent)
    local heard, runs = run(agent, { reader = streaming, streams = true },
      items({ "echo one", "false", "echo three; echo three >&2" }))
    assert.are.same({ "start a", "passed a", "start b", "failed b", "start c", "passed c" }, heard.words)
    assert.are.same({ "abc" }, runs)
    assert.are.equal("one\n", heard.output.a)
    assert.matches("three\n", heard.output.c)
  end))

  it("blames the one that ran when the process dies, and goes on behind it", agents.with(function(agent)
    local heard, runs = run(agent, { reader = streaming, streams = true },
      items({ "true", "echo bye; kill -SEGV $$", "true", "exit 4", "true" }))
    assert.are.same({ "passed a", "crashed b", "passed c", "failed d", "passed e" },
      words_of(heard, table.unpack(STATES)))
    assert.are.same({ "abcde", "cde", "e" }, runs)
    assert.are.equal(11, heard.results.b.signal)
    assert.matches("bye", heard.results.b.trace)
    assert.are.equal("exit status 4", heard.results.d.message)
  end))

  it("takes results that come late, when another test runs", agents.with(function(agent)
    local function late(batch_items, sink)
      local held, own = {}, setmetatable({}, { __index = sink })
      function own.finished(...) held[#held + 1] = { ... } end
      local reader = streaming(batch_items, own)
      function reader.ended(_, done)
        for _, result in ipairs(held) do sink.finished(table.unpack(result)) end
        done()
      end
      return reader
    end
    local heard, runs = run(agent, { reader = late, streams = true }, items({ "true", "kill -SEGV $$", "true" }))
    assert.are.same({ "start a", "start b", "passed a", "crashed b", "start c", "passed c" }, heard.words)
    assert.are.same({ "abc", "c" }, runs)
  end))

  it("shows what a reader would show of the output", agents.with(function(agent)
    local function showing(batch_items, sink)
      local reader = streaming(batch_items, sink)
      function reader.tail() return "the rest is ours" end
      return reader
    end
    local heard = run(agent, { reader = showing, streams = true }, items({ "exit 3" }))
    assert.are.equal("the rest is ours", heard.results.a.trace)
  end))

  it("does not believe a process that ends well without a result", agents.with(function(agent)
    local heard = run(agent, { reader = streaming, streams = true }, items({ "true", "exit 0", "true" }))
    assert.are.same({ "passed a", "failed b", "passed c" }, words_of(heard, table.unpack(STATES)))
    assert.matches("ended well but gave no result", heard.results.b.message)
  end))

  it("ends a process that hangs before its first test, and finds whose fault it is", agents.with(function(agent)
    local list = items({ "true", "true", "true" }, 0.3)
    local worker, heard, runs = open(agent, {
      reader = streaming, streams = true,
      command = function(some)
        local one = command(some)
        for _, item in ipairs(some) do
          if item.id == "b" then one.argv[3] = "sleep 1000" end
        end
        return one
      end,
    })
    worker:push(list)
    heard.wait("start b") -- alone: from here on its clock is the core's
    worker:stop(list[2], "timeout")
    worker:close()
    assert.are.same({ "abc", "a", "b", "c" }, runs)
    assert.are.same({ "passed a", "failed b", "passed c" }, words_of(heard, table.unpack(STATES)))
  end))

  it("ends a process that does not end after its last test, and says so", agents.with(function(agent)
    local heard = run(agent, {
      reader = streaming, streams = true,
      command = function(list)
        local one = command(list)
        one.argv[3] = one.argv[3] .. "\nsleep 1000"
        return one
      end,
    }, items({ "true", "true" }, 0.3))
    assert.are.same({ "passed a", "passed b" }, words_of(heard, table.unpack(STATES)))
    assert.matches("did not end within 0.3 s after its last test", heard.words[#heard.words])
  end))

  it("stops a test, and runs the others in another process", agents.with(function(agent)
    local worker, heard, runs = open(agent, { reader = streaming, streams = true })
    local list = items({ "true", "sleep 1000", "true" })
    worker:push(list)
    heard.wait("start b")
    worker:stop(list[2], "timeout")
    worker:close()
    assert.are.same({ "passed a", "failed b", "passed c" }, words_of(heard, table.unpack(STATES)))
    assert.are.same({ "abc", "c" }, runs)
  end))

  it("gives back what waits, and when the run is cancelled what has not started", agents.with(function(agent)
    local worker, heard, runs = open(agent, { reader = streaming, streams = true })
    local list = items({ "true", "sleep 1000", "true", "true" })
    worker:push({ list[1], list[2], list[3] })
    worker:push({ list[4] })
    worker:take(5)
    heard.wait("start b")
    worker:stop(list[2], "cancelled")
    worker:close()
    assert.are.same({ "returned d", "passed a", "failed b", "returned c" }, words_of(heard, "^%l+ed "))
    assert.are.same({ "abc" }, runs)
  end))

  it("asks a process where it hangs before it ends it", agents.with(function(agent)
    local worker, heard = open(agent, { reader = streaming, streams = true, dump = 10 })
    local list = items({ "trap 'echo here' USR1; echo ready; while :; do sleep 0.01; done" })
    worker:push(list)
    agents.eventually(function() return (heard.output.a or ""):find("ready") end)
    worker:stop(list[1], "timeout")
    worker:close()
    assert.are.equal("ready\nhere\n", heard.output.a)
  end))

  it("tells what the process left running", agents.with(function(agent)
    local heard = run(agent, { reader = streaming, streams = true }, items({ "true", "setsid sleep 7531 &", "true" }))
    assert.are.same({ "problem leak left running: sleep 7531" }, words_of(heard, "^problem"))
  end))

  it("goes with the agent", agents.with(function(agent)
    local other, stream = agents.open()
    local worker, heard = open(other, { reader = streaming, streams = true })
    worker:push(items({ "true", "sleep 1000", "true" }))
    heard.wait("start b")
    other:give_up("gone")
    heard.wait("^exited")
    stream.exited:wait()
    assert.are.same({ "passed a", "lost b", "exited lost" }, words_of(heard, "^passed", "^lost", "^exited", "^failed"))
    assert.is_table(agent)
  end))
end)

describe("batch, of a reader that knows at the end:", function()
  it("tells all then", agents.with(function(agent)
    local heard, runs = run(agent, { reader = afterwards }, items({ "true", "false", "true" }))
    assert.are.same({ "passed a", "failed b", "passed c" }, words_of(heard, table.unpack(STATES)))
    assert.are.same({ "abc" }, runs)
  end))

  it("counts what was told before the process died; the rest runs again, in the end alone", agents.with(function(agent)
    local heard, runs = run(agent, { reader = afterwards }, items({ "true", "true", "kill -9 $$", "true", "true" }))
    assert.are.same({ "passed a", "passed b", "crashed c", "passed d", "passed e" },
      words_of(heard, table.unpack(STATES)))
    assert.are.same({ "abcde", "cde", "c", "d", "e" }, runs)
  end))

  it("gives a batch the time of all its tests, and each test its own when that has passed", agents.with(function(agent)
    local worker, heard, runs = open(agent, { reader = afterwards })
    local list = items({ "true", "sleep 1000", "true" }, 0.2)
    worker:push(list)
    heard.wait("start b")
    worker:stop(list[2], "timeout")
    worker:close()
    assert.are.same({ "abc", "b", "c" }, runs) -- what came out before the end counts
    assert.are.same({ "passed a", "failed b", "passed c" }, words_of(heard, table.unpack(STATES)))
  end))

  it("can be cancelled although nobody knows what runs", agents.with(function(agent)
    local worker, heard = open(agent, { reader = afterwards })
    worker:push(items({ "true", "sleep 1000", "true" }))
    worker:cancel()
    worker:close()
    assert.are.same({}, words_of(heard, "^crashed", "^failed"))
    assert.matches("^returned .*c$", heard.words[#heard.words])
  end))

  it("tells the command which attempt it is, and does not mix attempts", agents.with(function(agent)
    local list = items({ 'test "$RUNNER_ATTEMPT $RUNNER_WORKER" = "1 3"', 'test "$RUNNER_ATTEMPT" = 2', "true",
      'test "$RUNNER_ATTEMPT" = 2' })
    list[2].attempt, list[4].attempt = 2, 2
    local heard, runs = run(agent, { reader = afterwards }, list)
    assert.are.same({ "passed a", "passed c", "passed b", "passed d" }, words_of(heard, table.unpack(STATES)))
    assert.are.same({ "ac", "bd" }, runs)
  end))

  it("keeps apart what does not fit together", agents.with(function(agent)
    local long = ("x"):rep(30000)
    local list = items({ "true", "true", "true", "true", "true" })
    local _, runs = run(agent, {
      reader = afterwards, fits = function(batch_items, item) return batch_items[1].id ~= "d" and item.id ~= "d" end,
      size = function() return #long end,
    }, list)
    assert.are.same({ "ab", "ce", "d" }, runs)
  end))

  it("fails all tests at once when the command cannot be started", agents.with(function(agent)
    local heard, runs = run(agent, {
      reader = afterwards, command = function() return { argv = { "/nonexistent/tool" } } end,
    }, items({ "true", "true" }))
    assert.are.same({ "failed a", "failed b" }, words_of(heard, table.unpack(STATES)))
    assert.matches("/nonexistent/tool", heard.results.a.message)
    assert.are.same({ "ab" }, runs)
  end))

  it("waits for its turn, and can be cancelled there", agents.with(function(agent)
    local waiting, left = nil, 0
    local worker, heard, runs = open(agent, {
      reader = afterwards, turn = function(go) waiting = go end,
    })
    worker:push(items({ "true" }))
    assert.are.same({}, runs)
    waiting(function() left = left + 1 end)
    worker:close()
    assert.are.same({ "passed a" }, words_of(heard, table.unpack(STATES)))
    assert.are.equal(1, left)
    worker:push(items({ "true" }))
    worker:cancel()
    assert.are.equal("returned a", heard.words[#heard.words])
    waiting(function() left = left + 1 end)
    worker:push(items({ "true" }))
    worker:kill()
    waiting(function() left = left + 1 end)
    assert.are.same({ "a" }, runs)
    assert.are.equal(3, left)
  end))
end)
