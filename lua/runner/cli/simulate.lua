--- `runner simulate`: a recorded run again under other settings, with the same scheduler under virtual time.

local options = require("runner.cli.options")

local M = {
  name = "simulate",
  summary = "Replay a recorded run under other settings.",
}

--- Declares the flags.
---@param cmd table argparse command
function M.configure(cmd)
  options.simulate(cmd)
end

--- What the scheduler knows and what goes wrong, as asked for.
local function alter(tests, args)
  local random = require("runner.schedule.forecast.random").new(args.seed or 1)
  for _, test in ipairs(tests) do
    if args.no_history then test.cost = nil end
    if args.estimate_error then test.cost = test.duration * random:lognormal(0, args.estimate_error) end
    if args.failure_rate then test.fails = random:uniform() < args.failure_rate and 1 or 0 end
  end
end

--- The rules of the run's groups, as asked for.
local function policies_of(recording, args)
  local policies = {}
  for _, test in ipairs(recording.tests) do
    local group = test.group or "tests"
    policies[group] = policies[group] or {
      individual = args.individual, max_parallel = recording.max_parallel[group], fixed_cost = args.fixed_cost,
    }
  end
  return policies
end

---@param args table
---@return integer exit code
function M.run(args)
  local recording = require("runner.schedule.forecast.replay").read(args.log)
  local plan, show = require("runner.schedule.forecast"), require("runner.schedule.forecast.show")
  alter(recording.tests, args)
  local is_local = recording.provider == "local"
  local pool = {
    name = "simulated", start = args.start or recording.start, fixed_cost = args.fixed_cost or 0, price = args.price,
    slots = not is_local and math.max(1, recording.parallel // recording.sandboxes) or nil,
    policies = policies_of(recording, args),
  }
  local function write(...) io.stdout:write(...) end
  show.work(write, recording.tests, #recording.tests)
  write(("The run took %.1f s with %d at once on %d sandbox%s.\n\n"):format(recording.wall, recording.parallel,
    recording.sandboxes, recording.sandboxes == 1 and "" or "es"))
  local predictions = {}
  for i, n in ipairs(args.parallel_list or { recording.parallel }) do
    predictions[i] = plan.predict(recording.tests, pool, n, {
      retries = args.retries or math.max(recording.retries, args.failure_rate and 1 or 0), keep = true,
    })
  end
  show.table(write, predictions)
  local one = predictions[#predictions]
  if #predictions == 1 then show.critical(write, one, plan.critical_path(one.run, pool), recording.tests) end
  io.stdout:flush()
  return 0
end

return M
