--- What has to run before what: DEPENDS and fixtures, in one sandbox.
---
--- A queue that is shared by many sandboxes cannot promise an order. So a test that others need runs when the first of
--- them comes, once in each sandbox; when its own turn comes, what it did then is its result. A test whose fixture
--- cannot be set up fails. A clean-up waits for those that use its fixture; what was set up is cleaned up at the end.

local rw_gate = require("runner.worker.rw_gate")
local tail = require("runner.base.tail")
local verdict = require("frameworks.ctest.result")

local M = {}

local OUTPUT_KEPT = 1024 * 1024

---@class runner.ctest.Ran what a test did that ran because another needs it
---@field is_over boolean?
---@field attempt integer of the test that needed it
---@field result table?
---@field output string?
---@field waiting fun()[]

---@class runner.ctest.Order
---@field package entries table<string, runner.ctest.Entry> by id
---@field package ran table<string, runner.ctest.Ran> by id; set-ups that were cleaned up are not in it
---@field package last table<string, runner.ctest.Ran> by id
---@field package users table<string, integer> by fixture: tests that run
---@field package made table<string, true> fixtures that were set up, or whose set-up was tried
---@field package cleaning table<string, true>
---@field gate runner.Gate
local Order = {}
Order.__index = Order

---@param list runner.ctest.Entry[]
---@param spawn fun(entry: runner.ctest.Entry, callbacks: table, attempt: integer): runner.Command starts a test
---@return runner.ctest.Order
function M.new(list, spawn)
  local self = setmetatable({
    entries = {}, list = list, spawn = spawn, ran = {}, last = {}, users = {}, made = {}, cleaning = {}, waiting = {},
    needed = {}, gate = rw_gate.new(),
  }, Order)
  for _, entry in ipairs(list) do
    self.entries[entry.id] = entry
    for _, id in ipairs(entry.before) do self.needed[id] = true end
  end
  return self
end

--- Does the order matter at all?
---@param list runner.ctest.Entry[]
---@return boolean
function M.matters(list)
  for _, entry in ipairs(list) do
    if entry.before[1] or entry.cleanup[1] then return true end
  end
  return false
end

-- Fixtures ------------------------------------------------------------------------------------------------------------

--- The fixtures that a test makes or uses, with those that their set-ups use.
local function fixtures_of(self, entry, found)
  found = found or {}
  for _, fixture in ipairs(entry.required) do found[fixture] = true end
  for _, fixture in ipairs(entry.setup) do found[fixture] = true end
  for _, id in ipairs(entry.before) do
    if not found[self.entries[id]] then
      found[self.entries[id]] = true -- looked at; circles are CMake's to refuse
      if entry.needs[id] then fixtures_of(self, self.entries[id], found) end
    end
  end
  return found
end

local function each_fixture(self, entry, fn)
  for fixture in pairs(fixtures_of(self, entry)) do
    if type(fixture) == "string" then fn(fixture) end
  end
end

local function try_again(self)
  local waiting = self.waiting
  self.waiting = {}
  for _, fn in ipairs(waiting) do fn() end
end

--- Calls `fn` when none of the fixtures is being cleaned up; until `release` they are not.
---@param entry runner.ctest.Entry
---@param fn fun(release: fun())
function Order:use(entry, fn)
  local is_free = true
  each_fixture(self, entry, function(fixture) is_free = is_free and not self.cleaning[fixture] end)
  if not is_free then
    table.insert(self.waiting, function() self:use(entry, fn) end)
    return
  end
  local held = {}
  each_fixture(self, entry, function(fixture)
    held[fixture] = true
    self.users[fixture] = (self.users[fixture] or 0) + 1
  end)
  fn(function()
    for fixture in pairs(held) do self.users[fixture] = self.users[fixture] - 1 end
    held = {}
    try_again(self)
  end)
end

--- Calls `fn` when nobody uses what the test cleans up; until `release` nobody does, and then it has to be set up anew.
---@param entry runner.ctest.Entry
---@param fn fun(release: fun())
function Order:clean(entry, fn)
  for _, fixture in ipairs(entry.cleanup) do
    if self.cleaning[fixture] or (self.users[fixture] or 0) > 0 then
      table.insert(self.waiting, function() self:clean(entry, fn) end)
      return
    end
  end
  for _, fixture in ipairs(entry.cleanup) do self.cleaning[fixture] = true end
  fn(function()
    for _, fixture in ipairs(entry.cleanup) do
      self.cleaning[fixture], self.made[fixture] = nil, nil
      for id, ran in pairs(self.ran) do
        local other = self.entries[id]
        if ran.is_over and other.setup[1] and fixtures_of(self, other)[fixture] then self.ran[id] = nil end
      end
    end
    try_again(self)
  end)
end

-- What runs before ----------------------------------------------------------------------------------------------------

