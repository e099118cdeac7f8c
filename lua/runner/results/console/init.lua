-- The run as a person watches it, in the vocabulary of cargo-nextest.
--
-- On a terminal a block with the progress and the running tests stays at the bottom; off one, or
-- with CI set, a counter line appears now and then. Failures, retries, slow tests and skips are told
-- as they happen, passes only with `verbose`. Everything goes to standard output; diagnostics of
-- runner itself go to standard error.

local uv = require("luv")
local live = require("runner.results.console.live")
local output_lines = require("runner.results.console.output_lines")
local progress = require("runner.results.console.progress")
local results = require("runner.results.console.results")
local streams = require("runner.results.console.stream")
local style = require("runner.results.console.style")
local summary = require("runner.results.console.summary")
local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")

local M = {}

local DEFAULT_CONFIG = "runner.lua" -- a command to run again need not name it
local name_limit = 400 -- bytes of a name in a line; ids with whole documents as parameters exist
local quiet_spell = 60 -- seconds without a line after which one says that the run is alive

---@class runner.Console: runner.Report
---@field style runner.Style
---@field progress runner.Progress
---@field state table what the summary will tell
---@field last table<string, table> test id → `attempt_finished` that `test_finished` will tell
---@field slow table<string, true> running tests already told to be slow
---@field unclean table<string, true> tests that a leak found later does not make leaky: known to be, or failed
---@field now number time of the latest event
---@field started number time of the first
local Console = { name = "console" }
Console.__index = Console
Console.__name = "runner.console"

local function is_set(value)
  return value ~= nil and value ~= "" and value ~= "false" and value ~= "0"
end

---@param options { stream: table?, color: "auto"|"always"|"never"|boolean|nil, width: integer?,
---  verbose: boolean?, quiet: boolean?, ci: boolean?, live: boolean?, rerun: string[]?,
---  env: (fun(name: string): string?)? } `stream`: `write(self, text)` and `terminal`, default
---  standard output; `live` and `ci` override what the terminal and the environment say; `rerun`:
---  words of a command that runs a test again when its id follows, default `runner run CONFIG`
---@return runner.Console
function M.new(options)
  local env = options.env or os.getenv
  local stream = options.stream or streams.open(1)
  local colour = style.wants_colour(options.color, stream.terminal, env)
  local self = setmetatable({
    stream = stream,
    style = style.new { colour = colour, env = env },
    width = options.width,
    rerun = options.rerun,
    quiet = options.quiet,
    verbose = options.verbose and not options.quiet,
    last = {}, slow = {}, unclean = {}, skips = 0,
    state = {
      flaky = {}, failures = { count = 0 }, quarantined = { count = 0 }, slowest = {}, problems = {}, not_run = {},
    },
    started = 0, now = 0, printed = uv.now(),
  }, Console)
  self.progress = progress.new(self.style, function(id) return self:plain_name(id) end)
  if self.verbose then
    self.output_lines = output_lines.new(self.style, function(lines) self:print(lines) end)
    self.output = self._output
  end
  local ci = options.ci
  if ci == nil then ci = is_set(env("CI")) end
  local wants_live = options.live
  if wants_live == nil then
    wants_live = stream.terminal and not ci and not self.quiet and env("TERM") ~= "dumb"
  end
  if wants_live then
    self.live = live.new {
      stream = stream, style = self.style,
      size = function() return self:size() end,
      render = function(columns, rows) return self.progress:lines(columns, rows) end,
    }
  elseif not self.quiet then
    self.heartbeat = uv.new_timer()
    self.heartbeat:start(quiet_spell * 1000, quiet_spell * 1000, function() self:_beat() end)
    self.heartbeat:unref()
  end
  return self
end

--- Handles one event. A reader that is gone makes it quiet, nothing else.
---@param event table
function Console:event(event)
  if self.stream.dead then return end
  self.now = event.time or self.now
  local handler = self["on_" .. event.event] or results[event.event]
  if not handler then return end
  handler(self, event)
  if self.live then self.live:touch() end
end

-- Live output of a test. Only a verbose console has `output`: others spare the bus the trouble.
function Console:_output(output)
  if not self.stream.dead then self.output_lines:add(output) end
end

--- Prints a message of runner itself (a warning) on standard error, clear of the live block.
---@param message string
function Console:notice(message)
  if self.live and not self.stream.dead and uv.guess_handle(2) == "tty" then
    self:print(message .. "\n")
  else
    io.stderr:write(message, "\n")
  end
end

--- Prints whole lines, above the live block if there is one.
---@param lines string
function Console:print(lines)
  if lines == "" then return end
  self.printed = uv.now()
  if self.live then
    self.live:print(lines)
  else
    self.stream:write(lines)
  end
end

---@return integer columns
---@return integer rows
function Console:size()
  local columns, rows
  if self.stream.size then
    columns, rows = self.stream:size()
  end
  return self.width or columns or 80, rows or 24
end

--- A test as it is shown: its id in one safe line, after its group where there are several.
---@param id string
---@return string
function Console:plain_name(id)
  local name = text.escape(text.shorten(text.repair(id), name_limit))
  local group = self.groups and self.groups[id]
  return group and group .. " " .. name or name
end

