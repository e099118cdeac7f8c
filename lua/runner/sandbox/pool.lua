--- The sandboxes of a run: opened without a barrier, replaced when lost, closed when nothing is left to do.
---
--- `max_parallel` counts slots over all sandboxes. They are dealt round robin, one each until every slot is given out
--- or every sandbox has what it can take; a sandbox that does not tell before it is open counts as able to take all.
--- What one cannot take, because it has few cores or could not be opened, goes to the others. A sandbox without a
--- share is not opened until one becomes free.

local uv = require("luv")
local errors = require("runner.base.errors")
local hold_failed = require("runner.sandbox.hold_failed")
local sandbox = require("runner.sandbox")
local slot = require("runner.sandbox.slot")
local task = require("runner.base.task")

local M = {}

local OPEN_ATTEMPTS = 3
--- Sandboxes that may be lost one after the other before any test has ended. A single test can be the cause of four
--- (retry.LOST_BUDGET), and of more when it ends them before we hear that it has started.
local LOSSES = 6
local OPEN_DELAY_S = 0.5

---@class runner.Pool
---@field package entries runner.PoolEntry[] those that may still serve; the open ones first, in order of readiness
---@field package budget number slots in all
---@field package wanted number slots that there is work for
---@field slots integer dealt, also to sandboxes that are not yet open
---@field package open table<runner.Sandbox, true> until they are closed
local Pool = {}
Pool.__index = Pool

---@class runner.PoolEntry one place for a sandbox, and for those that replace it
---@field id string
---@field provider table bound provider
---@field target table? of the provider's `sandboxes`
---@field capacity integer? slots that it can take; nil: known once it is open
---@field share integer slots that it was dealt
---@field turn runner.Event set to true once it has a share, to false when it is no longer needed
---@field handle runner.Scope its task
---@field scope runner.Scope? of its slots, while it serves
---@field gone runner.Event? set when its open sandbox is lost
---@field running integer slots

--- How many slots there may be at once. A pool of machines is used in full unless somebody said otherwise: the cores
--- of this one mean nothing there.
---@param settings runner.Config
---@return integer? nil: no limit
function M.budget(settings)
  if settings.max_parallel_given then return settings.max_parallel end
  for _, provider in ipairs(settings.providers) do
    if provider.plugin.sandboxes then return nil end
  end
  return settings.max_parallel
end

---@param run runner.Run
---@return runner.Pool
function M.new(run)
  return setmetatable({
    run = run, entries = {}, open = {}, wanted = math.huge, indexes = {},
    budget = M.budget(run.settings) or math.huge,
  }, Pool)
end

