-- The console's lines about attempts, tests and problems, as they end.

local blocks = require("runner.results.console.blocks")
local outcome = require("runner.base.outcome")
local signals = require("runner.io.signals")
local summary = require("runner.results.console.summary")
local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")

local skips_told = 20 -- skip lines before the rest is only counted
local slowest_told = 5
local names_told = 5 -- of the tests that did not run, for each reason

---@type table<string, fun(console: runner.Console, event: table)>
local M = {}

local function details(console, attempt)
  -- With `verbose` the output was already printed as it came.
  return blocks.failure(console.style, attempt, {
    output = not console.verbose, folder = console.folder,
  })
end

function M.attempt_started(console, event)
  console.progress:start(event.id)
end

function M.attempt_slow(console, event)
  console.slow[event.id] = true
  if console.quiet then return end
  console:print(console:line("SLOW", "yellow", event.elapsed, event.id, {
    over = true, blank = true,
  }))
end

function M.attempt_finished(console, event)
  local id = event.id
  console.progress:stop(id)
  if console.output_lines then console.output_lines:finish(id) end
  if not event.retry then
    console.last[id] = event
  elseif not console.quiet then
    local word, colour = vocabulary.word(event.status, event.attempt)
    console:print(console:line(word, colour, event.duration, id, {
      blank = true, note = signals.name(event.signal),
    }) .. details(console, event))
  end
end

-- Texts that are there, for the brackets after a name.
local function notes(...)
  local list = {}
  for i = 1, select("#", ...) do list[#list + 1] = select(i, ...) or nil end
  return list[1] and table.concat(list, ", ")
end

-- A failure in quarantine is told apart from those that count, and a quiet console only names it.
local function tell_failure(console, event, last)
  local try = (event.attempts or 1) > 1 and event.attempts or nil
  local word, colour = vocabulary.word(event.status, try)
  local list, quarantine = console.state.failures, event.quarantine
  if quarantine then colour, list = "yellow", console.state.quarantined end
  local signal = last and signals.name(last.signal)
  if not (quarantine and console.quiet) then
    console:print(console:line(word, colour, event.duration, event.id, {
      note = notes(signal, quarantine and vocabulary.quarantined(quarantine)),
    }) .. (last and details(console, last) or ""))
  end
  list.count = list.count + 1
  if list.count > summary.listed then return end
  local note = notes(signal, type(quarantine) == "string" and text.first_line(quarantine))
  list[list.count] = {
    word = quarantine and "QUARANTINED" or vocabulary.word(event.status), colour = colour,
    duration = event.duration, id = event.id, rerun = true,
    name = console:display_name(event.id) .. (note and (" (%s)"):format(note) or ""),
    message = last and text.first_line(text.shorten(text.repair(last.message or ""), 1000)),
  }
end

-- After an interruption these are thousands: told once, by reason, in the summary.
local function note_not_run(console, event, status)
  local groups = console.state.not_run
  local reason = text.first_line(event.reason or "no reason was given")
  local key = status .. reason
  local group = groups[key]
  if not group then
    group = { reason = reason, count = 0, names = {}, word = vocabulary.word(status) }
    groups[key] = group
    groups[#groups + 1] = group
  end
  group.count = group.count + 1
  if group.count <= names_told then group.names[group.count] = console:display_name(event.id) end
end

local function tell_skip(console, event, last)
  if console.quiet then return end
  console.skips = console.skips + 1
  if not console.verbose and console.skips > skips_told then
    if console.skips == skips_told + 1 then
      console:print(("%s further skips are only counted; -v tells each\n"):format(
        console.style:status("cyan", "SKIP")))
    end
    return
  end
  local reason = text.first_line(tostring(event.reason or last and last.reason or ""))
  console:print(console:line(last and last.xfail and "XFAIL" or "SKIP", "cyan", event.duration,
    event.id, { note = reason ~= "" and reason or nil }))
end

local function tell_pass(console, event, last)
  local counts = console.progress.counts
  local slow = console.slow[event.id]
  local leaks = last and last.leaks
  local leaky = leaks and next(leaks) ~= nil
  if slow then counts.slow = counts.slow + 1 end
  if leaky then
    counts.leaky = counts.leaky + 1
    console.unclean[event.id] = true
  end
  if event.status == "flaky" then
    table.insert(console.state.flaky, {
      word = ("FLAKY %d/%d"):format(event.attempts or 1, event.max_attempts or event.attempts or 1),
      colour = "yellow", duration = event.duration, id = event.id,
      name = console:display_name(event.id)
        .. (event.quarantine and (" (%s)"):format(vocabulary.quarantined(event.quarantine)) or ""),
    })
  end
  if console.quiet then return end
  local word, colour = "PASS", "green"
  if event.status == "flaky" then
    word, colour = vocabulary.word("flaky", event.attempts)
  elseif leaky then
    word, colour = "LEAK", "yellow"
  elseif not (console.verbose or slow) then
    return
  end
  console:print(console:line(word, colour, event.duration, event.id)
    .. blocks.leaks(console.style, leaks))
end

-- Keeps the slowest few, slowest first.
local function rank(console, event)
  local list, duration = console.state.slowest, event.duration or 0
  local place = #list + 1
  while place > 1 and list[place - 1].duration < duration do place = place - 1 end
  if place > slowest_told then return end
  table.insert(list, place, {
    word = "Slowest", colour = "blue", duration = duration, id = event.id,
    name = console:display_name(event.id),
  })
  list[slowest_told + 1] = nil
end

function M.test_finished(console, event)
  local status, id = event.status, event.id
  local last = console.last[id]
  console.last[id] = nil
  if status == "not_run" and last and last.status == "cancelled" then status = "cancelled" end
  console.progress:stop(id)
  console.progress:finish(event.quarantine and outcome.FAILURE[status] and "quarantined" or status)
  if status == "passed" or status == "flaky" then
    tell_pass(console, event, last)
  elseif status == "skipped" then
    tell_skip(console, event, last)
  elseif status == "not_run" or status == "cancelled" then
    note_not_run(console, event, status)
  else
    console.unclean[id] = true
    tell_failure(console, event, last)
  end
  console.slow[id] = nil
  if console.verbose then rank(console, event) end
  if not console.live and not console.quiet then
    console:print(console.progress:due(console.now - console.started) or "")
  end
end

function M.problem(console, event)
  local word, colour, where = vocabulary.problem(event)
  local message = text.first_line(tostring(event.message or ""))
  local line = ("%s %s: %s\n"):format(console.style:status(colour, word), where, message)
  console:print(line .. blocks.block(console.style, "trace", event.text or "", colour))
  local counts, problems = console.progress.counts, console.state.problems
  if word == "LEAK" then
    -- Told of a test that ended long ago, once for each process. What counts is a pass that left something.
    if event.id and not console.unclean[event.id] then counts.leaky = counts.leaky + 1 end
    console.unclean[event.id or ""] = true
  else
    counts.problems = counts.problems + 1
  end
  -- What is wrong with one sandbox is wrong with the next: at the end it is told once.
  local key = not event.id and ("%s %s"):format(event.kind, message)
  local same = problems[key]
  if same then
    same.more = same.more + 1
  elseif #problems < summary.listed then
    problems[#problems + 1] = { word = word, colour = colour, where = where, message = message, more = 0 }
    if key then problems[key] = problems[#problems] end
  end
end

return M
