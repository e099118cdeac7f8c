--- RSpec: a formatter of ours tells of each example as it runs, many in one process.
---
--- An example is known as "spec/cart_spec.rb > Cart adds an item", by its file and its full description, which stay the
--- same when lines move; one without a description of its own is "… (example 2)", the second such of its group.
---
--- isolation:
---   "batch"    a process runs many examples, of one file where that fits
---   "test"     each example runs in a process of its own

local plugin = require("runner.plugin")
local reporting_tool = require("runner.worker.reporting_tool")

--- "./a_spec.rb[1:1]", "./a_spec.rb[1:2]" → "./a_spec.rb[1:1,1:2]".
local function paths_of(items)
  local paths, places = {}, {}
  for _, item in ipairs(items) do
    local file, place = item.test.key:match("^(.*)%[([%d:]+)%]$")
    if not places[file] then
      places[file] = {}
      paths[#paths + 1] = file
    end
    table.insert(places[file], place)
  end
  for i, file in ipairs(paths) do paths[i] = ("%s[%s]"):format(file, table.concat(places[file], ",")) end
  return paths
end

return plugin.framework({
  name = "rspec",
  api = 1,
  chooses = { "paths" },
  options = {
    paths = "string[]?", -- files and folders; default: what .rspec and RSpec itself say
    command = "string|string[]?", -- what runs rspec: { "bundle", "exec", "rspec" }
    args = "string[]?", -- more arguments: { "--tag", "~slow" }
    isolation = '"batch"|"test"?',
    working_dir = "string?", -- in the sandbox; default: the sandbox's own
    env = "env?",
  },

  session = function(options, ctx)
    return reporting_tool.session(options, ctx, {
      tool = "rspec", tests = "examples", helper = "frameworks/rspec/runner_rspec.rb", variable = "RUNNER_RSPEC",
      settings = "command",
      flags = function(path) return { "--require", path, "--format", "RunnerRSpec::Formatter", "--no-color" } end,
      missing = { "cannot load such file -- rspec", "can't find gem rspec" },
      refusals = { "invalid option" },
      list_args = { "--dry-run", "--order", "defined", "--no-fail-fast" },
      fits = function() return options.isolation ~= "test" end,
      size = function(item) return #item.test.key end,
      select = function(items, slot, env)
        -- As parallel_tests numbers its processes, by which databases are told apart.
        env.TEST_ENV_NUMBER = slot.index == 0 and "" or tostring(slot.index + 1)
        local paths = paths_of(items)
        table.insert(paths, 1, "--no-fail-fast")
        return paths
      end,
    })
  end,
})
