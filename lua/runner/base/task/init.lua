--- Structured concurrency over the luv loop: tasks are coroutines that belong to scopes.
---
--- 1. A task belongs to exactly one scope, and a scope returns only when all its tasks have ended. Nothing is detached.
--- 2. `await(start)` is the one suspension point. `start(resume)` begins an operation and returns `abort`, which stops
---    it synchronously; the first of `resume` (now or later) and `abort` wins, anything after is ignored.
--- 3. The first error of a scope cancels the rest of it and is raised when all have ended.
--- 4. Cancellation is a state of a scope, not an event: it is raised at the pending await and again at every later
---    one, so a `pcall` cannot swallow it. It is delivered from the ready queue, never by resuming a coroutine on the
--- stack.
--- 5. A deadline is a scope with a timer. A shield is a scope that outer cancellation does not enter; clean-up awaits
---   there.
--- 6. Error tables travel unchanged; strings become error objects with the traceback of the task that raised them.
---
--- The model is that of Trio's nurseries (https://trio.readthedocs.io), reduced to what a test runner needs.

local uv = require("luv")
local scope = require("runner.base.task.scope")

local M = {
  main = scope.main,
  scope = scope.scope,
  deadline = scope.deadline,
  shield = scope.shield,
  await = scope.await,
  checkpoint = scope.checkpoint,
  is_task = scope.is_task,
  without_await = scope.without_await,
}

--- Lets other tasks and the loop run for at least `seconds`, and never less than a loop turn: libuv fires a timer of 0
--- ms that was started in a callback in the same turn, so a loop around `sleep(0)` would starve everything else.
---@param seconds number
---@async
function M.sleep(seconds)
  M.await(function(resume)
    local timer = uv.new_timer()
    timer:start(math.max(1, math.ceil(seconds * 1000)), 0, function()
      timer:close()
      resume()
    end)
    return function() timer:close() end
  end)
end

-- Waiting lists of event, channel and semaphore: closures in order of arrival, removed when aborted.

local function wait_in(list)
  return M.await(function(resume)
    local entry = { resume = resume }
    list[#list + 1] = entry
    return function()
      for i, other in ipairs(list) do
        if other == entry then return table.remove(list, i) end
      end
    end
  end)
end

local function wake_first(list, ...)
  local entry = table.remove(list, 1)
  if entry then entry.resume(...) end
  return entry ~= nil
end

---@class runner.Event set once, waited for by many
local Event = {}
Event.__index = Event

function Event:set(value)
  if self.done then return end
  self.done, self.value = true, value
  while wake_first(self.waiting, value) do end
end

---@return boolean
function Event:is_set() return self.done end

---@return any value given to `set`
---@async
function Event:wait()
  if self.done then
    M.checkpoint()
    return self.value
  end
  return wait_in(self.waiting)
end

---@return runner.Event
function M.event()
  return setmetatable({ done = false, waiting = {} }, Event)
end

---@class runner.Channel an unbounded queue between tasks
local Channel = {}
Channel.__index = Channel

--- Adds a value; never waits. Values put after `close` are dropped.
function Channel:put(value)
  if self.closed then return end
  if wake_first(self.waiting, value) then return end
  self.last = self.last + 1
  self[self.last] = value
end

--- The next value; nil once the channel is closed and empty.
---@async
function Channel:get()
  if self.first <= self.last then
    M.checkpoint()
    local value = self[self.first]
    self[self.first] = nil
    self.first = self.first + 1
    return value
  end
  if self.closed then return nil end
  return wait_in(self.waiting)
end

function Channel:close()
  self.closed = true
  while wake_first(self.waiting, nil) do end
end

---@return runner.Channel
function M.channel()
  return setmetatable({ first = 1, last = 0, waiting = {} }, Channel)
end

---@class runner.Semaphore
local Semaphore = {}
Semaphore.__index = Semaphore

--- Runs `fn` while holding one of the `n` permits.
---@async
function Semaphore:with(fn, ...)
  if self.free > 0 then
    self.free = self.free - 1
  else
    wait_in(self.waiting) -- the permit is handed over, so `free` stays 0
  end
  local _ <close> = self
  return fn(...)
end

--- Gives a permit back.
function Semaphore:__close()
  if not wake_first(self.waiting) then self.free = self.free + 1 end
end

---@param n integer permits
---@return runner.Semaphore
function M.semaphore(n)
  return setmetatable({ free = n, waiting = {} }, Semaphore)
end

local function results_of(results)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- Makes a function that calls `fn` once, for whoever asks first; the others wait. All get what it returned or raised,
--- later ones, too. When who asked is cancelled meanwhile, that is nobody else's: one of those who wait calls it anew.
---@param fn async fun(...): ...
---@param keeps? fun(err: any): boolean is an error for those who ask later, too (default: yes)? If not, they call anew
---@return async fun(...): ...
function M.once(fn, keeps)
  local called -- an event, set to the results; to nil after a cancellation
  return function(...)
    while called do
      local results = called:wait()
      if results then return results_of(results) end
    end
    local own = M.event()
    called = own
    local results = table.pack(pcall(fn, ...))
    local cancelled = not results[1] and not pcall(M.checkpoint)
    if cancelled or not results[1] and keeps and not keeps(results[2]) then called = nil end
    own:set(not cancelled and results or nil)
    return results_of(results)
  end
end

return M
