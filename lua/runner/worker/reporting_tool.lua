--- A batch whose process tells of its tests itself, by messages of a helper of ours that the test tool has loaded. They
--- come in the tool's own output, so that they are in order with what the tests print, and work wherever output does;
--- runner.worker.channel says what they look like there. The mark before each goes to the helper in an environment
--- variable, in two halves with a space between them.
---
---   { test = KEY, name, file, line, tags }      there is such a test, when it lists them
---   { start = KEY }                             this test runs now: what is printed from here on is its
---   { end = KEY, result = … }
---   { outside = TEXT, message, type, trace, file?, below?, teardown? }
---                                               an error outside of tests: while `file` was loaded, in a hook of
---                                               the tests whose names begin with `below`, or when all was over
---   { hello = VERSION } … { bye = true }        the helper was loaded; the tool has come to its end
---
--- A message that does not fit (see runner.worker.messages) ends the process; a result of a test that was not to run is
--- told of. An error outside of tests fails those tests that could not run because of it; where there are none it is a
--- problem of the run.

local batch = require("runner.worker.batch")
local call = require("runner.agent.call")
local channel = require("runner.worker.channel")
local errors = require("runner.base.errors")
local exits = require("runner.io.exit_text")
local helper = require("runner.worker.helper")
local ledger = require("runner.worker.ledger")
local messages = require("runner.worker.messages")
local mark = require("runner.base.marker")
local exit_result = require("runner.worker.exit_result")
local tails = require("runner.base.tail")
local tool = require("runner.worker.missing_tool")
local unique_ids = require("runner.worker.unique_ids")

local M = {}

local TAIL = 64 * 1024

---@class runner.ToldOptions
---@field tool string what the user calls it
---@field told table<string, true> problems that were reported, which need not be again

--- A new mark, and what the helper is told of it.
---@return string mark
---@return string variable
function M.mark()
  local first, second = mark.half(), mark.half()
  return first .. second, first .. " " .. second
end

local function text_of(outside)
  local what, trace = outside.outside, outside.trace or ""
  if trace:find(what:match("[^\r\n]*"), 1, true) then return trace end
  local message = outside.message or ""
  return what .. (trace:find(message, 1, true) and "" or "\n" .. message) .. "\n" .. trace
end

--- The first line of what happened and of why.
local function summary(outside)
  local what, why = outside.outside:match("[^\r\n]*"), (outside.message or ""):match("%S[^\r\n]*")
  return why and not what:find(why, 1, true) and ("%s %s"):format(what, why) or what
end

