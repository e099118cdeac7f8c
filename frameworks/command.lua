--- Any command: each test is one process, and its exit status is the result.
---
--- Where the tests come from: `tests`, a list of names, or `discover_command`, which prints one name a line (empty
--- lines and lines that start with # do not count). What runs one: `run_command`, in which {tests} stands for the
--- name. A string goes to the shell, with the name quoted; a list is an argument vector and needs no shell.

local errors = require("runner.errors")
local plugin = require("runner.plugin")
local task = require("runner.task")

local DISCOVERY_LIMIT = 64 * 1024 * 1024 -- bytes of names

local function shell_quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function replace(template, name)
  return (template:gsub("{tests}", function() return name end))
end

--- The argument vector for one test.
local function arguments(command, name, shell)
  if type(command) == "string" then
    return { shell, "-c", replace(command, shell_quote(name)) }
  end
  local argv = {}
  for i, argument in ipairs(command) do argv[i] = replace(argument, name) end
  return argv
end

local function run_to_end(ctx, spec)
  local out, size = {}, 0
  return task.await(function(resume)
    spec.on_output = function(command, stream, bytes)
      size = size + #bytes
      if size > DISCOVERY_LIMIT then return command:kill(0) end
      if stream == "stdout" then out[#out + 1] = bytes else ctx.log("info", "%s", (bytes:gsub("%s+$", ""))) end
    end
    spec.on_exit = function(_, exit)
      resume(exit, table.concat(out), size > DISCOVERY_LIMIT)
    end
    local command = ctx.spawn(spec)
    return function() command:kill(0) end
  end)
end

local function discover(options, ctx)
  local names = options.tests
  if not names then
    local command = options.discover_command
    local argv = type(command) == "string" and { ctx.shell, "-c", command } or command
    local exit, text, too_much = run_to_end(ctx, { argv = argv, env = options.env })
    if too_much then
      errors.raise("config", ("discover_command printed more than %d MiB"):format(DISCOVERY_LIMIT >> 20))
    elseif exit.kind ~= "exited" or exit.code ~= 0 then
      errors.raise("config", ("discover_command failed: %s"):format(
        exit.message ~= "" and exit.message or exit.kind .. " " .. tostring(exit.code or exit.signal)))
    end
    names = {}
    for line in text:gmatch("[^\r\n]+") do
      if line:find("%S") and not line:find("^#") then names[#names + 1] = line end
    end
  end
  local tests, seen = {}, {}
  for _, name in ipairs(names) do
    seen[name] = (seen[name] or 0) + 1
    local id = seen[name] == 1 and name or ("%s#%d"):format(name, seen[name])
    tests[#tests + 1] = { id = id, name = name }
  end
  return tests
end

local function result_of(exit)
  local result = {
    status = "passed", duration = exit.wall, cpu = (exit.user or 0) + (exit.system or 0), memory = exit.memory,
    leaks = exit.leaks,
  }
  if exit.timed_out then -- by the provider's limit: the test's own is the core's business
    result.status, result.message = "timed_out", "the provider's limit of time has passed"
  elseif exit.kind == "exited" then
    result.exit_code = exit.code
    if exit.code ~= 0 then
      result.status, result.message = "failed", ("exit status %d"):format(exit.code)
    end
  elseif exit.kind == "signaled" then
    result.status, result.signal = "crashed", exit.signal
    result.message = ("ended by signal %d"):format(exit.signal)
  elseif exit.kind == "lost" then
    result.status, result.message = "lost", exit.message
  else
    result.status, result.message = "failed", exit.message
  end
  return result
end

--- Commands of one slot form a lane of the agent: they wait in its queue, so that a finished one is followed by the
--- next without a round trip.
local function worker(options, ctx, slot, report)
  local one, waiting, asked = {}, {}, {}
  local lane = slot.index + 1

  function one:push(items)
    for _, item in ipairs(items) do
      local name = item.test.name
      item.command = ctx.spawn({
        argv = arguments(options.run_command, name, ctx.shell),
        cwd = options.working_dir,
        lane = lane,
        env = {
          RUNNER_TEST_ID = item.id, RUNNER_ATTEMPT = tostring(item.attempt), RUNNER_WORKER = tostring(slot.index),
        },
        on_start = function()
          waiting[item] = nil
          report.started(item)
          if asked[item] then report.returned({}) end -- too late to take it back
        end,
        on_output = function(_, stream, bytes) report.output(item, stream, bytes) end,
        on_exit = function(_, exit)
          item.command = nil
          if exit.kind == "dropped" or exit.kind == "lost" and waiting[item] then
            waiting[item] = nil
            report.returned({ item })
          else
            report.finished(item, result_of(exit))
          end
        end,
      })
      waiting[item] = true
    end
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

  function one:stop(item)
    if item.command then item.command:kill(ctx.settings.grace) end
  end

  function one:kill()
    for item in pairs(waiting) do item.command:kill(0) end
    if slot.running and slot.running.command then slot.running.command:kill(0) end
  end

  function one:close() end

  return one
end

return plugin.framework({
  name = "command",
  api = 1,
  options = {
    tests = "string[]?",
    discover_command = "string|string[]?",
    run_command = "string|string[]",
    working_dir = "string?", -- in the sandbox; default: the sandbox's own
    env = "env?",
  },

  session = function(options, ctx)
    if not options.tests and not options.discover_command then
      errors.raise("config", "framework command: set tests or discover_command")
    end
    return {
      discover = function() return discover(options, ctx), {} end,
      worker = function(_, slot, report) return worker(options, ctx, slot, report) end,
      close = function() end,
    }
  end,
})
