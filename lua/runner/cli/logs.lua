-- `runner logs`: the output of chosen tests of the last run, attempt by attempt.

local blocks = require("runner.results.console.blocks")
local output_log = require("runner.results.output_log")
local errors = require("runner.base.errors")
local event_log = require("runner.results.event_log")
local last_run = require("runner.cli.last_run")
local options = require("runner.cli.options")
local regex = require("runner.base.regex")
local outcome = require("runner.base.outcome")
local streams = require("runner.results.console.stream")
local style = require("runner.results.console.style")
local suggest = require("runner.base.suggest")
local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")

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
local function choosers(args)
  local by_state = args.failures or args.errors or args.flaky
  local names
  for _, id in ipairs(args.test or {}) do
    names = names or {}
    names[id] = true
  end
  local matches = matcher(args.test_regex)
  return function(test)
    return (not names or names[test.id]) and matches(test.id)
  end, function(test)
    local status = test.status
    return not by_state or args.failures and outcome.FAILURE[status] or args.errors and status == "not_run"
      or args.flaky and status == "flaky"
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
function Printer:file(path, title)
  local file = io.open(path, "rb")
  if not file then return false end
  if title and file:seek("end") > 0 then self.stream:write(title) end
  file:seek("set")
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
  if attempt.status == "cancelled" and test.reason then notes[#notes + 1] = text.first_line(test.reason) end
  self:banner(word, colour, attempt.duration, text.escape(test.id), notes[1] and table.concat(notes, ", "))
  event = event or attempt
  local about = blocks.failure(self.style, event, { output = false })
  self.stream:write(about)
  local title = about ~= "" and ("  %s %s\n"):format(self.style:paint("bold", "output"), self.style.rule:rep(3))
  if attempt.log and self:file(self.dir .. "/" .. attempt.log, title) then return end
  -- The file is gone or could not be written: the log has the beginning and the end.
  for _, stream in ipairs({ "stdout", "stderr" }) do
    self.stream:write(blocks.block(self.style, stream, output_log.text(event[stream])))
  end
end

function Printer:test(test, log)
  for _, attempt in ipairs(test.attempts) do
    if self.stream.dead then return end
    self:attempt(test, attempt, event_log.at(log, attempt.offset))
  end
  local last = test.attempts[#test.attempts]
  if test.status == "not_run" and not (last and last.status == "cancelled") then -- that tells why it did not end
    local word, colour = vocabulary.word("not_run")
    self:banner(word, colour, test.duration, text.escape(test.id),
      test.reason and text.first_line(test.reason))
  end
end

function Printer:problem(problem)
  local word, colour, about = vocabulary.problem(problem)
  self:banner(word, colour, 0, ("%s: %s"):format(about, text.first_line(tostring(problem.message or ""))))
  self.stream:write(blocks.block(self.style, nil, problem.text or ""))
end

--- Says that there is nothing to show, and returns the exit code: that nothing went wrong is no mistake, unless the
--- question was about tests that do not exist.
local function nothing(args, named)
  local asked, states = args.test_regex or args.test and args.test[1], {}
  for _, state in ipairs({ "failures", "errors", "flaky" }) do
    if args[state] then states[#states + 1] = state == "flaky" and "flaky tests" or state end
  end
  if named == 0 and asked or not states[1] then
    io.stderr:write("runner: the last run has no ", asked and "such test" or "tests", "\n")
    return 4
  end
  io.stderr:write(("runner: no %s %s\n"):format(table.concat(states, ", "),
    asked and "among these tests" or "in the last run"))
  return 0
end

--- Exit code 0; 4 when there is no such test.
---@param args table
---@return integer exit code
function M.run(args)
  local dir, log = last_run.find(args.output_dir, args.config)
  local state = assert(event_log.fold(log))
  check_names(state, args.test)
  local is_named, has_state = choosers(args)
  local stream = args.stream or streams.open(1)
  local printer = setmetatable({
    dir = dir, stream = stream,
    style = style.new {
      colour = style.wants_colour(args.color, stream.terminal, os.getenv), env = os.getenv,
    },
  }, Printer)
  local shown, named = 0, 0
  for _, test in ipairs(state.tests) do
    if stream.dead then break end
    if is_named(test) then
      named = named + 1
      if has_state(test) then
        shown = shown + 1
        printer:test(test, log)
      end
    end
  end
  if args.errors and not args.test_regex and #(args.test or {}) == 0 then
    for _, problem in ipairs(state.problems) do
      shown = shown + 1
      printer:problem(problem)
    end
  end
  return shown > 0 and 0 or stream.dead and 0 or nothing(args, named)
end

return M