---@param id string
---@return string
function M.blame(id)
  return ("not run: %s, which sets up a fixture of this test, failed"):format(id)
end

local function finish(self, id, ran, result, output)
  ran.is_over, ran.result, ran.output = true, result, output
  self.last[id] = ran
  for _, fixture in ipairs(self.entries[id].setup) do self.made[fixture] = true end
  if result.status == "cancelled" or result.status == "lost" then self.ran[id], self.last[id] = nil, nil end
  local waiting = ran.waiting
  ran.waiting = {}
  for _, fn in ipairs(waiting) do fn() end
end

--- A test that others may need runs because it is its turn.
---@param id string
---@param attempt integer
---@return fun(result: table, output: string)? over to be called at its end; nil: nobody needs it
function Order:begin(id, attempt)
  if not self.needed[id] then return nil end
  local ran = { waiting = {}, attempt = attempt }
  self.ran[id] = ran
  return function(result, output) finish(self, id, ran, result, output) end
end

--- What a test did already, or does now, because another needed it.
---@param id string
---@return runner.ctest.Ran?
function Order:of(id)
  return self.ran[id] or self.last[id]
end

local function run(self, entry, job, release)
  local ran = { waiting = {}, attempt = job.attempt }
  self.ran[entry.id] = ran
  local function over(leave, result, output)
    leave()
    finish(self, entry.id, ran, result, output)
    release()
  end
  self.gate:enter(entry.serial or entry.locks[1] ~= nil, function(leave)
    local kept = tail.new(OUTPUT_KEPT)
    if job.is_cancelled then return over(leave, { status = "cancelled" }, "") end
    job.command = self.spawn(entry, {
      deadline = entry.timeout or entry.timeout == nil and job.timeout or nil,
      on_output = function(_, _, bytes) kept:add(bytes) end,
      on_exit = function(_, exit)
        job.command = nil
        local output = kept:text()
        local result = verdict.of(entry, exit, output)
        if exit.kind == "lost" then
          result.status = "lost"
        elseif exit.timed_out then
          result.message = "timed out"
        elseif exit.killed or exit.kind == "dropped" then
          result.status = "cancelled"
        end
        if exit.kind == "lost" then job.lost() end -- before anybody tries again
        over(leave, result, output)
      end,
    }, job.attempt)
  end)
end

local function is_good(result)
  return result.status == "passed" or result.status == "skipped"
end

--- Runs a test that another needs, after what it needs itself. Calls `step` when it is on its way.
local function start(self, id, job, step)
  local entry = self.entries[id]
  self:use(entry, function(release)
    self:prepare(entry, job, function(failed)
      local ran = self.ran[id] -- by somebody else meanwhile
      if job.is_cancelled or ran and ran.attempt >= job.attempt then
        release()
      elseif failed then
        self.ran[id] = { waiting = {}, attempt = job.attempt }
        finish(self, id, self.ran[id], { status = "failed", message = M.blame(failed) }, "")
        release()
      else
        run(self, entry, job, release)
      end
      step()
    end)
  end)
end

--- Sees to it that all that a test needs has run, then calls `done`, with the set-up that failed if one did.
---@param entry runner.ctest.Entry
---@param job table for whom: attempt, timeout?, lost() for the end of the sandbox; is_cancelled may be set meanwhile
---@param done fun(failed: string?)
function Order:prepare(entry, job, done)
  local at = 0
  local function step()
    if job.is_cancelled then return done() end
    local id = entry.before[at]
    local ran = id and self.ran[id]
    local has_failed = ran and ran.is_over and entry.needs[id] and not is_good(ran.result)
    if has_failed and ran.attempt < job.attempt then ran = nil end -- the set-up is tried again, too
    if ran and ran.is_over then
      if has_failed then return done(id) end
    elseif ran then
      table.insert(ran.waiting, step)
      return
    elseif id then
      return start(self, id, job, function()
        if job.is_cancelled then return done() end
        step()
      end)
    end
    at = at + 1
    if at > #entry.before then return done() end
    step()
  end
  step()
end

--- Cleans up what is still set up.
---@param run_one fun(entry: runner.ctest.Entry): table, string awaits; result and output
---@return table[] problems
---@async
function Order:close(run_one)
  local problems = {}
  for i = #self.list, 1, -1 do -- what was set up later may need what was set up before
    local entry = self.list[i]
    local is_due = false
    for _, fixture in ipairs(entry.disabled and {} or entry.cleanup) do is_due = is_due or self.made[fixture] end
    if is_due then
      local result, output = run_one(entry)
      if not is_good(result) then
        problems[#problems + 1] = {
          kind = "teardown", id = entry.id, text = output,
          message = ("the clean-up %s failed: %s"):format(entry.id, result.message or result.status),
        }
      end
    end
  end
  return problems
end

return M
