--- pytest where no agent can run: one command for each batch, `pytest --junitxml=FILE ID…`, and the report comes back
--- behind the command's output. Tests are isolated as pytest does it, in one process for the batch.

local batch = require("runner.framework.batch")
local batches = require("frameworks.pytest.batch")
local call = require("runner.framework.call")
local errors = require("runner.errors")
local launch = require("frameworks.pytest.launch")
local mark = require("runner.mark")

local TAIL = 64 * 1024

local M = {}

-- $1$2: the mark between the output and the report.
local RUN = [[m=$1$2; f=${TMPDIR:-/tmp}/runner-$1.xml; shift 2; %s "$@" --junitxml="$f"; r=$?; ]]
  .. [[printf "\n%%s\n" "$m"; cat "$f" 2>/dev/null; rm -f "$f"; exit $r]]

local function append(list, ...)
  for _, more in ipairs({ ... }) do table.move(more, 1, #more, #list + 1, list) end
  return list
end

local function pytest(options)
  local command = options.command
  if type(command) == "string" then return command, {} end
  return "", command or { options.python or "python3", "-m", "pytest" }
end

local function selection(options)
  return append(options.markers and { "-m", options.markers } or {},
    options.keyword and { "-k", options.keyword } or {}, options.extra_args or {})
end

-- Discovery ---------------------------------------------------------------------------------------------------------

local function read_ids(text)
  local tests = {}
  for line in text:gmatch("[^\n]+") do
    line = line:gsub("\r$", "")
    if line:find("=== ERRORS ===", 1, true) then break end
    local file, rest = line:match("^(.-)::(.+)$")
    if file and not line:find("^%s") then
      tests[#tests + 1] = { id = line, nodeid = line, name = rest, file = file }
    end
  end
  return tests
end

--- What could not be collected: the lines of pytest's short summary.
local function collection_problems(text)
  local problems = {}
  for line in text:gmatch("[^\n]+") do
    local where, why = line:match("^ERROR ([^\n]-) %- (.*)$")
    where = where or line:match("^ERROR (%S.*)$")
    if where then
      problems[#problems + 1] = { kind = "collection", id = where, message = ("%s: %s")
        :format(where, why or "it cannot be imported or collected"), text = text }
    end
  end
  return problems
end

local function discover(options, ctx)
  local prefix, program = pytest(options)
  local shell = prefix ~= "" and { "/bin/sh", "-c", prefix .. ' "$@"', "sh" } or {}
  local called = call.run(ctx, { env = launch.environment(options), argv = append(shell, program,
    { "--collect-only", "--verbosity=-1", "--color=no" }, selection(options), options.paths or {}) })
  local exit, text = called.exit, called.stdout
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if exit.kind == "exited" and (exit.code == 0 or exit.code == 5) then return read_ids(text), {} end
  local problems = collection_problems(text)
  if exit.kind == "exited" and exit.code <= 2 and #problems > 0 then return read_ids(text), problems end
  local said = (text .. called.stderr):sub(-TAIL)
  local kind, message = launch.diagnose(options, exit, said)
  if kind == "config" then errors.raise("config", message) end
  return {}, { { kind = "collection", message = message, text = said } }
end

-- A worker ----------------------------------------------------------------------------------------------------------

local function command(options, items, first, second)
  local prefix, program = pytest(options)
  local ids = {}
  for i, item in ipairs(items) do ids[i] = item.test.nodeid end
  return append({ "/bin/sh", "-c", RUN:format(prefix), "sh", first, second }, program, selection(options),
    { "--verbosity=1", "--color=no", "-o", "junit_logging=all", "--junit-prefix=" }, ids)
end

--- The result of a test that had the process to itself, when it is the set-up that is wrong.
local function explain(options, exit, said)
  if exit.timed_out or exit.kind == "signaled" or exit.code == 0 then return nil end
  local kind, message = launch.diagnose(options, exit, said)
  return kind == "config" and { status = "failed", message = message, exit_code = exit.code } or nil
end

local function worker(options, ctx, slot, report)
  local env = launch.environment(options,
    { index = slot.index, count = ctx.settings.max_parallel, run = ctx.run_id })
  env.RUNNER_ATTEMPT = nil -- a command has its own
  local border
  -- The reader says which test runs, but `streams` would take its word for it: many providers keep all output to the
  -- end, and then the tests of a batch have their time together.
  return batch.worker(ctx, slot, report, {
    command = function(items)
      local first, second = mark.half(), mark.half()
      border = ("\n%s%s\n"):format(first, second)
      return { argv = command(options, items, first, second), env = env }
    end,
    reader = function(items, sink)
      local reader = batches.reader(border, items, sink)
      function reader.explain(exit, said) return explain(options, exit, said) end
      return reader
    end,
  })
end

---@param options table of the framework
---@param ctx table
---@return table session
function M.open(options, ctx)
  return {
    discover = function() return discover(options, ctx) end,
    worker = function(_, slot, report) return worker(options, ctx, slot, report) end,
    close = function() end,
  }
end

return M
