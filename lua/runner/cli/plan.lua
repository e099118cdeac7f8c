--- `runner plan`: what a run would take, without doing it.

local errors = require("runner.errors")
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

--- The tests that would run, with what is expected of each. Finds them as a run does, in one sandbox.
local function find_tests(config, history)
  local predict = require("runner.predict")
  local messages = {}
  local bus = {
    emit = function(_, event)
      if event.event == "problem" or event.event == "log" and event.level ~= "info" then
        messages[#messages + 1] = event.message
      end
    end,
  }
  local run = require("runner.run").new({
    id = require("runner.cli.run").run_id(), settings = config, past = options.past(config, history),
    history = history, bus = bus, collect_only = true,
  })
  local code = run:execute()
  for _, message in ipairs(messages) do io.stderr:write("runner: ", message, "\n") end
  local tests = run.selected or {}
  predict.annotate(tests, history)
  local known = 0
  for _, test in ipairs(tests) do
    if history and select(2, history:estimate(test)) then known = known + 1 end
  end
  local resolve = require("runner.policy").resolver(config.overrides or {}, run.context or {}, config.forced)
  return require("runner.plan").tests(tests, function(test)
    return resolve(test, run.groups[test.group])
  end), known, code
end

---@param args table
---@return integer exit code
---@async
function M.run(args)
  local plan, show = require("runner.plan"), require("runner.plan.show")
  local lists = args.parallel_list
  local config = options.load(args)
  local history = require("runner.history").of(config, function(message) io.stderr:write("runner: ", message, "\n") end)
  local tests, known, code = find_tests(config, history)
  if code ~= 0 then return code end
  if #tests == 0 then
    io.stderr:write("runner: no tests were found\n")
    return config.no_tests == "fail" and require("runner.verdict").EXIT.no_tests or 0
  end
  local pool = plan.pool(config, history)
  local function write(...) io.stdout:write(...) end
  show.work(write, tests, known)
  local budget = require("runner.pool").budget(config) or pool.most and pool.most * pool.slots or #tests
  local chosen
  if args.deadline then
    chosen = plan.for_deadline(tests, pool, args.deadline)
    if not chosen then
      write(("No number of sandboxes makes it end in %s: its longest test and a sandbox's start take longer.\n")
        :format(require("runner.duration").format(args.deadline)))
      chosen, code = plan.predict(tests, pool, #tests), 1
    end
  elseif args.budget then
    if not pool.price then
      errors.raise("usage", "--budget: the price is not known; set price = 0.12 (an hour of a sandbox) in the provider")
    end
    chosen = plan.for_budget(tests, pool, args.budget)
    if not chosen then
      write(("One sandbox alone costs more than %.2f.\n"):format(args.budget))
      chosen, code = plan.predict(tests, pool, 1), 1
    end
  end
  if lists then
    local predictions = {}
    for i, n in ipairs(lists) do predictions[i] = plan.predict(tests, pool, n) end
    show.table(write, predictions)
  end
  if chosen or not lists then
    local parallel = chosen and chosen.parallel or math.min(budget, #tests)
    local one = plan.predict(tests, pool, parallel, { keep = true })
    show.summary(write, one, pool.name)
    show.critical(write, one, plan.critical_path(one.run), tests)
  end
  io.stdout:flush()
  return code
end

return M
