--- A worker that gives each test a process of its own. The commands of one slot form a lane of the agent: they wait in
--- its queue, so that a finished one is followed by the next without a round trip.

local batch = require("runner.worker.batch")
local exit_text = require("runner.io.exit_text")
local ledger = require("runner.worker.ledger")
local outcome = require("runner.worker.exit_result")
local results = require("runner.worker.result_shape")
local tail = require("runner.base.tail")

local M = {}

local TAIL = 16 * 1024

---@class runner.LaneSpec
---@field command fun(item: runner.Item): table what ctx.spawn takes: argv, env, cwd, memory …
---@field result? fun(item: runner.Item, exit: runner.Exit, stdout_tail: string): table? the result of a test whose
---  process ended; nil, or without it: the exit status decides. `stdout_tail`: the last bytes that it printed (16 KiB)
---@field show? fun(item: runner.Item, stream: string, bytes: string): string? output as it is to be kept (default:
---  all)
---@field reader? fun(items: runner.Item[], sink: runner.BatchSink): runner.BatchReader as for a batch, of one test:
---  what it tells is the result, unless the process ends badly after it
---@field dump? integer signal at which a process writes where it hangs, before it is ended

--- The environment that every test process of a slot gets.
---@param item runner.Item
---@param slot runner.Slot
---@return table<string, string>
function M.environment(item, slot)
  return { RUNNER_TEST_ID = item.id, RUNNER_ATTEMPT = tostring(item.attempt), RUNNER_WORKER = tostring(slot.index) }
end

--- What a reader tells of the only test of a process; the result waits for the end of the process (`result`).
local function ledger_of(item, report)
  local book
  book = ledger.new({ item }, {
    started = function() end, output = report.output, problem = report.problem,
    finished = function(_, result) book.result = result end,
    distrusted = function(why)
      book.result = { status = "crashed", message = why }
      item.command:kill(0)
    end,
  })
  book:start(item)
  return book
end

--- The result of a test whose reader has told all.
local function read_result(book, reader, exit)
  local result, by_exit = book.result, outcome.of_exit(exit)
  if not result then
    result = reader.explain and reader.explain(exit, "") or by_exit
    if result.status == "passed" then
      result.status, result.message = "failed", "the process ended well but gave no result for this test"
    end
  elseif result.status ~= "failed" and result.status ~= "crashed" and by_exit.status ~= "passed" then
    by_exit.message = ("the test %s, but then its process ended badly: %s")
      :format(result.status == "skipped" and "was skipped" or "passed", exit_text.describe(exit))
    result = by_exit
  end
  for _, name in ipairs({ "cpu", "memory", "leaks", "exit_code" }) do result[name] = by_exit[name] end
  return result
end

---@param ctx table of the framework
---@param slot runner.Slot
---@param report table what the worker reports to
---@param spec runner.LaneSpec
---@return table worker
function M.worker(ctx, slot, report, spec)
  local one, waiting, asked = {}, {}, {}
  local lane = slot.index + 1

  local function start(item)
    local command = spec.command(item)
    local env = M.environment(item, slot)
    for name, value in pairs(command.env or {}) do env[name] = value end
    command.env, command.lane = env, lane
    local said = spec.result and tail.new(TAIL)
    local book, reader
    local function read()
      book = book or ledger_of(item, report)
      reader = reader or spec.reader({ item }, book:sink())
      return reader
    end
    function command.on_start()
      waiting[item] = nil
      report.started(item)
      if asked[item] then report.returned({}) end -- too late to take it back
    end
    function command.on_output(_, stream, bytes)
      if spec.reader then return read().output(stream, bytes) end
      if said and stream == "stdout" then said:add(bytes) end
      if spec.show then bytes = spec.show(item, stream, bytes) end
      if bytes then report.output(item, stream, bytes) end
    end
    function command.on_exit(_, exit)
      item.command = nil
      if exit.kind == "dropped" or exit.kind == "lost" and waiting[item] then
        waiting[item] = nil
        return report.returned({ item })
      end
      local function finish(result) report.finished(item, results.mended(result or outcome.of_exit(exit))) end
      if exit.kind == "lost" then return finish() end
      if not spec.reader then return finish(spec.result and spec.result(item, exit, said:text():sub(-TAIL))) end
      local function done()
        book:tell_outsiders()
        finish(read_result(book, reader, exit))
      end
      if read().ended then reader.ended(exit, done) else done() end
    end
    item.command = ctx.spawn(command)
    waiting[item] = true
  end

  function one:push(items)
    for _, item in ipairs(items) do start(item) end
  end

  --- Taken back from the end; the agent answers each with an EXIT of kind "dropped", or runs it if that was too late.
  function one:take(n)
    local list = {}
    for item in pairs(waiting) do list[#list + 1] = item end
    table.sort(list, function(a, b) return a.command.id > b.command.id end)
    for i = 1, math.min(n, #list) do
      asked[list[i]] = true
      list[i].command:drop()
    end
    if #list == 0 then report.returned({}) end
  end

  function one:stop(item, why)
    if item and item.command then
      batch.stop(item.command, ctx.settings.grace, why == "timeout" and spec.dump)
    end
  end

  function one:kill()
    for item in pairs(waiting) do item.command:kill(0) end
    if slot.running and slot.running.command then slot.running.command:kill(0) end
  end

  function one:close() end

  return one
end

return M
