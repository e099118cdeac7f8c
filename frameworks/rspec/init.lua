--- RSpec: a formatter of ours tells of each example as it runs, many in one process.
---
--- An example is known as "spec/cart_spec.rb > Cart adds an item", by its file and its full description, which stay the
--- same when lines move; one without a description of its own is "… (example 2)", the second such of its group.
---
--- isolation:
---   "batch"    a process runs many examples, of one file where that fits
---   "test"     each example runs in a process of its own

local batch = require("runner.framework.batch")
local call = require("runner.framework.call")
local errors = require("runner.errors")
local helper = require("runner.framework.helper")
local outcome = require("runner.framework.outcome")
local plugin = require("runner.plugin")
local told = require("runner.framework.told")

local FORMATTER = { "--format", "RunnerRSpec::Formatter", "--no-color" }

local function append(list, ...)
  for _, more in ipairs({ ... }) do table.move(more, 1, #more, #list + 1, list) end
  return list
end

--- What the user would type to run rspec; for messages.
local function shown(options)
  return type(options.command) == "table" and table.concat(options.command, " ") or options.command or "rspec"
end

local function argv_of(session, ...)
  local options = session.options
  local more = { ... }
  return session.helper.argv(function(path)
    local argv = type(options.command) == "table" and append({}, options.command) or { "rspec" }
    if type(options.command) == "string" then argv = { session.ctx.shell, "-c", options.command .. ' "$@"', "sh" } end
    return append(argv, { "--require", path }, FORMATTER, options.args or {}, table.unpack(more))
  end)
end

local function environment(session, mode, variable)
  local env = { RUNNER_RSPEC = mode, RUNNER_MARK = variable }
  for name, value in pairs(session.options.env or {}) do env[name] = value end
  return env
end

-- Discovery ---------------------------------------------------------------------------------------------------------

--- Why rspec told nothing: a mistake in how it is called, or in the project's code.
local function diagnose(session, exit, text)
  local options = session.options
  local said = text:find("%S") and "\n" .. text:gsub("%s+$", "") or ""
  if exit.kind == "failed" or exit.code == 127 or exit.code == 126
    or text:find("cannot load such file -- rspec", 1, true) or text:find("can't find gem rspec", 1, true) then
    errors.raise("config", ("cannot run %s (%s): install it, or set command = { … } of the rspec framework to what "
      .. "runs rspec in this project%s"):format(shown(options), outcome.describe(exit), said))
  elseif text:find("invalid option", 1, true) then
    errors.raise("config", ("%s does not accept how it is called%s"):format(shown(options), said))
  end
  return { kind = "collection", text = text,
    message = ("%s ended (%s) while it collected the examples"):format(shown(options), outcome.describe(exit)) }
end

local function discover(session)
  local border, variable = told.mark()
  local called = call.run(session.ctx, {
    argv = argv_of(session, { "--dry-run", "--order", "defined", "--no-fail-fast" }, session.options.paths or {}),
    env = environment(session, "list", variable), cwd = session.options.working_dir,
  })
  if called.exit.kind == "lost" or called.too_much or called.exit.timed_out then
    call.check(called, shown(session.options))
  end
  local list = told.list(border, called.stdout)
  if not list.ended or not list.whole and #list.problems == 0 then
    list.problems[#list.problems + 1] = diagnose(session, called.exit, list.rest .. called.stderr)
  end
  return list.tests, list.problems
end

-- Running -----------------------------------------------------------------------------------------------------------

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

local function worker(session, slot, report)
  local options, ctx = session.options, session.ctx
  local border, variable
  return batch.worker(ctx, slot, report, {
    streams = true,
    fits = function() return options.isolation ~= "test" end,
    size = function(item) return #item.test.key end,
    command = function(items)
      border, variable = told.mark()
      local env = environment(session, "run", variable)
      -- As parallel_tests numbers its processes, by which databases are told apart.
      env.TEST_ENV_NUMBER = env.TEST_ENV_NUMBER or (slot.index == 0 and "" or tostring(slot.index + 1))
      return {
        argv = argv_of(session, { "--no-fail-fast" }, paths_of(items)), env = env, cwd = options.working_dir,
        merge = true,
      }
    end,
    reader = function(items, sink)
      return told.reader(border, items, sink, { tool = "rspec", told = session.told })
    end,
  })
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
    local session = { options = options, ctx = ctx, told = {} }
    session.helper = helper.place(ctx, "frameworks/rspec/runner_rspec.rb")
    function session.discover() return discover(session) end
    function session.worker(_, slot, report) return worker(session, slot, report) end
    function session.close() end
    return session
  end,
})
