--- A real agent for specs: the stream to it, commands run to their end, and what /proc says of the results.
---
---     it("…", agents.with(function(agent) … end))
---
--- RUNNER_AGENT names another agent program than our own binary's.

local uv = require("luv")
local assert = require("luassert")
local async = require("spec.support.async")
local connect = require("runner.agent.client").connect
local project = require("spec.support.project")
local task = require("runner.base.task")

local M = { read = project.read, eventually = require("spec.support.eventually") }

local function program()
  local other = os.getenv("RUNNER_AGENT")
  if other then return other, {} end
  return uv.exepath(), { "agent" }
end

--- Starts an agent; the stream also has pid, and `exited`, an event with the exit code and signal.
---@param env string[]? its whole environment, "K=V"
function M.stream(env)
  local stdin, stdout = uv.new_pipe(false), uv.new_pipe(false)
  local stream = { exited = task.event() }
  local path, args = program()
  local process
  process, stream.pid = uv.spawn(path, {
    args = args, env = env, stdio = { stdin, stdout, 2 },
  }, function(code, signal)
    process:close()
    stream.exited:set({ code = code, signal = signal })
  end)
  assert(process, stream.pid)

  function stream:start(on_bytes)
    self.on_bytes = on_bytes
    self:resume()
  end

  function stream:pause() stdout:read_stop() end

  function stream:resume()
    local on_bytes = self.on_bytes
    stdout:read_start(function(err, bytes)
      if not bytes and not stdout:is_closing() then stdout:close() end
      on_bytes(bytes, err)
    end)
  end

  function stream:write(bytes) stdin:write(bytes) end

  function stream:shutdown()
    stdin:shutdown(function()
      if not stdin:is_closing() then stdin:close() end
    end)
  end

  function stream:close()
    if not stdin:is_closing() then stdin:close() end
    if not stdout:is_closing() then stdout:close() end
  end

  return stream
end

--- Connects and waits for the agent's HELLO.
---@return runner.Agent, table stream
---@async
function M.open(options)
  options = options or {}
  local stream = M.stream(options.env)
  local agent
  local _, err = task.await(function(resume)
    agent = connect(stream, {
      run_id = options.run_id or "spec",
      on_ready = function(info) resume(info) end,
      on_lost = function(lost)
        if options.on_lost then options.on_lost(lost) end
        resume(nil, lost)
      end,
    })
  end)
  assert(not err, tostring(err))
  return agent, stream
end

--- A test with an agent of its own, which must end well.
---@param fn async fun(agent: runner.Agent, stream: table)
---@param options table? for `open`
function M.with(fn, options)
  return async(function()
    local agent, stream = M.open(options)
    local ok, err = pcall(fn, agent, stream)
    task.await(function(resume) agent:close(resume) end)
    local exit = stream.exited:wait()
    if not ok then error(err, 0) end
    assert.are.same({ code = 0, signal = 0 }, exit)
  end)
end

--- Starts a command. `started` and `exited` are events; output gathers in stdout, stderr, control; `order` holds
--- "started", stream names and "exited" as they came.
---@return table run
function M.start(agent, spec)
  local run = { started = task.event(), exited = task.event(), order = {} }
  local parts = { stdout = {}, stderr = {}, control = {} }
  local said
  function run.text(stream) return table.concat(parts[stream or "stdout"]) end
  function run.wait()
    local exit = run.exited:wait()
    run.stdout, run.stderr, run.control = run.text(), run.text("stderr"), run.text("control")
    return run, exit
  end
  -- Waits until the output contains the pattern; returns the captures.
  function run.says(pattern, stream)
    while not run.text(stream):find(pattern) do
      if run.exit then error("it ended without saying " .. pattern .. ": " .. run.text(stream)) end
      said = task.event()
      said:wait()
    end
    return run.text(stream):match(pattern)
  end
  local function note(what)
    run.order[#run.order + 1] = what
    if said then said:set(true) end
  end
  spec.on_start = function(_, pid, realtime)
    run.pid, run.realtime = pid, realtime
    note("started")
    run.started:set(pid)
  end
  spec.on_output = function(_, stream, bytes)
    table.insert(parts[stream], bytes)
    note(stream)
  end
  spec.on_exit = function(_, exit)
    assert(not run.exit, "a second exit")
    run.exit = exit
    note("exited")
    run.exited:set(exit)
  end
  run.command = agent:spawn(spec)
  return run
end

--- Runs a command to its end.
---@return table run, table exit
---@async
function M.run(agent, spec)
  return M.start(agent, spec).wait()
end

--- `sh -c script`, with more of the spec in a table.
---@async
function M.sh(agent, script, spec)
  spec = spec or {}
  spec.argv = { "sh", "-c", script }
  return M.run(agent, spec)
end

--- Is there such a process, other than a dead one?
---@param pid integer|string
function M.alive(pid)
  local stat = M.read(("/proc/%d/stat"):format(pid))
  local state = stat and stat:match("^.*%) (%a)")
  return state ~= nil and state ~= "Z" and state ~= "X"
end

--- Peak resident memory of a living process, in bytes.
function M.peak_memory(pid)
  return 1024 * tonumber(M.read(("/proc/%d/status"):format(pid)):match("VmHWM:%s*(%d+)"))
end

return M
