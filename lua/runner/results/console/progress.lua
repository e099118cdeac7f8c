-- How far the run is: the tests that run now, the lines of the live block, and the counter line that
-- takes its place off a terminal.

local uv = require("luv")
local summary = require("runner.results.console.summary")
local vocabulary = require("runner.results.vocabulary")

local M = {}

local shown = 8 -- running tests below the progress line
local narrow = 50 -- columns below which only the essentials are shown
local bar_shortest, bar_longest = 8, 30 -- columns

---@class runner.Progress
---@field total integer tests of the run
---@field done integer tests that ended
---@field counts table<string, integer> by final state; plus slow, leaky, problems
local Progress = {}
Progress.__index = Progress
Progress.__name = "runner.progress"

---@param style runner.Style
---@param name fun(id: string): string how to show a test
---@return runner.Progress
function M.new(style, name)
  return setmetatable({
    style = style,
    name = name,
    total = 0,
    done = 0,
    counts = { slow = 0, leaky = 0, problems = 0 },
    running = {},
    running_count = 0,
    order = 0,
    began = uv.now(),
  }, Progress)
end

function Progress:start(id)
  if self.running[id] then return end
  self.order = self.order + 1
  self.running[id] = { id = id, since = uv.now(), order = self.order }
  self.running_count = self.running_count + 1
end

function Progress:stop(id)
  if not self.running[id] then return end
  self.running[id] = nil
  self.running_count = self.running_count - 1
end

--- Counts a final state.
function Progress:finish(status)
  self.done = self.done + 1
  self.counts[status] = (self.counts[status] or 0) + 1
end

--- Running tests, the longest running first.
---@param limit integer
---@return { id: string, since: integer }[]
function Progress:oldest(limit)
  local list = {}
  for _, entry in pairs(self.running) do
    local place = #list + 1
    while place > 1 and list[place - 1].order > entry.order do place = place - 1 end
    if place <= limit then
      table.insert(list, place, entry)
      list[limit + 1] = nil
    end
  end
  return list
end

local function failed(counts)
  return (counts.failed or 0) + (counts.timed_out or 0) + (counts.crashed or 0) + counts.problems
end

-- The bar takes the room that the words leave.
function Progress:_bar(columns)
  if columns < bar_shortest then return "", "" end
  columns = math.min(columns, bar_longest)
  local full = self.total > 0 and math.min(columns, self.done * columns // self.total) or 0
  return self.style.bar.full:rep(full), self.style.bar.empty:rep(columns - full) .. " "
end

function Progress:_head(columns)
  local counts = self.counts
  local bad = failed(counts)
  if not self.is_known and columns < narrow then return { { "collecting" .. self.style.ellipsis, "green" } } end
  local colour = bad > 0 and "red" or "green"
  local share = ("%d/%d"):format(self.done, self.total)
  if columns < narrow then
    return { { share, colour }, { bad > 0 and (" %d failed"):format(bad) or "", "red" } }
  end
  local label = ("%12s"):format(self.is_known and "Running" or "Collecting")
  local clock = (" [ %s] "):format(vocabulary.clock((uv.now() - self.began) / 1000))
  if not self.is_known then return { { label, colour }, { clock }, { "the tests" .. self.style.ellipsis } } end
  local words = { { ("%s: %d running, %d passed"):format(share, self.running_count,
    (counts.passed or 0) + (counts.flaky or 0)) } }
  if bad > 0 then words[#words + 1] = { (", %d failed"):format(bad), "red" } end
  if counts.flaky then words[#words + 1] = { (", %d flaky"):format(counts.flaky), "yellow" } end
  if counts.quarantined then
    words[#words + 1] = { (", %d quarantined"):format(counts.quarantined), "yellow" }
  end
  if counts.skipped then
    words[#words + 1] = { (", %d skipped"):format(counts.skipped), "cyan" }
  end
  local room = columns - #label - #clock - 1
  for _, word in ipairs(words) do room = room - #word[1] end
  local full, empty = self:_bar(room)
  return { { label, colour }, { clock }, { full, colour }, { empty, "dim" }, table.unpack(words) }
end

--- The live block: a progress line and the running tests below it.
---@param columns integer that may be used
---@param rows integer of the terminal
---@return runner.Segment[][]
function Progress:lines(columns, rows)
  local lines = { self:_head(columns) }
  local room = math.max(0, math.min(shown, rows - 3))
  local now = uv.now()
  for _, entry in ipairs(self:oldest(room)) do
    entry.name = entry.name or self.name(entry.id)
    local elapsed = (now - entry.since) / 1000
    local time = columns < narrow and ("%3.0fs "):format(elapsed)
      or (" "):rep(13) .. vocabulary.duration(elapsed) .. " "
    lines[#lines + 1] = { { time }, { entry.name, is_name = true } }
  end
  if room > 0 and self.running_count > room then
    local indent = columns < narrow and 5 or 13
    lines[#lines + 1] = { { ("%s%s and %d more running"):format((" "):rep(indent),
      self.style.ellipsis, self.running_count - room), "dim" } }
  end
  return lines
end

--- One line of counters.
---@param elapsed number seconds
---@param running boolean? with the number of running tests
---@return string line
function Progress:counter(elapsed, running)
  local percent = self.total > 0 and self.done * 100 // self.total or 0
  return ("%s %s %d/%d: %s%s\n"):format(
    self.style:status("blue", ("[%3d%%]"):format(percent)), vocabulary.duration(elapsed),
    self.done, self.total, running and ("%d running, "):format(self.running_count) or "",
    summary.counts(self.style, self.counts))
end

--- The counter line if one is due after a test ended: at every tenth of the tests, though at most
--- one a second, and at least one every five seconds. How many run is left out: what has just ended is
--- not replaced yet.
---@param elapsed number seconds since the start
---@return string? line
function Progress:due(elapsed)
  local tenth = self.total > 0 and self.done * 10 // self.total or 0
  local waited = elapsed - (self.counted or 0)
  if waited < 1 or (waited < 5 and tenth == self.tenth) or self.done == self.total then
    return nil
  end
  self.counted, self.tenth = elapsed, tenth
  return self:counter(elapsed)
end

--- What to say after a long silence: the counters and the test that takes longest.
---@param elapsed number seconds since the start
---@return string lines
function Progress:alive(elapsed)
  if not self.is_known then
    return ("%s %s the tests%s\n"):format(self.style:status("blue", "Collecting"), vocabulary.duration(elapsed),
      self.style.ellipsis)
  end
  local oldest = self:oldest(1)[1]
  return self:counter(elapsed, true) .. (not oldest and "" or ("%13slongest: %s %s\n"):format("",
    vocabulary.duration((uv.now() - oldest.since) / 1000), self.name(oldest.id)))
end

return M
