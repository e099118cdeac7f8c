--- `runner plan`: what a run would take, without doing it.

local errors = require("runner.base.errors")
local options = require("runner.cli.options")

local M = {
  name = "plan",
  summary = "Predict time, sandboxes and cost of a run.",
}

--- Declares the flags.
---@param cmd table argparse command
function M.configure(cmd)
  options.plan(cmd)
end

--- The tests that would run, with what is expected of each there. Finds them as a run does, in one sandbox.
local function find_tests(config, history, pool)
  local messages, host = {}, nil
  local bus = {
    emit = function(_, event)
      if event.event == "sandbox_ready" then
        host = event.host
      elseif event.event == "problem" or event.event == "log" and event.level ~= "info" then
        messages[#messages + 1] = event.message
      end
    end,
  }
  local run = require("runner.run").new({
    settings = config, past = options.past(config, history),
    history = history, bus = bus, collect_only = true,
  })
  local code = run:execute()
  for _, message in ipairs(messages) do io.stderr:write("runner: ", message, "\n") end
  local tests = run.selected or {}
  local known = 0
  for _, test in ipairs(tests) do
    if history then
      local seconds, is_known = history:estimate(test)
      test.cost, known = test.cost or seconds, known + (is_known and 1 or 0)
    end
  end
  local test_settings = require("runner.select.test_settings")
  local resolve = test_settings.resolver(config.overrides or {}, run.context or {}, config.forced)
  local speed = history and require("runner.schedule.forecast").speed(pool, history, host) or 1
  return require("runner.schedule.forecast").tests(tests, speed, function(test)
    return resolve(test, run.groups[test.group])
  end), known, code, run
end

--- The number of slots that was asked for by time or cost; exit code 1 where there is none, and the nearest instead.
local function choose(args, tests, pool, write)
  local plan, time = require("runner.schedule.forecast"), require("runner.base.duration").format
  local chosen
  if args.deadline then
    chosen = plan.for_deadline(tests, pool, args.deadline)
    if not chosen then
      write(("No number of sandboxes makes it end in %s: a sandbox's start and its longest test, or tests that may not "
        .. "run at once, take longer.\n"):format(time(args.deadline)))
      return plan.predict(tests, pool, #tests), 1
    elseif args.budget and chosen.cost > args.budget then
      write(("To end in %s costs more than %.4g.\n"):format(time(args.deadline), args.budget))
      return chosen, 1
    end
  elseif args.budget then
    chosen = plan.for_budget(tests, pool, args.budget)
    if not chosen then
      write(("One sandbox alone costs more than %.4g.\n"):format(args.budget))
      return plan.predict(tests, pool, 1), 1
    end
  end
  return chosen, 0
end

---@param args table
---@return integer exit code
---@async
function M.run(args)
  local plan, show = require("runner.schedule.forecast"), require("runner.schedule.forecast.show")
  local lists = args.parallel_list
  local config = options.load(args)
  local history = require("runner.history").of(config, function(message) io.stderr:write("runner: ", message, "\n") end)
  local pool = plan.pool(config, history)
  if args.budget and not pool.price then
    errors.raise("usage", "--budget: the price is not known; set price = 0.12 (an hour of a sandbox) in the provider")
  end
  local tests, known, code, run = find_tests(config, history, pool)
  if code ~= 0 then return code end
  if #tests == 0 then
    io.stderr:write("runner: ", run.nothing or "no tests were found", "\n")
    local is_failure = config.no_tests == "fail" and not run.is_empty_shard
    return is_failure and require("runner.results.verdict").EXIT.no_tests or 0
  end
  local function write(...) io.stdout:write(...) end
  show.work(write, tests, known)
  if #config.providers > 1 then
    write(("Planned as if every sandbox were one of %s; the run has several providers.\n"):format(pool.name))
  end
  local budget = require("runner.sandbox.pool").budget(config) or pool.most and pool.most * pool.slots or #tests
  local chosen
  chosen, code = choose(args, tests, pool, write)
  if lists then
    local predictions = {}
    for i, n in ipairs(lists) do predictions[i] = plan.predict(tests, pool, n) end
    show.table(write, predictions)
  end
  if chosen or not lists then
    local parallel = chosen and chosen.parallel or math.min(budget, #tests)
    local one = plan.predict(tests, pool, parallel, { keep = true })
    show.summary(write, one, pool.name)
    show.critical(write, one, plan.critical_path(one.run, pool), tests)
  end
  io.stdout:flush()
  return code
end

return M