--- Could these tests not run because of it?
local function victims(outside, items, ran)
  local list = {}
  if outside.teardown then return list end
  for _, item in ipairs(items) do
    if outside.file and item.test.file == outside.file
      and (not outside.below or item.test.name:sub(1, #outside.below) == outside.below) then
      list[#list + 1] = item
    end
  end
  -- Of no file that was asked for: what all files load, or a hook of the whole suite.
  if #list == 0 and not ran and not outside.below then return items end
  return list
end

--- A problem of the run from an error outside of tests.
---@param outside table
---@param kind "collection"|"teardown"
---@return table problem
function M.problem(outside, kind)
  return { kind = kind, id = outside.file, message = summary(outside), text = text_of(outside) }
end

---@class runner.ToldList
---@field tests table[] id, name, file, line, tags; and `key`, by which the helper knows it
---@field problems table[]
---@field ended boolean? the tool came to its end
---@field whole boolean so it did, and nothing went wrong of which the helper could not tell
---@field rest string what is no message

--- The tests that a helper has listed.
---@param border string the mark
---@param text string the whole output
---@return runner.ToldList
function M.list(border, text)
  local list, rest, id_of = { tests = {}, problems = {}, whole = false }, {}, unique_ids.ids()
  channel.bordered(border, function(message, kind)
    if kind == "test" then
      table.insert(list.tests, {
        id = id_of(("%s > %s"):format(message.file, message.name)), name = message.name, file = message.file,
        line = math.tointeger(message.line), tags = message.tags, key = message.test,
      })
    elseif kind == "outside" then
      table.insert(list.problems, M.problem(message, "collection"))
    elseif kind == "bye" then
      list.ended, list.whole = true, not message.broken
    end
  end, function(bytes) rest[#rest + 1] = bytes end, messages.TOOL, function(why)
    table.insert(list.problems, { kind = "collection", message = "what lists the tests makes no sense: " .. why })
  end)(text)
  list.rest = table.concat(rest)
  return list
end

---@param border string
---@param items runner.Item[]
---@param sink runner.BatchSink
---@param options runner.ToldOptions
---@return runner.BatchReader
function M.reader(border, items, sink, options)
  local by_key, tail, outsides = {}, tails.new(TAIL), {}
  local failed, bye = false, false
  for _, item in ipairs(items) do by_key[item.test.key] = item end
  local book = ledger.new(items, {
    started = sink.started, output = sink.output, problem = sink.problem,
    finished = function(item, result)
      failed = failed or result.status == "failed"
      sink.finished(item, result)
    end,
  }, { in_turn = true })

  local on_message = {}

  function on_message.start(message)
    local item = by_key[message.start]
    if item then book:start(item) end
  end

  on_message["end"] = function(message)
    local item = by_key[message["end"]]
    if item then return book:finish(item, message.result) end
    sink.outside(message["end"], message.result.message)
  end

  function on_message.outside(message) outsides[#outsides + 1] = message end
  function on_message.bye() bye = true end

  local feed, finish_output = channel.bordered(border, function(message, kind)
    if on_message[kind] then on_message[kind](message) end
  end, function(bytes)
    tail:add(bytes)
    sink.output(#items == 1 and items[1] or nil, "stdout", bytes)
  end, messages.TOOL, sink.distrust)

  local function tell(problem)
    if options.told[problem.message] then return end
    options.told[problem.message] = true
    sink.problem(problem)
  end

  local function left()
    local list = {}
    for _, item in ipairs(book:left()) do
      if item ~= book:current() then list[#list + 1] = item end
    end
    return list
  end

  local function ended(exit, done)
    finish_output()
    for _, outside in ipairs(outsides) do
      local hit = victims(outside, left(), book.latest ~= nil)
      for _, item in ipairs(hit) do
        book:finish(item, {
          status = "failed", message = summary(outside), type = outside.type, trace = text_of(outside),
        })
      end
      if #hit == 0 then tell(M.problem(outside, "teardown")) end
    end
    if exit.kind == "exited" and exit.code ~= 0 and not failed and #outsides == 0 and book:is_done() then
      tell({ kind = "teardown", text = tail:text(),
        message = ("%s ended badly (%s) although no test failed"):format(options.tool, exits.describe(exit)) })
    end
    done()
  end

  local function explain(exit)
    local result = exit_result.of_exit(exit)
    if result.status == "failed" or result.status == "passed" then
      if book:current() then
        result.status = "crashed"
        result.message = ("the process %s while this test ran"):format(exits.verb(exit))
      else
        result.status = "failed"
        result.message = ("%s ended (%s) and did not run this test%s"):format(options.tool, exits.describe(exit),
          bye and "; is it still there?" or "")
      end
    end
    local said = tail:text()
    result.trace = said:find("%S") and said or nil
    return result
  end

  return {
    output = function(_, bytes) feed(bytes) end,
    ended = ended,
    explain = explain,
    tail = function() return tail:text() end,
  }
end

-- Sessions ----------------------------------------------------------------------------------------------------------

---@class runner.ToldSpec
---@field tool string the program
---@field tests string what it runs: "tests", "examples"
---@field helper string file of our helper, in this repository
---@field flags fun(path: string): string[] arguments that load the helper, which lies there
---@field variable string of the environment: "list" or "run"
---@field program? string[] what is run instead of the tool, or of the option `command`
---@field shown? string the same, as a person would type it
---@field settings string options that say what to run
---@field missing string[] what is printed where the tool is not installed
---@field refusals string[] what it prints when it does not like its arguments or its configuration
---@field list_args string[]
---@field fits fun(items: runner.Item[]): boolean
---@field size fun(item: runner.Item): integer bytes in the command line
---@field select fun(items: runner.Item[], slot: runner.Slot, env: table): string[] arguments for these tests; may add
---  to the environment

local function append(list, ...)
  for _, more in ipairs({ ... }) do table.move(more, 1, #more, #list + 1, list) end
  return list
end

local function program_of(options, ctx, spec)
  local given = options.command
  if spec.program then return spec.program end
  return type(given) == "string" and { ctx.shell, "-c", given .. ' "$@"', "sh" } or given or { spec.tool }
end

local function shown_as(options, spec)
  local given = options.command
  return spec.shown or type(given) == "table" and table.concat(given, " ") or given or spec.tool
end

local function has_any(text, list)
  for _, one in ipairs(list) do
    if text:find(one, 1, true) then return true end
  end
  return false
end

--- Why the tool told nothing: a mistake in how it is called or configured, or in what it loads before the tests.
local function diagnose(ctx, spec, shown, exit, text)
  if tool.is_missing(exit) or has_any(text, spec.missing) then
    errors.raise("config", tool.missing(ctx, exit, { program = shown, install = "it",
      set = ("%s of the %s framework to what runs it in this project"):format(spec.settings, spec.tool) }, text))
  elseif has_any(text, spec.refusals) then
    errors.raise("config", ("%s does not accept how it is called or configured\n%s"):format(shown,
      (text:gsub("%s+$", ""))))
  end
  return { kind = "collection", text = text,
    message = ("%s ended (%s) while it collected the %s"):format(shown, exits.describe(exit), spec.tests) }
end

--- The session of a framework whose tool loads a helper of ours.
---@param options table of the framework: paths, command, args, working_dir, env
---@param ctx table of the framework
---@param spec runner.ToldSpec
---@return table session
---@async
function M.session(options, ctx, spec)
  local place, told, shown = helper.place(ctx, spec.helper), {}, shown_as(options, spec)
  local session = {}

  local function command(mode, variable, ...)
    local more = { ... }
    local env = { [spec.variable] = mode, RUNNER_MARK = variable }
    for name, value in pairs(options.env or {}) do env[name] = value end
    return { env = env, cwd = options.working_dir, argv = place.argv(function(path)
      return append({}, program_of(options, ctx, spec), spec.flags(path), options.args or {}, table.unpack(more))
    end) }
  end

  function session.discover()
    local border, variable = M.mark()
    local called = call.run(ctx, command("list", variable, spec.list_args, options.paths or {}))
    if called.exit.kind == "lost" or called.too_much or called.exit.timed_out then call.check(called, shown) end
    local list = M.list(border, called.stdout)
    if not list.ended or not list.whole and #list.problems == 0 then
      list.problems[#list.problems + 1] = diagnose(ctx, spec, shown, called.exit, list.rest .. called.stderr)
    end
    return list.tests, list.problems
  end

  function session.worker(_, slot, report)
    local border, variable
    return batch.worker(ctx, slot, report, {
      streams = true, fits = spec.fits, size = spec.size,
      command = function(items)
        border, variable = M.mark()
        local env = {}
        local one = command("run", variable, spec.select(items, slot, env))
        for name, value in pairs(env) do one.env[name] = one.env[name] or value end
        one.merge = true
        return one
      end,
      reader = function(items, sink) return M.reader(border, items, sink, { tool = spec.tool, told = told }) end,
    })
  end

  function session.close() end
  return session
end

return M
