--- Command lines of the user's that run on this machine, through /bin/sh: once to their end, or as a byte stream.
--- Each has a process group of its own, so that all of it can be ended, and a Ctrl-C at the terminal is ours to
--- handle.

local uv = require("luv")
local command_line = require("runner.io.command_line")
local environment = require("runner.io.process").environment
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local task = require("runner.base.task")

local M = {}

local KEEP = 1024 * 1024 -- bytes of output kept
local TAIL = 4096
local LINGER_MS = 500 -- for pipes that a background process still holds after the command's end
local STREAM_GRACE_MS = 2000

M.quote, M.join = command_line.quote, command_line.join

local function close(handle)
  if handle and not handle:is_closing() then handle:close() end
end

---@class runner.ShellProcess
local Process = {}
Process.__index = Process

local function settle(self)
  if self.settled then return end
  self.settled = true
  close(self.linger)
  close(self.killer)
  for _, pipe in ipairs(self.pipes) do close(pipe) end
  self.on_exit(self.code, self.signal)
end

local function piece_ended(self)
  self.open = self.open - 1
  if self.open == 0 then settle(self) end
end

---@class runner.ShellOptions
---@field cwd string?
---@field env table<string, string|false>? on top of our own
---@field on_output fun(stream: "stdout"|"stderr", bytes: string)
---@field on_exit fun(code: integer, signal: integer) after the last output

--- Starts a command line. Plain callbacks. Raises an error of kind "spawn".
---@param line string
---@param options runner.ShellOptions
---@return runner.ShellProcess
function M.start(line, options)
  local self = setmetatable({ on_exit = options.on_exit, open = 3 }, Process)
  self.pipes = { uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false) }
  local pid
  self.handle, pid = uv.spawn("/bin/sh", {
    args = { "-c", line }, cwd = options.cwd, env = environment(options.env), stdio = self.pipes, detached = true,
  }, function(code, signal)
    close(self.handle)
    self.code, self.signal, self.over = code, signal, true
    self.linger = uv.new_timer()
    self.linger:start(LINGER_MS, 0, function() settle(self) end)
    piece_ended(self)
  end)
  if not self.handle then
    for _, pipe in ipairs(self.pipes) do close(pipe) end
    errors.raise("spawn", ("cannot start %s: %s"):format(line, pid), { command = line })
  end
  self.pid = pid
  for i, name in ipairs({ "stdout", "stderr" }) do
    self.pipes[i + 1]:read_start(function(_, bytes)
      if bytes then return options.on_output(name, bytes) end
      close(self.pipes[i + 1])
      piece_ended(self)
    end)
  end
  return self
end

--- Bytes for its stdin; dropped when it no longer reads.
function Process:write(bytes)
  if not self.pipes[1]:is_closing() then self.pipes[1]:write(bytes) end
end

--- Ends its stdin, after what was written.
function Process:shutdown()
  local stdin = self.pipes[1]
  if self.shut or stdin:is_closing() then return end
  self.shut = true
  stdin:shutdown(function() close(stdin) end)
end

--- TERM to its whole group, KILL after the grace.
---@param grace_ms integer? default 0: KILL at once
function Process:kill(grace_ms)
  if self.settled then return end
  if not grace_ms or grace_ms <= 0 then
    uv.kill(-self.pid, "sigkill")
    return
  end
  uv.kill(-self.pid, "sigterm")
  uv.kill(-self.pid, "sigcont") -- one that was stopped cannot see that
  self.killer = self.killer or uv.new_timer()
  self.killer:start(grace_ms, 0, function() uv.kill(-self.pid, "sigkill") end)
end

