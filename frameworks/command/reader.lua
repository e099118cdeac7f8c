--- Reads the results of one command, while it runs or behind it: JUnit XML or TAP, from its stdout or from files.

local uv = require("luv")
local result_files = require("frameworks.command.result_files")
local junit = require("runner.worker.formats.junit")
local outcome = require("runner.worker.exit_result")
local tails = require("runner.base.tail")
local tap = require("runner.worker.formats.tap")
local verdicts = require("frameworks.command.matching")

local M = {}

local TAIL = 64 * 1024
local TEXT_LIMIT = 256 * 1024 -- printed between two results, kept for the second

---@class command.Source where results come from
---@field stdout boolean?
---@field paths string[]? plain ones and globs
---@field own boolean? the paths are ours
---@field format "junit"|"tap"|nil default: by the file's name

local function format_of(source, path)
  return source.format or path and path:find("%.tap$") and "tap" or not path and "tap" or "junit"
end

local function seconds() return uv.hrtime() / 1e9 end

--- A parser that hands what it reads to the verdicts.
local function open_parser(self, path)
  local name, verdict = path or "stdout", self.verdicts
  local parser
  if format_of(self.source, path) == "junit" then
    parser = junit.parser(name, function(case) verdict:take(case) end)
  else
    local last, text, size = self.source.stdout and seconds(), {}, 0
    parser = tap.parser(name, function(point)
      local elapsed = point.at and last and point.at - last
      last = point.at
      point.stdout = #text > 0 and table.concat(text, "\n") .. "\n" or nil
      text, size = {}, 0
      verdict:take(point, elapsed or nil)
    end, {
      clock = last and seconds,
      on_text = last and #self.items > 1 and function(line)
        size = size + #line + 1
        if size <= TEXT_LIMIT then text[#text + 1] = line end
      end or nil,
    })
  end
  self.parsers[#self.parsers + 1] = parser
  return parser
end

--- The exit of a command that a shell ran, which tells of a signal by its own status.
---@param exit runner.Exit
---@param status integer? as the shell told it; default: its own
---@return runner.Exit
function M.exit_in_shell(exit, status)
  status = status or exit.code
  if not status or exit.kind ~= "exited" then return exit end
  local own = {}
  for name, value in pairs(exit) do own[name] = value end
  own.code = status
  if status > 128 and status <= 128 + 64 then own.kind, own.code, own.signal = "signaled", nil, status - 128 end
  return own
end

--- The reader of a command without results: its exit status is that of all its tests, or of none.
---@param items runner.Item[]
---@param sink runner.BatchSink
---@param in_shell boolean
---@return runner.BatchReader
function M.by_status(items, sink, in_shell)
  local lone = #items == 1
  return {
    output = function(stream, bytes)
      if lone then sink.output(items[1], stream, bytes) end
    end,
    ended = function(exit, done)
      if not lone and exit.kind == "exited" and exit.code == 0 then
        for _, item in ipairs(items) do
          sink.finished(item, { status = "passed", duration = exit.wall / #items, exit_code = 0 })
        end
      end
      done()
    end,
    explain = function(exit) return outcome.of_exit(in_shell and M.exit_in_shell(exit) or exit) end,
  }
end

local function why_missing(self)
  if self.kept then return ("%s was there before and cannot be removed: nothing was run"):format(self.kept) end
  local names = self.source.own and "the result file" or table.concat(self.source.paths, ", ")
  if self.old > 0 then
    return ("%s: nothing was written by this command (%d left from before)"):format(names, self.old)
  end
  return names .. " was not written"
end

---@param source command.Source
---@param border string? mark of the wrapped command, for files
---@param items runner.Item[]
---@param sink runner.BatchSink
---@param context table see verdicts.new; and `plain`, `in_shell`
---@return runner.BatchReader
function M.reader(source, border, items, sink, context)
  local lone, tail, status, current = #items == 1, tails.new(TAIL), nil, nil
  local self = { source = source, items = items, parsers = {}, old = 0 }
  context.at_once, context.tail = source.stdout, function() return tail:text() end
  self.verdicts = verdicts.new(items, sink, context)
  local from_stdout = source.stdout and open_parser(self)
  local shows = not (from_stdout and format_of(source) == "junit")

  local function printed(stream, bytes)
    tail:add(bytes)
    if from_stdout and stream == "stdout" then from_stdout.feed(bytes) end
    if lone and (shows or stream ~= "stdout") then sink.output(items[1], stream, bytes) end
  end
  local feed, finish = printed, nil
  if not source.stdout then
    feed, finish = result_files.reader(border, source.paths, {
      output = printed,
      file = function(path)
        self.found = true
        current = open_parser(self, path)
      end,
      bytes = function(bytes) current.feed(bytes) end,
      old = function() self.old = self.old + 1 end,
      kept = function(path) self.kept = path end,
      status = function(number) status = number end,
    }, context.plain)
  end

  return {
    output = feed,
    ended = function(exit, done)
      if finish then finish() end
      if exit.kind ~= "exited" and exit.kind ~= "signaled" then return done() end
      for _, parser in ipairs(self.parsers) do
        local summary = parser.finish()
        self.verdicts.skip_all = self.verdicts.skip_all or summary.skip_all
        for _, problem in ipairs(summary.problems) do self.verdicts:note(problem) end
      end
      if not source.stdout and not self.found then self.verdicts.missing = why_missing(self) end
      self.verdicts:finish((status or context.in_shell) and M.exit_in_shell(exit, status) or exit)
      done()
    end,
  }
end

return M