---@param id string
---@return string
function Console:display_name(id)
  local group = self.groups and self.groups[id]
  local name = self:plain_name(id)
  return group and self.style:paint("blue", group) .. name:sub(#group + 1) or name
end

-- `( 1/14)`; blanks of the same width for lines that finish nothing.
function Console:_counter(blank)
  local total = tostring(self.progress.total)
  if blank then return (" "):rep(2 * #total + 3) end
  return ("(%" .. #total .. "d/%s)"):format(self.progress.done, total)
end

--- The line of one test or attempt.
---@param word string
---@param colour string
---@param duration number? seconds
---@param id string
---@param options { over: boolean?, blank: boolean?, note: string? } `over`: at least so long;
---  `blank`: without the counter; `note`: in brackets at the end
---@return string line
function Console:line(word, colour, duration, id, options)
  options = options or {}
  return ("%s %s %s %s%s\n"):format(self.style:status(colour, word),
    options.over and ("[>%7.3fs]"):format(duration or 0) or vocabulary.duration(duration),
    self:_counter(options.blank), self:display_name(id),
    options.note and (" (%s)"):format(options.note) or "")
end

-- A long silence looks like a hang, to people and to CI services.
function Console:_beat()
  if self.stream.dead or (uv.now() - self.printed) / 1000 < quiet_spell / 2 then return end
  self:print(self.progress:alive((uv.now() - self.progress.began) / 1000))
end

-- Numbers that come from a log on disk are floats.
local function whole(number)
  return math.tointeger(number) or 0
end

local function relative(path)
  local cwd = uv.cwd() .. "/"
  return type(path) == "string" and path:sub(1, #cwd) == cwd and path:sub(#cwd + 1) or path
end

--- Tells which folder holds the results: what names a log says where it is.
---@param folder string absolute
function Console:results_in(folder)
  self.folder = relative(folder)
end

function Console:on_run_started(event)
  self.started = event.time or 0
  self.config = relative(event.config)
  self.parallel, self.seed = event.parallel, event.seed
end

function Console:on_discovered(event)
  self.progress.total, self.progress.is_known = whole(event.tests), true
  local groups = {}
  for name, count in pairs(event.groups or {}) do
    groups[#groups + 1] = ("%s %d"):format(name, count)
  end
  table.sort(groups)
  if #groups > 1 then self.groups = {} end
  if self.quiet then return end
  local notes = {}
  if #groups > 1 then notes[1] = table.concat(groups, ", ") end
  if whole(event.deselected) > 0 then notes[#notes + 1] = whole(event.deselected) .. " deselected" end
  if self.seed then notes[#notes + 1] = ("seed %d"):format(self.seed) end
  self:print(("%s\n%s %s%s%s\n"):format(self.style.rule:rep(12),
    self.style:status("green", "Starting"),
    self.style:paint("bold", vocabulary.plural(self.progress.total, "test")),
    self.parallel and (", %d at a time"):format(self.parallel) or "",
    #notes > 0 and (" (%s)"):format(table.concat(notes, "; ")) or ""))
end

function Console:on_test(event)
  if self.groups then self.groups[event.id] = event.group end
end

function Console:on_log(event)
  local told = event.level == "warning" or event.level == "error"
  if told or self.verbose then
    self:notice(("%s: %s"):format(event.level, text.escape(tostring(event.message))))
  end
end

function Console:on_sync(event)
  if not self.verbose then return end
  self:print(("%s %s: %s, %s sent (%d bytes)\n"):format(self.style:status("cyan", "SYNC"),
    text.escape(tostring(event.sandbox)), vocabulary.plural(event.files or 0, "file"),
    whole(event.sent_files), whole(event.sent_bytes)))
end

function Console:on_artifact(event)
  if not self.verbose then return end
  self:print(("%s %s (%d bytes)\n"):format(self.style:status("cyan", "ARTIFACT"),
    text.escape(tostring(event.path)), event.size or 0))
end

function Console:on_sandbox_lost(event)
  if self.quiet then return end
  self:print(("%s sandbox %s: %s\n"):format(self.style:status("yellow", "LOST"),
    text.escape(tostring(event.sandbox)), text.first_line(tostring(event.message or "gone"))))
end

function Console:on_run_finished(event)
  if self.output_lines then self.output_lines:finish_all() end
  if self.live then self.live:close() end
  self.live = nil
  local state = self.state
  state.counts, state.tests = self.progress.counts, self.progress.done
  if event.error and self.progress.done == 0 then return end -- nothing ran: what went wrong is told by who raised it
  state.failed = event.exit_code ~= 0 and event.exit_code ~= 2
  state.duration = event.duration or self.now - self.started
  state.interrupted, state.incomplete, state.stopped = event.interrupted, event.incomplete, event.stopped
  self:print(summary.render(self.style, state, {
    columns = (self:size()), verbose = self.verbose,
    rerun = self.rerun or { "runner", "run", self.config ~= DEFAULT_CONFIG and self.config or nil },
  }))
end

--- Releases the terminal; the summary came with `run_finished`.
function Console:close()
  if self.live then self.live:close() end
  if self.heartbeat then self.heartbeat:close() end
  self.live, self.heartbeat = nil, nil
  if self.stream.close then self.stream:close() end
end

return M