local function keep(text, bytes)
  if #text >= KEEP then return text end
  return text .. bytes:sub(1, KEEP - #text)
end

---@class runner.ShellResult
---@field code integer 128 + n when signal n ended it
---@field signal integer 0 when it exited by itself
---@field stdout string
---@field stderr string
---@field timed_out boolean

--- Starts a command line and gathers what it says until its end. Plain callbacks. Raises an error of kind "spawn".
---@param line string
---@param options { cwd: string?, env: table?, timeout: number?, grace: number?, stdin: string? }
---@param on_done fun(result: runner.ShellResult)
---@return runner.ShellProcess
function M.gather(line, options, on_done)
  local texts, timed_out, timer = { stdout = "", stderr = "" }, false, nil
  local process = M.start(line, {
    cwd = options.cwd,
    env = options.env,
    on_output = function(stream, bytes) texts[stream] = keep(texts[stream], bytes) end,
    on_exit = function(code, signal)
      close(timer)
      on_done({
        code = signal ~= 0 and 128 + signal or code, signal = signal, stdout = texts.stdout, stderr = texts.stderr,
        timed_out = timed_out,
      })
    end,
  })
  if options.stdin then process:write(options.stdin) end
  process:shutdown()
  if options.timeout then
    timer = uv.new_timer()
    timer:start(math.ceil(options.timeout * 1000), 0, function()
      timed_out = true
      process:kill(math.ceil((options.grace or 0) * 1000))
    end)
  end
  return process
end

--- Runs a command line to its end. Cancelled: all of it is killed.
---@param line string
---@param options table? see `gather`
---@return runner.ShellResult
---@async
function M.run(line, options)
  return task.await(function(resume)
    local process = M.gather(line, options or {}, resume)
    return function() process:kill(0) end
  end)
end

--- The end of what a command said, on one line, for messages.
---@param text string
---@return string
function M.excerpt(text)
  local tail = text:sub(-TAIL):gsub("%s+$", ""):gsub("%s*\n%s*", " | "):gsub("%c", " ")
  return #tail > 400 and "…" .. tail:sub(-400):gsub("^[\128-\191]+", "") or tail
end

--- What went wrong with a command, or nil when nothing did.
---@param name string what to call it
---@param result runner.ShellResult
---@param timeout number? the limit that it was given
---@return string? message
function M.complaint(name, result, timeout)
  local how
  if result.timed_out then
    how = ("did not end within %g s and was killed"):format(timeout)
  elseif result.signal ~= 0 or result.code ~= 0 then
    how = exit_text.verb(result)
  else
    return nil
  end
  local said = M.excerpt(result.stderr ~= "" and result.stderr or result.stdout)
  return ("%s %s%s"):format(name, how, said ~= "" and ": " .. said or "")
end

--- A command line as a two-way byte stream over its stdin and stdout. The end of the stream names the status when that
--- is not 0, and the end of what it wrote to stderr.
---@param line string
---@param options { cwd: string?, env: table? }?
---@return runner.Stream
function M.stream(line, options)
  options = options or {}
  local stream, waiting, err, on_bytes, ended = {}, {}, "", nil, nil

  local function finish()
    if ended and on_bytes and not stream.closed then on_bytes(nil, ended.message) end
  end

  local process = M.start(line, {
    cwd = options.cwd,
    env = options.env,
    on_output = function(name, bytes)
      if name == "stderr" then
        err = (err .. bytes):sub(-TAIL)
      elseif stream.closed then
        return
      elseif on_bytes then
        on_bytes(bytes)
      else
        waiting[#waiting + 1] = bytes
      end
    end,
    on_exit = function(code, signal)
      ended = { message = M.complaint("it", { code = code, signal = signal, stderr = err, stdout = "" }) }
      finish()
    end,
  })

  function stream:start(fn)
    on_bytes = fn
    for _, bytes in ipairs(waiting) do fn(bytes) end
    waiting = {}
    finish()
  end

  function stream:write(bytes) process:write(bytes) end
  function stream:shutdown() process:shutdown() end

  --- What is at the other end ends by itself when its stdin does; what does not is killed.
  function stream:close()
    if self.closed then return end
    self.closed = true
    process:shutdown()
    if not process.over then process:kill(STREAM_GRACE_MS) end
  end

  return stream
end

return M
