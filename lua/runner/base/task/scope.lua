--- The tree of scopes and the scheduler of its tasks; the rules that this keeps are those of runner.task.

local uv = require("luv")
local host = require("runner.core.host")
local errors = require("runner.base.errors")

local M = {}

---@class runner.Scope
---@field package parent runner.Scope?
---@field package owner runner.Task the task that runs inside it
---@field package children table<runner.Scope, true>
---@field package live integer tasks that have not ended
---@field package failure any? the first error of a task of this scope
---@field package reason any? the error that cancellation raises; nil while not cancelled
---@field package shielded boolean?
local Scope = {}
Scope.__index = Scope
Scope.__name = "runner.scope"

---@class runner.Task
---@field name string
---@field package co thread
---@field package scope runner.Scope innermost scope this task is in
---@field package abort function? stops the pending operation
---@field package interruptible boolean? suspended in an await that cancellation may end
local Task = {}
Task.__index = Task
Task.__name = "runner.base.task"

---@type runner.Task?
local current
local ready, first, last = {}, 1, 0 -- queue of suspended tasks that may go on
local draining = false

local unpack = table.unpack

--- Runs ready tasks until none is left. Only ever entered from the loop or from `main`, never from inside a task.
local function drain()
  if draining then return end
  draining = true
  while first <= last do
    local task = ready[first]
    ready[first] = nil
    first = first + 1
    current = task
    local ok, err = coroutine.resume(task.co)
    current = nil
    if not ok then -- the entry function catches everything: this is a fault of this file
      draining = false
      error(debug.traceback(task.co, tostring(err)))
    end
  end
  draining = false
end

local function wake(task)
  last = last + 1
  ready[last] = task
  if not draining then drain() end
end

--- The reason for which the current task must stop, if any: that of the innermost cancelled scope up to a shield.
local function pending_cancel(scope)
  while scope do
    if scope.reason then return scope.reason end
    if scope.shielded then return nil end
    scope = scope.parent
  end
end

local function new_scope(parent, owner)
  local scope = setmetatable({ parent = parent, owner = owner, children = {}, live = 0 }, Scope)
  if parent then parent.children[scope] = true end
  return scope
end

local function interrupt(scope)
  local owner = scope.owner
  if owner.interruptible and owner.scope == scope then
    owner.interruptible = nil
    local abort = owner.abort
    owner.abort = nil
    if abort then abort() end
    wake(owner)
  end
  for child in pairs(scope.children) do
    if not child.shielded then interrupt(child) end
  end
end

--- Cancels everything in the scope. The scope itself then ends without an error.
---@param reason any? the error raised in its tasks; default: an error object of kind "cancelled"
function Scope:cancel(reason)
  if self.reason then return end
  self.reason = reason or errors.new("cancelled", "cancelled")
  local was_draining = draining
  draining = true -- collect all wake-ups first: no task runs while the tree is walked
  interrupt(self)
  draining = was_draining
  if not draining and not current then drain() end
end

---@return boolean
function Scope:is_cancelled()
  return pending_cancel(self) ~= nil
end

local function describe(err)
  if type(err) ~= "string" then return err end
  return errors.coerce(err, "internal")
end

--- Suspends until every task of `scope` has ended; not interruptible, because cancellation reaches those tasks
--- themselves.
local function join(scope, task)
  while scope.live > 0 do
    scope.joining = task
    coroutine.yield()
    scope.joining = nil
  end
end

local function task_ended(scope)
  scope.live = scope.live - 1
  if scope.live == 0 and scope.joining then wake(scope.joining) end
end

--- Starts `fn(...)` as a task of this scope. May be called by any task inside the scope while it is open.
---@param fn async fun(...)
---@return runner.Scope handle its own scope: `handle:cancel()` ends this task alone
function Scope:spawn(fn, ...)
  assert(not self.closed, "spawn in a scope that has ended")
  local args = table.pack(...)
  local task = setmetatable({}, Task)
  local own = new_scope(self, task)
  task.scope = own
  task.co = coroutine.create(function()
    local ok, err = true, nil
    if not pending_cancel(own) then
      ok, err = xpcall(fn, describe, unpack(args, 1, args.n))
    end
    own.closed = true
    self.children[own] = nil
    if not ok and err ~= pending_cancel(own) then
      if not self.failure then self.failure = err end
      self:cancel()
    end
    task_ended(self)
  end)
  self.live = self.live + 1
  wake(task)
  return own
end

