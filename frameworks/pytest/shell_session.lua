--- pytest where no agent can run: one command for each batch, `pytest --junitxml=FILE ID…`, and the report comes back
--- behind the command's output. Tests are isolated as pytest does it, in one process for the batch.

local batch = require("runner.worker.batch")
local batches = require("frameworks.pytest.batch_reader")
local call = require("runner.agent.call")
local errors = require("runner.base.errors")
local launch = require("frameworks.pytest.command")
local marker = require("runner.base.marker")

local TAIL = 64 * 1024

local M = {}

-- $1$2: the mark between the output and the folder where pytest ran. Where that is not the one that node ids start
-- from, pytest says in its header which that is; it has none where it lists ids.
local COLLECT = [[m="$1$2 "; shift 2; o=$(%s "$@" --verbosity=-1; r=$?; printf "\n%%s" "$m"; pwd -P; exit $r); r=$?; ]]
  .. [[printf "%%s\n" "$o"; d=${o##*"$m"}; f=$(printf "%%s\n" "$o" | grep -m1 ::); ]]
  .. [[[ -z "$f" ] || [ -e "$d/${f%%%%::*}" ] || %s "$@" --verbosity=0 --ignore-glob="*" 2>/dev/null | ]]
  .. [[grep "^rootdir: "; exit $r]]

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

--- What leads from one absolute folder to another: "", "../", "tests/".
local function way(from, to)
  from, to = from:gsub("/*$", "/"), to:gsub("/*$", "/")
  local up = ""
  while to:sub(1, #from) ~= from do
    from, up = from:match("^(.*/)[^/]+/$"), up .. "../"
  end
  return up .. to:sub(#from + 1)
end

--- Where node ids start from, seen from where pytest runs.
local function start_of_ids(said)
  local cwd, root = said:match("^(/[^\r\n]*)\r?\nrootdir: (/[^\r\n]*)")
  if not root then return "" end
  root = root:gsub(", testpaths: .*$", ""):gsub(", configfile: .*$", ""):gsub(", inifile: .*$", "") -- before pytest 8
  return way(cwd, root)
end

local function read_ids(text, start)
  local tests = {}
  for line in text:gmatch("[^\n]+") do
    line = line:gsub("\r$", "")
    if line:find("=== ERRORS ===", 1, true) then break end
    local file, rest = line:match("^(.-)::(.+)$")
    if file and not line:find("^%s") then
      tests[#tests + 1] = { id = line, nodeid = line, argument = start .. line, name = rest, file = file }
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
  local first, second = marker.half(), marker.half()
  local called = call.run(ctx, { env = launch.environment(options), argv = append(
    { "/bin/sh", "-c", COLLECT:format(prefix, prefix), "sh", first, second }, program, selection(options),
    { "--collect-only", "--color=no" }, options.paths or {}) })
  local exit, text, start = called.exit, called.stdout, ""
  local at, last = text:find(first .. second .. " ", 1, true)
  if at then text, start = text:sub(1, at - 1), start_of_ids(text:sub(last + 1)) end
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  local problems = collection_problems(text)
  -- A hook may set another status than pytest's own; it speaks again when tests have run.
  local code = exit.kind == "exited" and exit.code or nil
  local is_fine = code == 0 or code == 5
  if is_fine or code and #problems == 0 and (code == 1 or code > 5) then
    local tests = read_ids(text, start)
    if is_fine or #tests > 0 then return tests, {} end
  end
  if code and code <= 2 and #problems > 0 then return read_ids(text, start), problems end
  local said = (text .. called.stderr):sub(-TAIL)
  local kind, message = launch.diagnose(options, exit, said)
  if kind == "config" then errors.raise("config", message) end
  return {}, { { kind = "collection", message = message, text = said } }
end

-- A worker ----------------------------------------------------------------------------------------------------------

local function command(options, items, first, second)
  local prefix, program = pytest(options)
  local ids = {}
  for i, item in ipairs(items) do ids[i] = item.test.argument end
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
    size = function(item) return #item.test.argument end,
    fits = batches.fits(),
    command = function(items)
      local first, second = marker.half(), marker.half()
      border = first .. second
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
