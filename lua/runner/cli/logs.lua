-- `runner logs`: the output of chosen tests of the last run, attempt by attempt.

local blocks = require("runner.report.console.blocks")
local attempt_log = require("runner.attempt_log")
local errors = require("runner.errors")
local event_log = require("runner.event_log")
local last_run = require("runner.cli.last_run")
local options = require("runner.cli.options")
local regex = require("runner.regex")
local retry = require("runner.retry")
local streams = require("runner.report.console.stream")
local styles = require("runner.report.console.style")
local suggest = require("runner.suggest")
local text = require("runner.text")
local vocabulary = require("runner.report.vocabulary")

local M = {
  name = "logs",
  summary = "Show the output of tests of the last run.",
}

local chunk_size = 65536
local hint_limit = 2000 -- names among which a misspelt one is looked for

--- Declares the flags.
---@param cmd table argparse command
function M.configure(cmd)
  cmd:usage("Usage: runner logs [OPTION...]")
  cmd:flag("--failures"):description("Tests that failed, timed out or crashed.")
  cmd:flag("--errors"):description("Tests that did not run, and problems outside of tests.")
  cmd:flag("--flaky"):description("Tests that passed after a failure.")
  cmd:option("--test"):argname("ID"):count("*")
    :description("The test of this name. May be given again.")
  cmd:option("--test-regex"):argname("RE")
    :description("Tests whose name matches this extended regular expression.")
  cmd:option("--output-dir"):argname("FOLDER")
    :description("Results folder (default: of the configuration).")
  last_run.configure(cmd)
  options.color(cmd)
end

local function matcher(pattern)
  if not pattern then return function() return true end end
  local matches, message = regex.compile(pattern)
  return matches or errors.raise("usage", ("--test-regex: %s"):format(message))
end

-- States combine as "or"; they, the names and the expression combine as "and".
local function chooser(args)
  local by_state = args.failures or args.errors or args.flaky
  local names
  for _, id in ipairs(args.test or {}) do
    names = names or {}
    names[id] = true
  end
  local matches = matcher(args.test_regex)
  return function(test)
    local status = test.status
    return (not by_state
        or args.failures and retry.FAILURE[status]
        or args.errors and status == "not_run"
        or args.flaky and status == "flaky")
      and (not names or names[test.id])
      and matches(test.id)
  end
end

-- An unknown name is a mistake worth telling, not an empty result.
local function check_names(state, names)
  for _, id in ipairs(names or {}) do
    if not state.by_id[id] then
      local ids = {}
      for i = 1, math.min(#state.tests, hint_limit) do ids[i] = state.tests[i].id end
      errors.raise("usage", ("--test: the last run had no test %q%s"):format(text.escape(id),
        suggest.hint(id, ids)))
    end
  end
end

local Printer = {}
Printer.__index = Printer

function Printer:banner(word, colour, duration, name, note)
  self.stream:write(("%s %s %s %s%s\n"):format(self.style.rule:rep(4),
    self.style:paint(colour, word), vocabulary.duration(duration), self.style:paint("bold", name),
    note and (" (%s)"):format(note) or ""))
end

-- Files go out byte by byte, except to a terminal, which obeys what it is sent.
function Printer:file(path)
  local file = io.open(path, "rb")
  if not file then return false end
  local rest, last = "", "\n"
  while not self.stream.dead do
    local chunk = file:read(chunk_size)
    if not chunk then break end
    if self.stream.terminal then
      local whole, partial = (rest .. chunk):match("^(.*\n)(.*)$")
      if not whole then whole, partial = rest .. chunk, "" end
      chunk, rest = text.multiline(whole, self.style.colour), partial
    end
    self.stream:write(chunk)
    last = chunk:sub(-1)
  end
  file:close()
  if rest ~= "" then
    self.stream:write(text.multiline(rest, self.style.colour))
    last = rest:sub(-1)
  end
  if last ~= "\n" then self.stream:write("\n") end
  if self.style.colour then self.stream:write("\27[0m") end
  return true
end

function Printer:attempt(test, attempt, event)
  local word, colour = vocabulary.word(attempt.status)
  local notes = {}
  if #test.attempts > 1 then notes[1] = ("attempt %d of %d"):format(attempt.attempt, #test.attempts) end
  if test.quarantine then notes[#notes + 1] = vocabulary.quarantined(test.quarantine) end
  self:banner(word, colour, attempt.duration, text.escape(test.id), notes[1] and table.concat(notes, ", "))
  event = event or attempt
  self.stream:write(blocks.failure(self.style, event, { output = false }))
  if attempt.log and self:file(self.dir .. "/" .. attempt.log) then return end
  -- The file is gone or could not be written: the log has the beginning and the end.
  for _, stream in ipairs({ "stdout", "stderr" }) do
    self.stream:write(blocks.block(self.style, stream, attempt_log.text(event[stream])))
  end
end

function Printer:test(test, log)
  for _, attempt in ipairs(test.attempts) do
    if self.stream.dead then return end
    self:attempt(test, attempt, event_log.at(log, attempt.offset))
  end
  if test.status == "not_run" then
    local word, colour = vocabulary.word("not_run")
    self:banner(word, colour, test.duration, text.escape(test.id),
      test.reason and text.first_line(test.reason))
  end
end

function Printer:problem(problem)
  local where = problem.id or problem.group or problem.sandbox
  self:banner("ERROR", "red", 0, ("%s%s: %s"):format(text.escape(problem.kind or "?"),
    where and " " .. text.escape(tostring(where)) or "",
    text.first_line(tostring(problem.message or ""))))
  self.stream:write(blocks.block(self.style, nil, problem.text or ""))
end

--- Exit code 0; 4 when no test was chosen.
---@param args table
---@return integer exit code
function M.run(args)
  local dir, log = last_run.find(args.output_dir, args.config)
  local state = assert(event_log.fold(log))
  check_names(state, args.test)
  local chosen = chooser(args)
  local stream = args.stream or streams.open(1)
  local printer = setmetatable({
    dir = dir, stream = stream,
    style = styles.new {
      colour = styles.wants_colour(args.color, stream.terminal, os.getenv), env = os.getenv,
    },
  }, Printer)
  local shown = 0
  for _, test in ipairs(state.tests) do
    if stream.dead then break end
    if chosen(test) then
      shown = shown + 1
      printer:test(test, log)
    end
  end
  if args.errors and not args.test_regex and #(args.test or {}) == 0 then
    for _, problem in ipairs(state.problems) do
      shown = shown + 1
      printer:problem(problem)
    end
  end
  if shown > 0 or stream.dead then return 0 end
  local only_failures = args.failures and not (args.errors or args.flaky or args.test_regex or args.test)
  io.stderr:write(("runner: the last run has no %s test\n"):format(only_failures and "failed" or "such"))
  return 4
end

return M