--- Runs `fn(scope)` inside `scope`, joins its tasks and restores the task's scope; returns xpcall's results.
local function run_scope(scope, fn)
  local task = current --[[@as runner.Task]]
  local outer = task.scope
  task.scope = scope
  local results = table.pack(xpcall(fn, describe, scope))
  if not results[1] and not scope.failure and results[2] ~= pending_cancel(scope) then
    scope.failure = results[2]
  end
  if not results[1] then scope:cancel() end
  join(scope, task)
  scope.closed = true
  task.scope = outer
  outer.children[scope] = nil
  if scope.failure then error(scope.failure, 0) end
  return results
end

local function inner_scope()
  assert(current, "this needs a task: call it inside task.main")
  return new_scope(current.scope, current)
end

--- Opens a scope: returns what `fn` returns once all tasks spawned in it have ended. Raises the first error, after the
--- others were cancelled. `scope:cancel()` makes it return nothing.
---@generic T
---@param fn async fun(scope: runner.Scope): T
---@return T
---@async
function M.scope(fn)
  local scope = inner_scope()
  local results = run_scope(scope, fn)
  if results[1] then return unpack(results, 2, results.n) end
  local reason = pending_cancel(current.scope)
  if reason then error(reason, 0) end
end

--- Runs `fn(scope)` for at most `seconds`.
---@param seconds number? nil: no limit
---@param fn async fun(scope: runner.Scope): ...
---@return true|nil ok nil when the time ran out
---@return any ... the results of `fn`, or an error object of kind "timeout"
---@async
function M.deadline(seconds, fn)
  local scope = inner_scope()
  local timer, expired
  if seconds then
    timer = uv.new_timer()
    timer:start(math.max(0, math.ceil(seconds * 1000)), 0, function()
      expired = errors.new("timeout", ("timed out after %g s"):format(seconds))
      scope:cancel(expired)
    end)
  end
  local ok, results = xpcall(run_scope, describe, scope, fn)
  if timer then timer:close() end
  if not ok then error(results, 0) end
  if results[1] then return true, unpack(results, 2, results.n) end
  local reason = pending_cancel(current.scope)
  if reason then error(reason, 0) end
  return nil, expired or scope.reason
end

--- Runs `fn` out of reach of outer cancellation. For clean-up; combine with a deadline.
---@param fn async fun(scope: runner.Scope): ...
---@async
function M.shield(fn)
  local scope = inner_scope()
  scope.shielded = true
  local results = run_scope(scope, fn)
  if results[1] then return unpack(results, 2, results.n) end
end

--- The one suspension point.
---@param start fun(resume: fun(...)): fun()? begins the operation; returns the function that stops it
---@return any ... what `resume` was given
---@async
function M.await(start)
  local task = assert(current, "await needs a task: not at module level, not while a configuration loads")
  local reason = pending_cancel(task.scope)
  if reason then error(reason, 0) end
  local values, suspended, dead
  local abort = start(function(...)
    if dead then return end
    dead, values = true, table.pack(...)
    if suspended then
      task.interruptible, task.abort = nil, nil
      wake(task)
    end
  end)
  if not values then
    suspended = true
    task.interruptible = true
    task.abort = function()
      dead = true
      if abort then abort() end
    end
    coroutine.yield()
  end
  if values then return unpack(values, 1, values.n) end
  error(pending_cancel(task.scope), 0)
end

--- Raises if the current task was cancelled. For loops that do not await.
function M.checkpoint()
  local reason = current and pending_cancel(current.scope)
  if reason then error(reason, 0) end
end

---@return boolean inside a task
function M.is_task()
  return current ~= nil
end

--- Calls `fn(...)` where awaiting is an error: while a configuration loads.
function M.without_await(fn, ...)
  local task = current
  current = nil
  local results = table.pack(pcall(fn, ...))
  current = task
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, results.n)
end

--- Runs `fn(scope)` as the root task and the loop until it has ended. The only place that runs the loop.
---@param fn async fun(scope: runner.Scope): ...
---@return any ... its results; raises its error
function M.main(fn)
  assert(not current, "task.main inside a task")
  local results
  local task = setmetatable({}, Task)
  local root = new_scope(nil, task)
  task.scope = root
  task.co = coroutine.create(function()
    results = table.pack(xpcall(function() return unpack(run_scope(new_scope(root, task), fn)) end, describe))
    uv.stop()
  end)
  draining = false
  wake(task)
  local failure
  while not results do
    uv.run()
    local err = host.callback_error()
    if err then
      err = describe(err)
      failure = failure or err
      root:cancel(err)
    elseif not results and not uv.loop_alive() then
      error("deadlock: the root task waits and nothing is left that could wake it\n"
        .. debug.traceback(task.co), 0)
    end
  end
  if failure then error(failure, 0) end
  if not results[1] then error(results[2], 0) end
  if results[2] == false then error(results[3], 0) end
  return unpack(results, 3, results.n)
end

return M
