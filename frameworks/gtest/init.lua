--- GoogleTest programs: their tests are listed by the programs themselves, and run many in one process.
---
---     gtest { binaries = { "build/tests/*_test" }, build_command = "cmake --build build" }
---
--- binaries       globs of executables (** stands for folders), relative to where tests run; each must match something
--- build_command  runs first, once in each sandbox; for the shell, or an argument vector
--- args           more arguments for the programs
--- env            more environment for the programs
--- working_dir    where the programs run; "{dir}" stands for the folder of the program. Default: the sandbox's folder
--- isolation      "batch": many tests in one process, with a crash blamed on the test that ran and the rest run anew;
---                "test": a process for each test
--- disabled       run DISABLED_ tests, too; otherwise they are listed as ignored
--- list_timeout   limit for a program to list its tests (default 1 minute)
---
--- Ids are PROGRAM::Suite.Name, with as much of the program's path as tells it from the others. Standard error goes
--- where standard output goes: only so it is certain which test wrote what.

local batch = require("runner.worker.batch")
local build_command = require("runner.worker.build_command")
local call = require("runner.agent.call")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local find = require("runner.worker.find")
local per_test = require("runner.worker.per_test")
local discovery = require("frameworks.gtest.discovery")
local plugin = require("runner.plugin")
local reader = require("frameworks.gtest.reader")
local task = require("runner.base.task")

local LIST_LIMIT = 64 * 1024 * 1024 -- bytes of a list
local LIST_TIMEOUT_S = 60
local AT_ONCE = 8 -- programs that are asked
local SHOWN_VALUE = 80 -- bytes of a parameter

--- What would change what is run or how it is told.
local VARIABLES = {
  "ALSO_RUN_DISABLED_TESTS", "BREAK_ON_FAILURE", "BRIEF", "COLOR", "FAIL_FAST", "FILTER", "FLAGFILE", "LIST_TESTS",
  "OUTPUT", "PRINT_TIME", "REPEAT", "SHARD_INDEX", "SHARD_STATUS_FILE", "SHUFFLE", "STREAM_RESULT_TO", "TOTAL_SHARDS",
}

-- $1: a file for the JSON; the list as text, then a mark that no JSON holds, then the JSON.
local LIST = [[out=$1; shift; "$@" --gtest_list_tests --gtest_output=json:"$out" --gtest_color=no; code=$?
printf '\n\036\n'; cat "$out" 2>/dev/null; rm -f "$out"; exit $code]]

local function environment(options)
  local env = {}
  for _, name in ipairs(VARIABLES) do env["GTEST_" .. name] = false end
  for name, value in pairs(options.env or {}) do env[name] = value end
  return env
end

--- A program as an argument vector starts with: never looked up in PATH.
local function runnable(path)
  return path:find("/", 1, true) and path or "./" .. path
end

--- How the command of a program starts: path and folder.
local function command_of(options, ctx, path)
  local cwd = options.working_dir
  if not cwd then return runnable(path), nil end
  local folder = runnable(path):match("^(.*)/[^/]*$")
  cwd = cwd:gsub("{dir}", function() return folder end)
  local root = ctx.sandbox.cwd
  local function absolute(name) return (name:find("^/") or not root) and name or root .. "/" .. name end
  return absolute(runnable(path)), absolute(cwd)
end

