--- CTest: the tests of a CMake build folder, run directly, each in a process of its own.
---
---     ctest { build_dir = "build", build_command = "cmake --build build" }
---
--- build_dir      the folder with CTestTestfile.cmake (default "build"), relative to the sandbox's folder
--- build_command  runs first, once in each sandbox; for the shell, or an argument vector
--- config         the configuration of a multi-configuration build (ctest -C)
--- args           more arguments for ctest when it lists the tests, such as -R or -L
--- env            more environment, for ctest and for the tests
--- ctest          the program (default "ctest"; 3.14 or newer)
--- list_timeout   limit for ctest to list the tests (default 10 minutes: it may run programs for that)
---
--- Ids are the tests' names; where folders have tests of one name, the second is NAME#2. What properties mean here:
--- LABELS are tags; TIMEOUT, PROCESSORS (slots), RESOURCE_LOCK, RUN_SERIAL and COST as in CTest; DISABLED tests are
--- listed as ignored; WORKING_DIRECTORY, ENVIRONMENT, ENVIRONMENT_MODIFICATION, REQUIRED_FILES, WILL_FAIL,
--- SKIP_RETURN_CODE and the regular expressions for passing, failing and skipping as in CTest.
---
--- DEPENDS and fixtures: a test that others need (a set-up, or a name in DEPENDS) runs in each sandbox in which one of
--- them does, before the first of them, even if it was not selected; when its own turn comes there, it has its result
--- already. A test whose set-up failed fails. A clean-up waits for the tests that use its fixture; after it, the
--- fixture is set up anew for a test that still comes; what is set up at the end of the run is cleaned up then.
--- TIMEOUT_AFTER_MATCH, RESOURCE_GROUPS and PROCESSOR_AFFINITY have no effect.

local build = require("runner.worker.build_command")
local call = require("runner.agent.call")
local environment = require("frameworks.ctest.environment")
local errors = require("runner.base.errors")
local per_test = require("runner.worker.per_test")
local discovery = require("frameworks.ctest.discovery")
local order = require("frameworks.ctest.order")
local path = require("runner.base.path")
local plugin = require("runner.plugin")
local tail = require("runner.base.tail")
local task = require("runner.base.task")
local missing_tool = require("runner.worker.missing_tool")
local result = require("frameworks.ctest.result")
local worker = require("frameworks.ctest.worker")

local LIST_LIMIT = 128 * 1024 * 1024 -- bytes
local LIST_TIMEOUT_S = 600
local OUTPUT_KEPT = 8 * 1024 * 1024 -- of the beginning, and again of the end, for regular expressions

-- $1…: files, then --, then the command.
local REQUIRE = [[while [ "$1" != -- ]; do
  [ -e "$1" ] || { printf '\n%s%s\n' "$0" "$1"; exit 1; }; shift
done; shift; exec "$@"]]

local NOT_FOUND = { "/bin/sh", "-c", "exit 127" }

local function folder_of(options, ctx)
  local root, folder = ctx.sandbox.cwd, options.build_dir or "build"
  return root and path.absolute(folder, root) or folder
end

--- Why ctest could not be started.
local function explain(options, ctx, folder, exit)
  local there = call.run(ctx, { argv = { ctx.shell, "-c", '[ -d "$1" ]', "sh", folder } })
  if there.exit.kind == "exited" and there.exit.code == 1 then
    errors.raise("config", ("there is no folder %s: configure the project (cmake -B %s), or set build_dir or "
      .. "build_command of the ctest framework"):format(folder, options.build_dir or "build"))
  end
  missing_tool.check(ctx, exit, {
    program = options.ctest or "ctest", install = "CMake", set = 'ctest = "…" of the ctest framework',
  })
end

