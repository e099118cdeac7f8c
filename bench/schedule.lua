-- The queue in simulated runs: how far from the bound max(total / slots, longest) they end, beside what runners do that
-- deal the tests out beforehand. Run by `./dev bench schedule`; prints one line of JSON for each row.
--
--   schedule.lua         the rows with goals: durations are log-normal (sigma 2), the median of several seeds is shown
--   schedule.lua cpu     what the queue itself costs
--   schedule.lua spread  20,000 tests on ever more sandboxes, sigma 1: there the work binds, not the longest test
--
-- Of the sandboxes 5 % die, each once at a moment within the bound, and are replaced; 2 % stop without a word and are
-- given up after 20 s; at least one does either.

local cjson = require("cjson")
local heap = require("runner.base.heap")
local model = require("runner.schedule.forecast.model")
local random = require("runner.schedule.forecast.random")
local schedule = require("runner.schedule")

local SIZES = { { 2000, 10, 25 }, { 100000, 1000, 5 }, { 1000000, 10000, 1 } }
local DETECT_S = 20

local function tests_of(n, knowledge, seed, sigma)
  local r, tests, total, longest = random.new(seed), {}, 0, 0
  for i = 1, n do
    local duration = r:lognormal(0, sigma)
    local off = knowledge == "off" and r:lognormal(0, 0.5) or 1
    total, longest = total + duration, math.max(longest, duration)
    local cost = knowledge ~= "none" and duration * off or nil
    tests[i] = { id = "t" .. i, duration = duration, cost = cost, straggles = cost and cost * 3 + 1 }
  end
  return tests, total, longest
end

--- The longest load when tests are dealt out beforehand: by what they are believed to take, or one after the other.
local function dealt(tests, slots, by_cost)
  local loads = {}
  for i = 1, slots do loads[i] = 0 end
  if by_cost then
    local order = table.move(tests, 1, #tests, 1, {})
    table.sort(order, function(a, b) return a.cost > b.cost end)
    local least = heap.new(function(a, b) return a.believed < b.believed end)
    for i = 1, slots do least:push({ believed = 0, slot = i }) end
    for _, test in ipairs(order) do
      local one = least:pop()
      one.believed = one.believed + test.cost
      loads[one.slot] = loads[one.slot] + test.duration
      least:push(one)
    end
  else
    for i, test in ipairs(tests) do loads[(i - 1) % slots + 1] = loads[(i - 1) % slots + 1] + test.duration end
  end
  local most = 0
  for _, load in ipairs(loads) do most = math.max(most, load) end
  return most
end

local function faults_of(slots, bound, seed)
  local r, dies, stalls, left = random.new(seed * 7919 + 1), {}, {}, {}
  for i = 1, slots do left[i] = i end
  local function pick(fate, part)
    for _ = 1, math.max(1, part * slots // 1) do fate[table.remove(left, r:below(#left))] = r:uniform() * bound end
  end
  pick(dies, 0.05)
  pick(stalls, 0.02)
  return { dies = function(i) return dies[i] end, stalls = function(i) return stalls[i] end, detect = DETECT_S }
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local function write(record)
  io.write(cjson.encode(record), "\n")
  io.flush()
end

--- One row: the median over seeds of what `measure(tests, bound, seed)` makes of them, as a part of the bound.
local function row(record, knowledge, measure)
  local ratios, worst, long = {}, 0, 0
  for seed = 1, record.seeds do
    local tests, total, longest = tests_of(record.tests, knowledge, seed, record.sigma)
    local bound = math.max(total / record.sandboxes, longest)
    ratios[seed] = measure(tests, bound, seed) / bound
    worst, long = math.max(worst, ratios[seed]), long + (longest == bound and 1 or 0)
    tests = nil -- luacheck: ignore 311 (a million tables, free before the next million)
    collectgarbage()
  end
  record.ratio, record.worst, record.longest_binds = median(ratios), worst, long
  write(record)
end

local function simulated(n, slots, seeds, sigma, case, knowledge, faults)
  local record = {
    kind = "simulated", tests = n, sandboxes = slots, seeds = seeds, sigma = sigma, case = case, copies = 0,
  }
  row(record, knowledge, function(tests, bound, seed)
    local pool = faults and faults_of(slots, bound, seed) or {}
    pool.sandboxes = slots
    local run = model.run(tests, pool)
    record.copies = math.max(record.copies, run.copies)
    return run.makespan
  end)
end

local function static(n, slots, seeds, sigma, case, knowledge)
  local record = { kind = "static", tests = n, sandboxes = slots, seeds = seeds, sigma = sigma, case = case }
  row(record, knowledge, function(tests) return dealt(tests, slots, knowledge ~= "none") end)
end

--- Processor time of the queue alone: every test handed out, started and finished once.
local function cpu_row(n, slots)
  local r, items = random.new(1), {}
  for i = 1, n do items[i] = { id = i, group = "g", cost = r:lognormal(0, 2), attempt = 1 } end
  collectgarbage()
  local started = os.clock()
  local queue = schedule.new({ groups = { g = {} }, slots = slots })
  queue:add(items)
  local held, done = {}, 0
  for i = 1, slots do
    held[i] = { first = 1, last = 0, idle = { sandbox = i, capacity = 1 }, busy = { sandbox = i, capacity = 1 } }
  end
  local function hold(slot, list)
    for _, item in ipairs(list or {}) do
      slot.last = slot.last + 1
      slot[slot.last] = item
    end
  end
  while done < n do
    for i = 1, slots do
      local slot = held[i]
      if slot.first > slot.last then hold(slot, queue:lease(i, slot.idle)) end
      local item = slot[slot.first]
      if item then
        slot[slot.first], slot.first = nil, slot.first + 1
        queue:started(i, item)
        hold(slot, queue:more(i, slot.busy))
        queue:finished(i, item)
        done = done + 1
      end
    end
  end
  local cpu = os.clock() - started
  local memory
  for line in io.lines("/proc/self/status") do memory = memory or tonumber(line:match("^VmHWM:%s+(%d+)")) end
  write({ kind = "cpu", tests = n, sandboxes = slots, us_per_test = cpu / n * 1e6, resident_mb = memory / 1024 })
end

if arg[1] == "cpu" then
  cpu_row(1000000, 10000)
elseif arg[1] == "spread" then
  for _, slots in ipairs({ 2, 5, 10, 20, 50, 100, 200, 500 }) do
    simulated(20000, slots, 5, 1, "estimates off by sigma 0.5", "off")
    simulated(20000, slots, 5, 1, "without history", "none")
    static(20000, slots, 5, 1, "dealt beforehand, longest first, estimates off", "off")
    static(20000, slots, 5, 1, "dealt beforehand, one after the other", "none")
  end
else
  for _, size in ipairs(SIZES) do
    local n, slots, seeds = table.unpack(size)
    simulated(n, slots, seeds, 2, "with history", "known")
    simulated(n, slots, seeds, 2, "estimates off by sigma 0.5", "off")
    simulated(n, slots, seeds, 2, "without history", "none")
    simulated(n, slots, seeds, 2, "with history, 5 % die, 2 % stall", "known", true)
    static(n, slots, seeds, 2, "dealt beforehand, longest first, estimates off", "off")
    static(n, slots, seeds, 2, "dealt beforehand, one after the other", "none")
  end
end
