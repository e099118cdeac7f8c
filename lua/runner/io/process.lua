--- Processes of the host itself: a two-way byte stream to one (the local agent), or one run to its end (tools such as
--- cp). What tests run goes through the agent instead.

local uv = require("luv")
local errors = require("runner.base.errors")
local task = require("runner.base.task")

local M = {}

--- One that is ending must not be disturbed: LeakSanitizer's look at it hangs when a SIGCONT comes.
local WAKE_AFTER_S = 1
local REAP_GRACE_S = 5
local READ_LIMIT = 4 * 1024 * 1024 -- of the output of `run`, per stream, unless told otherwise

local function close(handle)
  if handle and not handle:is_closing() then handle:close() end
end

--- Our environment with changes, as luv wants it; nil without any.
---@param changes table<string, string|false>? false: unset
---@return string[]?
function M.environment(changes)
  if not changes then return nil end
  local env = uv.os_environ()
  for key, value in pairs(changes) do env[key] = value or nil end
  local list = {}
  for key, value in pairs(env) do list[#list + 1] = key .. "=" .. value end
  return list
end

---@class runner.Stream what a provider's `connect` returns
---@field start fun(self, on_bytes: fun(bytes: string?, err: string?)) nil bytes: the end
---@field write fun(self, bytes: string)
---@field shutdown fun(self)? ends what we say; reading goes on until the other side ends too
---@field close fun(self)

--- Starts a process and returns the byte stream over its stdin and stdout; its stderr is ours.
---@param argv string[]
---@param options { cwd: string?, env: table? }?
---@return runner.Stream stream also with `reap(self)`
function M.stream(argv, options)
  options = options or {}
  local stdin, stdout = uv.new_pipe(false), uv.new_pipe(false)
  local stream, process, gone = {}, nil, task.event()
  local on_end

  function stream:close()
    close(stdin)
    close(stdout)
    -- The agent ends by itself when its stdin ends; its exit closes the process handle.
  end

  --- Closes it and waits for the end of the process; one that hangs is killed.
  ---@async
  function stream:reap()
    local function is_gone(seconds) return task.deadline(seconds, function() gone:wait() end) end
    self:close()
    if is_gone(WAKE_AFTER_S) then return end
    process:kill("sigcont") -- one that was stopped cannot see that its input has ended
    if is_gone(REAP_GRACE_S) then return end
    process:kill("sigkill")
    gone:wait()
  end

  local spawned, err = uv.spawn(argv[1], {
    args = table.move(argv, 2, #argv, 1, {}),
    cwd = options.cwd,
    env = M.environment(options.env),
    stdio = { stdin, stdout, 2 },
    detached = true, -- a Ctrl-C at the terminal is ours to handle, not the agent's
  }, function()
    close(process)
    gone:set(true)
  end)
  if not spawned then
    stream:close()
    errors.raise("spawn", ("cannot start %s: %s"):format(argv[1], err), { command = argv[1] })
  end
  process = spawned

  function stream:start(on_bytes)
    on_end = on_bytes
    stdout:read_start(function(read_err, bytes)
      on_bytes(bytes, read_err)
    end)
  end

  function stream:write(bytes)
    if stdin:is_closing() then return end
    stdin:write(bytes, function(write_err)
      if write_err and on_end and not stdin:is_closing() then on_end(nil, write_err) end
    end)
  end

  --- The end of its stdin; what it still says is read.
  function stream:shutdown()
    if not stdin:is_closing() then stdin:shutdown() end
  end

  return stream
end

---@class runner.ProcessResult
---@field code integer
---@field signal integer 0 when it exited by itself
---@field stdout string
---@field stderr string

--- Runs a process to its end. Cancelled: it is killed.
---@param argv string[]
---@param options { cwd: string?, env: table?, limit: integer? }? `limit`: bytes kept of each stream
---@return runner.ProcessResult
---@async
function M.run(argv, options)
  options = options or {}
  local out, limit = { { size = 0 }, { size = 0 } }, options.limit or READ_LIMIT
  local result, err = task.await(function(resume)
    local pipes = { uv.new_pipe(false), uv.new_pipe(false) }
    local open, exit, process = 3, nil, nil
    local function done()
      open = open - 1
      if open > 0 then return end
      close(process)
      for _, pipe in ipairs(pipes) do close(pipe) end
      exit.stdout, exit.stderr = table.concat(out[1]), table.concat(out[2])
      resume(exit)
    end
    local spawn_err
    process, spawn_err = uv.spawn(argv[1], {
      args = table.move(argv, 2, #argv, 1, {}),
      cwd = options.cwd,
      env = M.environment(options.env),
      stdio = { nil, pipes[1], pipes[2] },
    }, function(code, signal)
      exit = { code = code, signal = signal }
      done()
    end)
    if not process then
      for _, pipe in ipairs(pipes) do close(pipe) end
      resume(nil, ("cannot start %s: %s"):format(argv[1], spawn_err))
      return
    end
    for i, pipe in ipairs(pipes) do
      pipe:read_start(function(_, bytes)
        if not bytes then return done() end
        if out[i].size >= limit then return end
        out[i].size = out[i].size + #bytes
        table.insert(out[i], bytes)
      end)
    end
    return function()
      process:kill("sigkill")
      close(process)
      for _, pipe in ipairs(pipes) do close(pipe) end
    end
  end)
  if not result then errors.raise("spawn", err, { command = argv[1] }) end
  return result
end

return M
