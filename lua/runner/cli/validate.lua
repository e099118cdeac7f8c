--- `runner validate`: check the configuration and say in a few lines what would run where.

local duration = require("runner.base.duration")
local options = require("runner.cli.options")

local M = {
  name = "validate",
  summary = "Check the configuration and show what it means.",
  configure = options.validate,
}

local function limit(seconds)
  return seconds and duration.format(seconds) or "none"
end

--- What would run where, for a person.
---@param config runner.Config
---@return string
function M.summary_of(config)
  local lines = {}
  local function line(label, fmt, ...)
    lines[#lines + 1] = ("  %-10s %s"):format(label, fmt:format(...))
  end
  local providers, width = {}, 0
  for i, provider in ipairs(config.providers) do
    providers[i] = provider.name
  end
  for _, group in ipairs(config.groups) do
    width = math.max(width, utf8.len(group.name) or #group.name)
  end
  lines[1] = config.path .. ": valid"
  line(#providers > 1 and "providers" or "provider", "%s", table.concat(providers, ", "))
  for i, group in ipairs(config.groups) do
    local padding = (" "):rep(width - (utf8.len(group.name) or #group.name))
    local label = i > 1 and "" or #config.groups > 1 and "groups" or "group"
    line(label, "%s%s  %s, retries %d, timeout %s%s%s",
      group.name, padding, group.framework.name, group.retries, limit(group.test_timeout),
      group.schedule == "individual" and ", one at a time" or "",
      group.filters and (', only "%s"'):format(table.concat(group.filters, '", "')) or "")
  end
  line("parallel", "%d at once", config.max_parallel)
  line("timeouts", "slow after %s, run %s, grace %s", limit(config.slow_timeout),
    limit(config.global_timeout), limit(config.grace))
  line("works in", "%s", config.working_dir)
  local junit = config.report.junit
  line("results", "%s%s", config.report.dir, junit and " (" .. junit .. ")" or "")
  return table.concat(lines, "\n")
end

---@param args table
---@return integer exit code
function M.run(args)
  io.stdout:write(M.summary_of(options.load(args)), "\n")
  return 0
end

return M
