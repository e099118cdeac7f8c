--- Any command as a test framework.
---
--- Where the tests come from: `tests`, a list of names, or `discover_command`, which prints one name a line (empty
--- lines and lines that start with # do not count). What runs them: `run_command`. A string goes to the shell, with
--- names and paths quoted; a list is an argument vector and needs no shell. Placeholders:
---
---   {tests}        the name of a test, or the names of several
---   {result_file}  where the command shall write its results; in `env`, too
---   {filters}      the option `filters`, which is shell text, or a list of words
---
--- Without results each test is one command whose exit status decides. With {result_file}, or with `result_file`, a
--- path or globs of what the command writes by itself, one command takes many tests and the results say how each went:
--- JUnit XML, or TAP where the name ends in .tap; `result_file = "-"` is the command's stdout, which is TAP. Results
--- belong to the test whose name they carry; `test_id_format` says how names are made of results, such as
--- "{classname} {name}" or "{file}". A test that is a file or a folder has a command of its own where results carry
--- other names, those of the cases inside; `test_id_format = "{tests}"` says so of any test. Where a path is given,
--- commands of one sandbox take turns, as they write the same file; {result_file} alone has one for each.

local call = require("runner.agent.call")
local batch = require("runner.worker.batch")
local errors = require("runner.base.errors")
local result_files = require("frameworks.command.result_files")
local rw_gate = require("runner.worker.rw_gate")
local per_test = require("runner.worker.per_test")
local mark = require("runner.base.marker")
local match = require("runner.worker.formats.match")
local exit_result = require("runner.worker.exit_result")
local plugin = require("runner.plugin")
local reader = require("frameworks.command.reader")
local unique_ids = require("runner.worker.unique_ids")
local placeholders = require("frameworks.command.placeholders")

local WHOLE = "{tests}" -- as test_id_format: all that a command reports is of the test that it was called for
local DISCOVERY_LIMIT = 64 * 1024 * 1024 -- bytes of names

local function wrong(format, ...)
  errors.raise("config", format:format(...))
end

local function check_placeholders(options)
  for option, known in pairs({ run_command = { "tests", "result_file", "filters" }, discover_command = { "filters" },
    env = { "result_file" } }) do
    local mistake = placeholders.mistake(options[option], known)
    if mistake then wrong("%s: %s", option, mistake) end
  end
end

--- What the options come to; raises what does not fit together.
local function plan_of(options)
  local run, declared = options.run_command, options.result_file
  if not options.tests and not options.discover_command then wrong("set tests or discover_command") end
  check_placeholders(options)
  local placed = placeholders.mentions(run, "result_file") or placeholders.mentions(options.env, "result_file")
  local paths = type(declared) == "table" and declared or { declared }
  local stdout = declared == "-"
  local plan = {
    stdout = stdout, paths = not stdout and paths[1] and paths or nil, placed = placed, format = options.result_format,
    has_results = declared ~= nil or placed,
  }
  if placed and (stdout or #paths > 1 or paths[1] and result_files.is_glob(paths[1])) then
    wrong("{result_file} needs a result_file that is one path, or none")
  end
  if not plan.has_results and (options.test_id_format or options.result_format) then
    wrong("%s says how results are read, but nothing says where they are: use {result_file} in run_command, or "
      .. "set result_file", options.test_id_format and "test_id_format" or "result_format")
  end
  local mentions = placeholders.mentions
  if options.filters and not mentions(options.discover_command, "filters") and not mentions(run, "filters") then
    wrong("filters is set, but no command has {filters}")
  end
  plan.names_tests = placeholders.mentions(run, "tests")
  -- A command that always runs all tests takes many, too: its results say how each went.
  local many = placeholders.takes_many(run) or plan.has_results and not plan.names_tests
  if options.batch and not many then
    wrong("batch: run_command takes no list of tests: {tests} must be an argument of its own")
  end
  plan.batch = many and (options.batch or options.batch == nil and plan.has_results) or false
  plan.whole = options.test_id_format == WHOLE
  if not plan.whole then plan.id_format = options.test_id_format end
  if plan.id_format then match.new({}, { format = plan.id_format }) end -- raises for a bad one
  return plan
end

local function folder_of(options, ctx)
  local path = require("runner.base.path")
  local base = ctx.sandbox.cwd or ctx.agent.info.cwd
  return options.working_dir and path.absolute(options.working_dir, base) or base
end

local function names_of(options, ctx)
  if options.tests then return options.tests end
  local argv, shell_argv = placeholders.argv(options.discover_command, ctx.shell, { filters = options.filters })
  local called = call.run(ctx, {
    argv = argv, shell_argv = shell_argv,
    env = placeholders.env(options.env, {}), cwd = options.working_dir, limit = DISCOVERY_LIMIT,
  })
  local names = {}
  for line in call.check(called, "discover_command"):gmatch("[^\r\n]+") do
    line = line:match("^%s*(.-)%s*$")
    if line ~= "" and line:sub(1, 1) ~= "#" then names[#names + 1] = line end
  end
  return names
end

-- Says which of its arguments are files or folders, by their numbers.
local WHICH_ARE_PATHS = 'n=0; for p; do n=$((n+1)); [ ! -e "$p" ] || echo $n; done'
local ARGUMENT_BYTES = 24 * 1024 -- of one command line, where it is quoted once more

--- Marks the tests that are files or folders: results with other names are of the cases inside.
local function mark_paths(options, ctx, tests)
  local first = 1
  while first <= #tests do
    local argv, last, bytes = { "/bin/sh", "-c", WHICH_ARE_PATHS, "sh" }, first - 1, 0
    repeat
      last = last + 1
      argv[#argv + 1] = tests[last].name
      bytes = bytes + #tests[last].name + 8
    until last == #tests or bytes > ARGUMENT_BYTES
    local called = call.run(ctx, { argv = argv, cwd = options.working_dir })
    for number in call.check(called, "looking for the tests' files"):gmatch("%d+") do
      tests[first - 1 + tonumber(number)].is_path = true
    end
    first = last + 1
  end
end

--- Paths below the working folder get ids that are the same on every machine.
local function discover(options, ctx, plan, shared)
  local tests, id_of, listed = {}, unique_ids.ids(), {}
  local below = folder_of(options, ctx) .. "/"
  for _, name in ipairs(names_of(options, ctx)) do
    if name == "" or name:find("%z") then wrong("framework command: %q is no name for a test", name) end
    local id = name:sub(1, #below) == below and #name > #below and name:sub(#below + 1) or name
    tests[#tests + 1] = { id = id_of(id), name = name }
    listed[#listed + 1] = name
  end
  -- One test may well be one command; `collect` runs none.
  if #tests > 1 and not plan.names_tests and not plan.has_results and not ctx.collect_only
    and not placeholders.says(options.run_command, "RUNNER_TEST_ID") then
    wrong("framework command: run_command has no {tests}: it would be the same for all %d tests; put {tests} where "
      .. "the name of a test belongs (or $RUNNER_TEST_ID, which is in its environment)", #tests)
  end
  if plan.has_results and not options.test_id_format and not ctx.collect_only then mark_paths(options, ctx, tests) end
  shared.all = match.new(listed, { format = plan.id_format, root = below:sub(1, -2) })
  return tests
end

--- A file of ours for the results of a slot.
local function own_file(ctx, slot, format)
  local name = ("results-%d-%s.%s"):format(slot.index, mark.half(), format == "tap" and "tap" or "xml")
  local place = ctx.agent.place
  -- Where commands do not meet, each makes and removes the file for itself.
  return (place and place.stateless and "/tmp/runner-" or ctx.tmpdir() .. "/") .. name
end

--- Commands that write one and the same file take turns: those of all slots, and of all groups, of a sandbox.
local function turn_of(options, ctx, paths)
  local one = rw_gate.of(ctx.agent, "results " .. folder_of(options, ctx) .. "\0" .. table.concat(paths, "\0"))
  return function(go) one:enter(true, go) end
end

local function batch_worker(session, slot, report)
  local options, ctx, plan, shared = session.options, session.ctx, session.plan, session.shared
  local source = { stdout = plan.stdout, paths = plan.paths, format = plan.format }
  if plan.placed and not plan.paths then
    source.paths, source.own = { own_file(ctx, slot, plan.format) }, true
  end
  local plain, in_shell = ctx.agent.plain, type(options.run_command) == "string"
  local border
  local function fits() return plan.batch and (not plan.has_results or shared.speaks == "names") end
  return batch.worker(ctx, slot, report, {
    fits = fits,
    size = function(item) return #item.test.name + select(2, item.test.name:gsub("'", "")) * 3 + 3 end,
    turn = plan.paths and turn_of(options, ctx, plan.paths) or nil,
    command = function(items)
      local names = {}
      for i, item in ipairs(items) do names[i] = item.test.name end
      local values = { tests = names, filters = options.filters, result_file = source.paths and source.paths[1] }
      local argv, shell_argv = placeholders.argv(options.run_command, ctx.shell, values)
      if source.paths then
        argv, border = result_files.wrap(source.paths, source.own, argv, plain)
        shell_argv = nil
      end
      return {
        argv = argv, shell_argv = shell_argv, env = placeholders.env(options.env, values), cwd = options.working_dir,
        control = source.paths and not plain or nil,
      }
    end,
    reader = function(items, sink)
      if not plan.has_results then return reader.by_status(items, sink, in_shell) end
      return reader.reader(source, border, items, sink, {
        format = plan.id_format, whole = plan.whole, root = folder_of(options, ctx), shared = shared, log = ctx.log,
        plain = plain, in_shell = in_shell,
      })
    end,
  })
end

local function lane_worker(session, slot, report)
  local options, ctx = session.options, session.ctx
  return per_test.worker(ctx, slot, report, {
    result = type(options.run_command) == "string" and function(_, exit)
      return exit_result.of_exit(reader.exit_in_shell(exit))
    end or nil,
    command = function(item)
      local values = { tests = { item.test.name }, filters = options.filters }
      local argv, shell_argv = placeholders.argv(options.run_command, ctx.shell, values)
      return {
        argv = argv, shell_argv = shell_argv, env = placeholders.env(options.env, {}), cwd = options.working_dir,
      }
    end,
  })
end

--- What the sandboxes of a group learn of its results.
local known = setmetatable({}, { __mode = "k" })

local function shared_by(options)
  local speaks = options.test_id_format and (options.test_id_format == WHOLE and "commands" or "names") or nil
  known[options] = known[options] or { speaks = speaks, told = {} }
  return known[options]
end

return plugin.framework({
  name = "command",
  api = 1,
  chooses = { "tests", "discover_command", "filters" },
  options = {
    tests = "string[]?",
    discover_command = "string|string[]?",
    run_command = "string|string[]",
    filters = "string|string[]?",
    result_file = "string|string[]?", -- a path, globs, or "-"
    result_format = '"junit"|"tap"?',
    test_id_format = "string|string[]|function?", -- fields: name classname file line suite suites property:NAME
    batch = "boolean?", -- many tests in one command; default: where there are results
    working_dir = "string?", -- in the sandbox; default: the sandbox's own
    env = "env?",
  },

  check = function(options)
    local ok, why = pcall(plan_of, options)
    return not ok and (errors.is(why) and why.message or error(why, 0)) or nil
  end,

  session = function(options, ctx)
    local session = { options = options, ctx = ctx, plan = plan_of(options), shared = shared_by(options) }
    function session.discover() return discover(options, ctx, session.plan, session.shared), {} end
    function session.worker(_, slot, report)
      local plan = session.plan
      return (plan.batch or plan.has_results) and batch_worker(session, slot, report)
        or lane_worker(session, slot, report)
    end
    function session.close() end
    return session
  end,
})