local function append(argv, ...)
  for _, more in ipairs({ ... }) do table.move(more, 1, #more, #argv + 1, argv) end
  return argv
end

local function programs(options, ctx)
  local paths, seen = {}, {}
  for _, glob in ipairs(options.binaries) do
    local found, said = find.programs(ctx, glob)
    if #found == 0 then
      errors.raise("config", ("framework gtest: no program matches %q: build it first, or set build_command%s")
        :format(glob, said:find("%S") and "\n" .. said or ""))
    end
    for _, path in ipairs(found) do
      if not seen[path] then
        seen[path] = true
        paths[#paths + 1] = path
      end
    end
  end
  return paths
end

--- The shortest ends of paths that tell them apart: "a_test", but "x/a_test" and "y/a_test".
local function labels(paths)
  local label = {}
  local function assign(group, parts)
    local by_end = {}
    for _, path in ipairs(group) do
      local short = path:match(("[^/]+/"):rep(parts - 1) .. "[^/]+$") or path
      by_end[short] = by_end[short] or {}
      table.insert(by_end[short], path)
    end
    for short, same in pairs(by_end) do
      if #same == 1 or short == same[1] then
        for _, path in ipairs(same) do label[path] = short end
      else
        assign(same, parts + 1)
      end
    end
  end
  assign(paths, 1)
  return label
end

--- The source of a test, when it is a file of the project.
local function source(ctx, file)
  if not file then return nil end
  local root = ctx.sandbox.cwd
  if root and file:sub(1, #root + 1) == root .. "/" then return file:sub(#root + 2) end
  return not file:find("^/") and not file:find("^%.%./") and file or nil
end

local function shown(case)
  local name = case.suite .. "." .. case.name
  if not case.kind then return name end
  local value = case.value:gsub("%s*\n%s*", " ")
  if #value > SHOWN_VALUE then
    local stop = utf8.len(value, 1, -1) and utf8.offset(value, 0, SHOWN_VALUE) or SHOWN_VALUE
    value = value:sub(1, stop - 1) .. "..."
  end
  return ("%s (%s = %s)"):format(name, case.kind, value)
end

--- Asks one program.
---@return table[] tests
---@return table? problem
local function ask(options, ctx, path, label, json)
  local program, cwd = command_of(options, ctx, path)
  local called = call.run(ctx, {
    argv = append({ ctx.shell, "-c", LIST, "sh", json, program }, options.args or {}), cwd = cwd,
    env = environment(options), limit = LIST_LIMIT, timeout = options.list_timeout or LIST_TIMEOUT_S,
  })
  local exit = called.exit
  if exit.kind == "lost" then call.check(called, label) end
  local text, from = called.stdout:match("^(.*)\n\30\n()")
  local cases, odd = discovery.parse((text or called.stdout) .. "\n", from and called.stdout:sub(from))
  local why
  if called.too_much then
    why = ("printed more than %d MiB"):format(LIST_LIMIT >> 20)
  elseif exit.timed_out then
    why = ("did not answer within %g s"):format(options.list_timeout or LIST_TIMEOUT_S)
  elseif exit.kind ~= "exited" or exit.code ~= 0 then
    why = "failed: " .. exit_text.describe(exit)
  elseif not cases then
    why = odd and ("printed no list of tests but %q"):format(odd:sub(1, 80)) or "printed no list of tests"
  end
  if why then
    return {}, {
      kind = "collection", id = label, message = ("%s --gtest_list_tests %s"):format(path, why),
      text = ((text or called.stdout):sub(1, 65536) .. called.stderr):gsub("^%s+$", ""),
    }
  end
  local tests, count = {}, {}
  for _, case in ipairs(cases) do
    local name = case.suite .. "." .. case.name
    count[name] = (count[name] or 0) + 1
    tests[#tests + 1] = {
      id = label .. "::" .. name, name = shown(case), file = source(ctx, case.file), line = case.line,
      program = path, case = name,
      ignored = discovery.is_disabled(case) and not options.disabled and "DISABLED_ in its name" or nil,
    }
  end
  for name, n in pairs(count) do
    if n > 1 then
      return {}, {
        kind = "collection", id = label,
        message = ("%s has %d tests named %s: GoogleTest cannot run one of them alone"):format(path, n, name),
      }
    end
  end
  return tests
end

local function discover(options, ctx)
  local paths = programs(options, ctx)
  local label, folder = labels(paths), ctx.tmpdir()
  local found, problems, gate = {}, {}, task.semaphore(AT_ONCE)
  task.scope(function(scope)
    for i, path in ipairs(paths) do
      scope:spawn(function()
        gate:with(function()
          local tests, problem = ask(options, ctx, path, label[path], ("%s/gtest-%d.json"):format(folder, i))
          found[i], problems[i] = tests, problem or false
        end)
      end)
    end
  end)
  task.checkpoint()
  local tests, told = {}, {}
  for i in ipairs(paths) do
    table.move(found[i], 1, #found[i], #tests + 1, tests)
    told[#told + 1] = problems[i] or nil
  end
  return tests, told
end

--- A filter that lets these tests in. `:` and `-` mean something in it and cannot be escaped; ? matches any character.
local function filter(items)
  local names = {}
  for i, item in ipairs(items) do names[i] = item.test.case:gsub("[:%-%*]", "?") end
  return "--gtest_filter=" .. table.concat(names, ":")
end

local function worker(options, ctx, slot, report)
  local together = options.isolation ~= "test"
  local env = environment(options)
  local function command(items)
    local program, cwd = command_of(options, ctx, items[1].test.program)
    local flags = { filter(items), "--gtest_color=no" }
    if options.disabled then flags[#flags + 1] = "--gtest_also_run_disabled_tests" end
    return { argv = append({ program }, options.args or {}, flags), cwd = cwd, env = env, merge = true }
  end
  local function read(items, sink) return reader.new(items, sink, items[1].test.id:match("^(.-)::"), together) end
  if not together then
    return per_test.worker(ctx, slot, report, {
      command = function(item) return command({ item }) end, reader = read,
    })
  end
  return batch.worker(ctx, slot, report, {
    command = command, reader = read, streams = true,
    fits = function(items, item) return items[1].test.program == item.test.program end,
  })
end

return plugin.framework({
  name = "gtest",
  api = 1,
  chooses = { "binaries", "disabled" },
  options = {
    binaries = "string[]",
    build_command = "string|string[]?",
    args = "string[]?",
    env = "env?",
    working_dir = "string?",
    isolation = '"batch"|"test"?',
    disabled = "boolean?",
    list_timeout = "duration?",
  },

  session = function(options, ctx)
    return build_command.session(ctx, options, {
      discover = function() return discover(options, ctx) end,
      worker = function(_, slot, report) return worker(options, ctx, slot, report) end,
      close = function() end,
    })
  end,
})