--- Every sandbox that the run may use.
local function plan(settings)
  local share = math.max(1, settings.max_parallel // #settings.providers)
  local list, names = {}, {}
  local function add(provider, name, capacity, target)
    local id, n = ("%s-%s"):format(provider.name, name), 1
    while names[id] do
      n = n + 1
      id = ("%s-%s-%d"):format(provider.name, name, n)
    end
    names[id] = true
    list[#list + 1] = {
      provider = provider, id = id, capacity = capacity, target = target, share = 0, running = 0, losses = 0,
      turn = task.event(),
    }
  end
  for _, provider in ipairs(settings.providers) do
    local plugin, options = provider.plugin, provider.options
    if plugin.sandboxes then
      for _, target in ipairs(plugin.sandboxes(options, settings)) do
        add(provider, target.name, math.tointeger(target.slots), target)
      end
    else
      local slots = plugin.slots and plugin.slots(options, settings) or 1
      for _ = 1, math.max(1, math.ceil(share / slots)) do add(provider, #list + 1, slots) end
    end
  end
  return list
end

-- Slots -------------------------------------------------------------------------------------------------------------

local function take_index(self)
  local index = 0
  while self.indexes[index] do index = index + 1 end
  self.indexes[index] = true
  return index
end

--- Starts slots up to the entry's share.
local function grow(self, entry)
  local run, opened = self.run, entry.opened
  while entry.running < entry.share and not opened.lost and not entry.scope:is_cancelled() do
    local one = slot.new(run, opened, take_index(self))
    run.slots[#run.slots + 1] = one
    entry.running = entry.running + 1
    entry.scope:spawn(function()
      one:loop()
      self.indexes[one.index] = nil
      for i, other in ipairs(run.slots) do
        if other == one then table.remove(run.slots, i) break end
      end
    end)
  end
end

--- Deals the slots anew. Nobody who is open loses any, for what others can take only becomes less.
local function deal(self)
  local entries = self.entries
  local left = math.min(self.budget, self.wanted)
  local unknown = self.budget == math.huge and 1 or self.budget
  for _, entry in ipairs(entries) do entry.share = 0 end
  self.slots = 0
  local dealt
  repeat
    dealt = false
    for _, entry in ipairs(entries) do
      if left > 0 and entry.share < (entry.capacity or unknown) then
        entry.share = entry.share + 1
        left, self.slots, dealt = left - 1, self.slots + 1, true
      end
    end
  until not dealt
  local schedule = self.run.dispatch.schedule
  if schedule then schedule:resize(self.slots) end
  for _, entry in ipairs({ table.unpack(entries) }) do
    if entry.scope then grow(self, entry) elseif entry.share > 0 then entry.turn:set(true) end
  end
end

local function remove(self, entry)
  for i, other in ipairs(self.entries) do
    if other == entry then table.remove(self.entries, i) break end
  end
end

-- The life of a sandbox ---------------------------------------------------------------------------------------------

local function is_final(err)
  return errors.is(err, "config") or errors.is(err, "cancelled") or errors.is(err) and err.context.permanent
end

--- The machine's name, where it is the same in the next run: containers have another each time.
local function host_of(entry, opened)
  if entry.target then return entry.target.name end
  return opened.place.agent == "host" and opened.info.hostname or nil
end

local function open(self, entry)
  local run = self.run
  for try = 1, OPEN_ATTEMPTS do
    run.bus:emit({ event = "sandbox_started", sandbox = entry.id, provider = entry.provider.name })
    entry.paid_from = entry.paid_from or uv.hrtime()
    local gone = task.event()
    local ok, opened = pcall(sandbox.open, entry.provider, entry.id, run, function(lost)
      run.bus:emit({ event = "sandbox_lost", sandbox = lost.id, message = tostring(lost.lost) })
      gone:set(true)
    end, entry.target)
    if ok then
      entry.gone = gone
      self.open[opened] = true
      run.bus:emit({
        event = "sandbox_ready", sandbox = entry.id, slots = opened.slots, arch = opened.info.arch,
        cpus = opened.info.cpus, hostname = opened.info.hostname, host = host_of(entry, opened),
      })
      return opened
    end
    if is_final(opened) or try == OPEN_ATTEMPTS then error(opened, 0) end
    task.checkpoint()
    run.log("warning", "%s: %s; trying again", entry.id, tostring(opened))
    task.sleep((run.settings.open_delay or OPEN_DELAY_S) * try)
  end
end

--- Waits until the tests are known, or the sandbox is lost before that.
local function await_tests(self, entry)
  task.scope(function(scope)
    local either = task.event()
    for _, event in ipairs({ self.run.gate, entry.gone }) do
      scope:spawn(function()
        event:wait()
        either:set(true)
      end)
    end
    either:wait()
    scope:cancel()
  end)
end

--- Runs the slots of an open sandbox until nothing is left for them.
local function serve(self, entry)
  await_tests(self, entry)
  task.scope(function(scope)
    entry.scope = scope
    grow(self, entry)
  end)
end

--- For `first`: a sandbox is ready, or is no more.
local function changed(self)
  if self.change then self.change:set(true) end
end

--- It is open: now it is known what it can take, and those that were open before it come first.
local function enter(self, entry, opened)
  entry.opened, entry.capacity, entry.running = opened, opened.slots, 0
  remove(self, entry)
  local open_before = 0
  for _, other in ipairs(self.entries) do open_before = open_before + (other.opened and 1 or 0) end
  table.insert(self.entries, open_before + 1, entry)
  changed(self)
  deal(self)
end

local function leave(self, entry)
  entry.opened, entry.scope, entry.turn = nil, nil, task.event()
  remove(self, entry)
  if not self.over then
    self.entries[#self.entries + 1] = entry
    deal(self)
  end
end

--- What a sandbox has cost so far, where its provider's price for an hour is known.
local function spend(self, entry)
  local price = entry.provider.options.price
  if price and entry.paid_from then
    self.cost = (self.cost or 0) + (uv.hrtime() - entry.paid_from) / 3.6e12 * price
  end
  entry.paid_from = nil
end

local function close(self, entry, opened)
  self.run.bus:emit({ event = "sandbox_closing", sandbox = entry.id })
  opened:close()
  self.open[opened] = nil
  spend(self, entry)
  self.run.bus:emit({ event = "sandbox_closed", sandbox = entry.id })
end

--- The life of one sandbox and of those that replace it.
local function live(self, entry)
  while entry.turn:wait() and not self.over do
    local opened = open(self, entry)
    if self.over then -- while it was being opened
      close(self, entry, opened)
      return
    end
    enter(self, entry, opened)
    local ok, err = pcall(serve, self, entry)
    local schedule, served = self.run.dispatch.schedule, entry.running > 0 and not opened.lost
    local drained = served and not self.run.stopping and schedule and not schedule:is_done()
    if drained then
      self.wanted = math.max(1, self.slots - entry.share) -- nobody is to take its place
      remove(self, entry)
    elseif self.run.stopping or served or schedule and schedule:is_done() then
      self:finish()
    end
    if ok then hold_failed.wait(opened, self.run) end
    close(self, entry, opened)
    if not ok then error(err, 0) end
    if self.over or drained then return end
    if opened.lost then entry.losses = (opened.proven and 0 or entry.losses) + 1 end
    if entry.losses >= LOSSES then
      errors.raise("transport", ("it was lost %d times, at last: %s%s"):format(entry.losses, tostring(opened.lost),
        opened.why and "; " .. opened.why or ""))
    end
    leave(self, entry)
  end
end

--- Starts to open the sandboxes, as tasks of `scope`. One that cannot be opened is a problem of the run; the run fails
--- only when none can.
---@param scope runner.Scope
function Pool:start(scope)
  self.entries = plan(self.run.settings)
  for _, entry in ipairs({ table.unpack(self.entries) }) do
    entry.handle = scope:spawn(function()
      local ok, err = pcall(live, self, entry)
      entry.ended = true
      remove(self, entry)
      self.run:sandbox_ended()
      if not ok then
        task.checkpoint() -- the run itself was cancelled: no failure of this sandbox
        if errors.is(err, "cancelled") or errors.is(err, "config") or errors.is(err, "internal") then error(err, 0) end
        -- What all sandboxes share fails once for all of them.
        if err ~= self.failure then
          self.run:problem({ kind = "infrastructure", sandbox = entry.id, message = tostring(err) })
        end
        self.failure = err
      end
      if self.over then return end
      deal(self)
      changed(self)
    end)
  end
  deal(self)
end

--- Whether a sandbox of one of these providers is open or may still be.
---@param providers table<string, true>
---@return boolean
function Pool:can_serve(providers)
  for _, entry in ipairs(self.entries) do
    if providers[entry.provider.name] then return true end
  end
  return false
end

--- The first sandbox that is ready. Raises when none could be opened.
---@return runner.Sandbox
---@async
function Pool:first()
  while #self.entries > 0 do
    for _, entry in ipairs(self.entries) do
      if entry.opened and not entry.opened.lost then return entry.opened end
    end
    self.change = task.event()
    self.change:wait()
  end
  return error(self.failure or errors.new("provider", "no sandbox is left"), 0)
end

--- Calls `fn` with the first sandbox that is ready, and with another when that one is lost meanwhile.
---@param what string what it does there, for messages
---@param fn async fun(sandbox: runner.Sandbox): ...
---@return any ... what it returned
---@async
function Pool:in_first(what, fn)
  local opened
  for try = 1, OPEN_ATTEMPTS do
    opened = self:first()
    local results = table.pack(pcall(fn, opened))
    task.checkpoint()
    if not opened.lost then
      if not results[1] then error(results[2], 0) end
      return table.unpack(results, 2, results.n)
    end
    local how = try < OPEN_ATTEMPTS and "trying in another" or "giving up"
    self.run.log("warning", "%s was lost while it %s (%s); %s", opened.id, what, tostring(opened.lost), how)
  end
  return errors.raise("transport", ("%d sandboxes were lost while they %s, at last %s: %s"):format(OPEN_ATTEMPTS, what,
    opened.id, tostring(opened.lost)))
end

--- No more slots than there is work for.
---@param slots integer
function Pool:limit(slots)
  self.wanted = math.max(1, slots)
  deal(self)
end

--- Ends everything in all sandboxes at once, also in those that are being closed.
function Pool:kill()
  for opened in pairs(self.open) do opened:kill() end
end

--- No further sandbox is needed: those that wait or are being opened give up.
function Pool:finish()
  if self.over then return end
  self.over = true
  for _, entry in ipairs({ table.unpack(self.entries) }) do
    if not entry.opened then
      entry.turn:set(false)
      entry.handle:cancel()
    end
  end
end

return M
