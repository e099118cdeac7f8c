-- The end of the console's story: the counts, and every failure once more with a command that runs
-- that test again.

local signals = require("runner.io.signals")
local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")
local width = require("runner.results.console.width")

local M = {}

M.listed = 100 -- failures repeated by name; beyond that nobody reads them here

local indent = (" "):rep(13)

--- `398 passed (1 slow, 2 flaky), 2 failed`: each state that occurred.
---@param style runner.Style
---@param counts table<string, integer> by final state; plus `slow`, `leaky`, `problems`
---@return string
function M.counts(style, counts)
  local parts = {}
  for _, entry in ipairs(vocabulary.counted) do
    local status, word, colour = table.unpack(entry)
    local count = counts[status] or 0
    if status == "passed" then count = count + (counts.flaky or 0) end
    if count > 0 or status == "passed" then
      local part = style:paint("bold", count) .. " " .. style:paint(colour, word)
      if status == "passed" then
        local notes = {}
        for _, note in ipairs({ "slow", "flaky", "leaky" }) do
          if (counts[note] or 0) > 0 then
            notes[#notes + 1] = ("%d %s"):format(counts[note], style:paint("yellow", note))
          end
        end
        if #notes > 0 then part = ("%s (%s)"):format(part, table.concat(notes, ", ")) end
      end
      parts[#parts + 1] = part
    end
  end
  if (counts.problems or 0) > 0 then
    parts[#parts + 1] = style:paint("red", vocabulary.plural(counts.problems, "problem"))
  end
  return table.concat(parts, ", ")
end

--- The command that runs one test again.
---@param words string[] the command without the test
---@param id string
---@return string
function M.rerun(words, id)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = text.shell_quote(word) end
  if id:sub(1, 1) == "-" then quoted[#quoted + 1] = "--" end
  quoted[#quoted + 1] = text.shell_quote(id)
  return table.concat(quoted, " ")
end

---@class runner.ConsoleEntry
---@field word string
---@field colour string
---@field duration number
---@field name string as shown
---@field id string
---@field message string? one line

local function entry_lines(style, entry, options)
  local lines = { ("%s %s %s"):format(style:status(entry.colour, entry.word),
    vocabulary.duration(entry.duration), entry.name) }
  if entry.message and entry.message ~= "" then
    lines[#lines + 1] = indent .. width.fit(entry.message, options.columns - 14, style.ellipsis)
  end
  if entry.rerun then
    lines[#lines + 1] = indent .. style:paint("dim", M.rerun(options.rerun, entry.id))
  end
  return table.concat(lines, "\n")
end

--- The whole summary.
---@param style runner.Style
---@param state { counts: table, tests: integer, duration: number, interrupted: any,
---  stopped: string?, incomplete: boolean?, failed: boolean, flaky: table[], failures: table, quarantined: table,
---  problems: table[], not_run: table[], slowest: table[] } `failures` and `quarantined` are lists of
---  some with the `count` of all
---@param options { columns: integer, rerun: string[], verbose: boolean? }
---@return string lines
function M.render(style, state, options)
  local counts = state.counts
  local run = state.tests - (counts.skipped or 0) - (counts.not_run or 0)
  local lines = {
    style.rule:rep(12),
    ("%s %s %s run: %s"):format(style:status(state.failed and "red" or "green", "Summary"),
      vocabulary.duration(state.duration), style:paint("bold", vocabulary.plural(run, "test")),
      M.counts(style, counts)),
  }
  if state.incomplete then
    lines[#lines + 1] = style:status("yellow", "Incomplete")
      .. " the runner ended before the run did"
  end
  if state.interrupted then
    lines[#lines + 1] = style:status("yellow", "Interrupted") .. " by "
      .. tostring(signals.name(state.interrupted)):upper() .. ": results are incomplete"
  end
  if state.stopped and not state.interrupted and #state.not_run == 0 then -- else they tell why
    lines[#lines + 1] = style:status("yellow", "Stopped") .. " " .. state.stopped
  end
  local slowest = options.verbose and state.slowest or {}
  for _, list in ipairs({ slowest, state.flaky, state.quarantined, state.failures }) do
    for _, entry in ipairs(list) do
      lines[#lines + 1] = entry_lines(style, entry, options)
    end
    local more = (list.count or #list) - #list
    if more > 0 then
      lines[#lines + 1] = ("%s%s and %s%s: runner logs --failures"):format(indent, style.ellipsis,
        vocabulary.plural(more, "more failure"), list == state.quarantined and " in quarantine" or "")
    end
  end
  for _, group in ipairs(state.not_run) do
    lines[#lines + 1] = ("%s %s: %s"):format(style:status("red", group.word),
      vocabulary.plural(group.count, "test"), group.reason)
    for _, name in ipairs(group.names) do
      lines[#lines + 1] = indent .. name
    end
  end
  for _, problem in ipairs(state.problems) do -- each was told in full when it came
    local where = problem.where .. (problem.more > 0 and (" and %d more"):format(problem.more) or "")
    local rest, room = ("%s: %s"):format(where, problem.message), math.max(options.columns - 13, 60)
    if width.columns(rest) > room then rest = width.cut(rest, room - 2) .. style.ellipsis end
    lines[#lines + 1] = ("%s %s"):format(style:status(problem.colour, problem.word), rest)
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