--- Lists the tests of a build.
---@return runner.ctest.Entry[]
---@return table<string, string>? base the environment that modifications build on
---@async
local function read(options, ctx)
  local argv = { options.ctest or "ctest", "--show-only=json-v1" }
  if options.config then table.move({ "-C", options.config }, 1, 2, 3, argv) end
  table.move(options.args or {}, 1, #(options.args or {}), #argv + 1, argv)
  local folder = folder_of(options, ctx)
  local called = call.run(ctx, {
    argv = argv, cwd = folder, env = options.env, limit = LIST_LIMIT,
    timeout = options.list_timeout or LIST_TIMEOUT_S,
  })
  if missing_tool.is_missing(called.exit) then explain(options, ctx, folder, called.exit) end
  local root, said = discovery.decode(call.check(called, "ctest --show-only in " .. folder))
  if not root then
    errors.raise("config", ("ctest --show-only=json-v1 printed no list of tests (is it older than 3.14?): %s")
      :format(said:sub(1, 2000)))
  end
  if said:find("%S") then ctx.log("warning", "ctest: %s", (said:gsub("%s+$", ""))) end
  local entries = discovery.entries(root)
  if #entries == 0 then
    local there = call.run(ctx, { argv = { ctx.shell, "-c", "[ -e CTestTestfile.cmake ]" }, cwd = folder })
    if there.exit.code ~= 0 then
      errors.raise("config", ("%s has no CTestTestfile.cmake: configure with enable_testing(), or set build_dir or "
        .. "build_command"):format(folder))
    end
  end
  local circle = discovery.circle(entries)
  if circle then
    errors.raise("config", ("the tests of %s wait for one another: %s (see DEPENDS and FIXTURES_… in CMake)")
      :format(folder, table.concat(circle, ", ")))
  end
  local needs_base = false
  for _, entry in ipairs(entries) do
    needs_base = needs_base or environment.needs_base(entry.modifications)
    if entry.unsupported then ctx.log("warning", "%s: %s has no effect here", entry.id, entry.unsupported) end
  end
  local base
  if needs_base then
    local asked = call.run(ctx, { argv = { "env", "-0" }, env = options.env })
    base = environment.parse(call.check(asked, "env -0"))
  end
  return entries, base
end

--- Output for regular expressions: all of it, or the beginning and the end of what is very much.
local function collector()
  local head, size, rest = {}, 0, tail.new(OUTPUT_KEPT)
  return {
    add = function(bytes)
      if size < OUTPUT_KEPT then
        head[#head + 1] = bytes
        size = size + #bytes
      else
        rest:add(bytes)
      end
    end,
    text = function() return table.concat(head) .. rest:text() end,
  }
end

--- How a test is started.
local function command_of(entry, base, options)
  local env = environment.of(entry, base)
  for name, value in pairs(options.env or {}) do
    if env[name] == nil then env[name] = value end
  end
  local argv = entry.command or NOT_FOUND
  if entry.command and entry.required_files[1] then
    argv = { "/bin/sh", "-c", REQUIRE, result.MISSING_FILE, table.unpack(entry.required_files) }
    argv[#argv + 1] = "--"
    table.move(entry.command, 1, #entry.command, #argv + 1, argv)
  else
    argv = table.move(argv, 1, #argv, 1, {})
  end
  return { argv = argv, cwd = entry.dir, env = env, merge = result.reads_output(entry) }
end

local function lane_spec(state, options)
  local outputs = {}
  return {
    command = function(item)
      local entry = state.by_id[item.test.entry]
      if result.reads_output(entry) then outputs[item] = collector() end
      return command_of(entry, state.base, options)
    end,
    show = function(item, _, bytes)
      if outputs[item] then outputs[item].add(bytes) end
      return bytes
    end,
    result = function(item, exit)
      local output = outputs[item] and outputs[item].text() or ""
      outputs[item] = nil
      return result.of(state.by_id[item.test.entry], exit, output)
    end,
  }
end

--- What a session knows of its build, once somebody has asked.
local function state_of(options, ctx)
  local entries, base = read(options, ctx)
  local state = { entries = entries, base = base, by_id = {} }
  for _, entry in ipairs(entries) do state.by_id[entry.id] = entry end
  if order.matters(entries) then
    state.order = order.new(entries, function(entry, callbacks, attempt)
      local command = command_of(entry, base, options)
      for name, callback in pairs(callbacks) do command[name] = callback end
      command.env.RUNNER_TEST_ID, command.env.RUNNER_ATTEMPT = entry.id, tostring(attempt)
      return ctx.spawn(command)
    end)
  end
  return state
end

--- Runs a clean-up at the end of a session.
---@async
local function clean_up(state, options, ctx, entry)
  local command = command_of(entry, state.base, options)
  command.merge, command.timeout = true, entry.timeout or nil
  local called = call.run(ctx, command)
  return result.of(entry, called.exit, called.stdout), called.stdout
end

return plugin.framework({
  name = "ctest",
  api = 1,
  chooses = { "args" },
  options = {
    build_dir = "string?",
    build_command = "string|string[]?",
    config = "string?",
    args = "string[]?",
    env = "env?",
    ctest = "string?",
    list_timeout = "duration?",
  },

  session = function(options, ctx)
    local known
    local state = task.once(function()
      known = state_of(options, ctx)
      return known
    end)
    return build.session(ctx, options, {
      discover = function()
        local tests = {}
        for i, entry in ipairs(state().entries) do tests[i] = discovery.test(entry) end
        return tests, {}
      end,
      worker = function(_, slot, report)
        local here = state()
        local spec = lane_spec(here, options)
        if not here.order then return per_test.worker(ctx, slot, report, spec) end
        return worker.new(ctx, slot, report, spec, here.order)
      end,
      close = function()
        if not known or not known.order then return {} end
        return known.order:close(function(entry) return clean_up(known, options, ctx, entry) end)
      end,
    })
  end,
})
