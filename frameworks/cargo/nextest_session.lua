--- Tests run by cargo-nextest, with the project's configuration for it: profiles, retries, timeouts, scripts, groups.
--- What it builds is built once in each sandbox; then each batch is one `cargo nextest run` over tests of one binary,
--- one at a time, for parallelism is the slots'. Its results are followed as it prints them.

local cjson = require("cjson.safe")
local batch = require("runner.worker.batch")
local call = require("runner.agent.call")
local command = require("frameworks.cargo.command")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local sorted_keys = require("runner.base.sorted_keys")
local lines = require("runner.worker.lines")
local task = require("runner.base.task")
local missing_tool = require("runner.worker.missing_tool")
local words = require("frameworks.cargo.result")

local M = {}

local BUILD_TIMEOUT_S = 3600
local BUILD_FAILED = 101 -- exit status
local SAID = 4096 -- bytes that are kept of what it says of one test
local NAMES_AT_ONCE = 50 -- in one expression: an argument is at most 128 KiB
local INDENT = "    " -- of all that a test has printed: nothing of it can pass for a message of nextest's

local Session = {}
Session.__index = Session

local function program(self, ...)
  local argv = command.program(self.options)
  for _, word in ipairs({ ... }) do argv[#argv + 1] = word end
  return argv
end

local function add(argv, ...)
  for _, word in ipairs({ ... }) do argv[#argv + 1] = word end
  return argv
end

local function run(self, argv, timeout)
  return call.run(self.ctx, { argv = argv, cwd = self.cwd, env = self.options.env, timeout = timeout })
end

--- Runs a command whose output goes to a file there; that of cargo metadata alone can be tens of megabytes.
local function keep(self, file, argv, timeout)
  return run(self, { "/bin/sh", "-c", 'file=$1; shift; exec "$@" >"$file"', "sh", file, table.unpack(argv) }, timeout)
end

local function explain(self, called)
  local said = called.stderr
  missing_tool.check(self.ctx, called.exit, command.about(self.options, self.ctx), said)
  if said:find("no such command: `nextest`", 1, true) then
    errors.raise("config", ('cargo-nextest is not installed: install it%s (cargo install cargo-nextest --locked), or '
      .. 'leave out via = "nextest": runner then needs nothing but cargo\n%s')
      :format(missing_tool.where(self.ctx), said))
  end
  call.check(called, command.shown(self.options, "nextest list"))
end

--- Builds in this sandbox and keeps what nextest needs to know of it.
---@return table[] problems
---@async
local function build(self)
  local folder = self.ctx.tmpdir()
  self.binaries, self.metadata = folder .. "/binaries.json", folder .. "/metadata.json"
  local called = keep(self, self.binaries, add(program(self, "nextest", "list", "--list-type=binaries-only",
    "--message-format=json", "--color=never"), table.unpack(command.selection(self.options, "--cargo-profile"))),
    self.options.build_timeout or BUILD_TIMEOUT_S)
  if called.exit.kind == "exited" and called.exit.code == BUILD_FAILED
    and called.stderr:find("could not compile", 1, true) then
    local message = called.stderr:match("error: could not compile[^\n]*")
    return { { kind = "collection", id = "cargo build", message = message, text = called.stderr } }
  end
  explain(self, called)
  local argv = program(self, "metadata", "--format-version=1", "--all-features")
  if self.options.manifest_path then add(argv, "--manifest-path", self.options.manifest_path) end
  call.check(keep(self, self.metadata, argv), command.shown(self.options, "metadata"))
  return {}
end

--- A subcommand over what was built.
local function reuse(self, ...)
  local argv = program(self, "nextest", ...)
  add(argv, "--cargo-metadata=" .. self.metadata, "--binaries-metadata=" .. self.binaries, "--color=never")
  if self.options.nextest_profile then add(argv, "--profile=" .. self.options.nextest_profile) end
  if self.options.include_ignored then add(argv, "--run-ignored=all") end
  return argv
end

-- Which there are ---------------------------------------------------------------------------------------------------

--- Test groups of the project's that allow one test at a time. Each batch is a nextest of its own, so it is runner that
--- keeps them apart.
local function read_groups(self)
  local argv = program(self, "nextest", "show-config", "test-groups")
  add(argv, "--cargo-metadata=" .. self.metadata, "--binaries-metadata=" .. self.binaries, "--color=never")
  if self.options.nextest_profile then add(argv, "--profile=" .. self.options.nextest_profile) end
  local groups, group, binary = {}, nil, nil
  for line in call.check(run(self, argv), "nextest show-config"):gmatch("[^\n]+") do
    local name, threads = line:match("^group: (.+) %(max threads = (%d+)%)")
    if line:find("^group: ") then
      group = threads == "1" and name or nil
      if threads and threads ~= "1" then
        self.ctx.log("warning", "nextest's test group %s is not kept to %s threads: runner's own limits are "
          .. "max_parallel and weight", name, threads)
      end
    elseif line:find("^      %S") then
      binary = line:match("^%s+(.-):$")
    elseif group and binary and line:find("^          %S") then
      groups[binary .. "$" .. line:match("^%s+(.*)$")] = "nextest:" .. group
    end
  end
  return groups
end

local function is_wanted(case)
  local match = case["filter-match"]
  return type(match) ~= "table" or match.status == "matches" or match.reason == "ignored"
end

local function add_suite(tests, suite, options, groups)
  for _, name in ipairs(sorted_keys.sorted(suite.testcases or {})) do
    local case, id = suite.testcases[name], suite["binary-id"] .. "$" .. name
    if is_wanted(case) then
      tests[#tests + 1] = {
        id = id, name = name, tags = { suite.kind }, binary = suite["binary-id"],
        ignored = case.ignored and not options.include_ignored and "#[ignore]" or nil,
        exclusive = groups[id] and { groups[id] } or nil,
      }
    end
  end
end

---@async
function Session:discover()
  local problems = self:build()
  if #problems > 0 then return {}, problems end
  local called = run(self, reuse(self, "list", "--message-format=json"))
  if called.exit.kind == "exited" and called.stderr:find("creating test list failed", 1, true) then
    local what = called.stderr:match("Caused by:\n%s*([^\n]*)") or "creating test list failed"
    return {}, { { kind = "collection", id = "cargo nextest list", message = what, text = called.stderr } }
  end
  explain(self, called)
  local listed = cjson.decode(called.stdout)
  if type(listed) ~= "table" or type(listed["rust-suites"]) ~= "table" then
    errors.raise("config", "cargo nextest list printed no JSON: " .. called.stdout:sub(1, 200))
  end
  local tests, groups, suites = {}, read_groups(self), listed["rust-suites"]
  for _, id in ipairs(sorted_keys.sorted(suites)) do add_suite(tests, suites[id], self.options, groups) end
  return tests, {}
end

-- Running them ------------------------------------------------------------------------------------------------------

--- A name in nextest's filter language.
local function quoted(name)
  return (name:gsub("[%z\1-\31 \"#()*,/\\=~|&!?%[%]{}+-]", function(character)
    return ("\\u{%x}"):format(character:byte())
  end))
end

--- `-E` and the tests of one binary, some in each expression.
---@param items runner.Item[]
---@return string[]
function M.expressions(items)
  local argv = {}
  for at = 1, #items, NAMES_AT_ONCE do
    local names = {}
    for i = at, math.min(at + NAMES_AT_ONCE - 1, #items) do
      names[#names + 1] = ("test(=%s)"):format(quoted(items[i].test.name))
    end
    add(argv, "-E", ("binary_id(=%s) & (%s)"):format(quoted(items[1].test.binary), table.concat(names, " | ")))
  end
  return argv
end

local function failed(name, event, said)
  local text = type(event.stdout) == "string" and event.stdout or ""
  local why = words.failure(name, words.section(name, text), text)
  local result = {
    status = "failed", message = why.message, type = why.type, trace = why.trace or text:find("%S") and text or nil,
  }
  local signal = math.tointeger(said:match("\n *%(test aborted with signal (%d+)"))
  if event.reason == "time limit exceeded" or said:find("\n *TIMEOUT %[") or said:find("\n *TRY %d+ TMT %[") then
    result.status, result.message = "timed_out", "stopped by nextest: its slow-timeout has passed"
  elseif signal then
    result.status, result.signal = "crashed", signal
    result.message = exit_text.describe({ signal = signal, message = why.message })
  else
    result.exit_code = math.tointeger(said:match("\n *%(test failed with exit code (%d+)%)"))
    result.message = why.message or exit_text.describe({ code = result.exit_code })
  end
  return result
end

--- An event about a test. Its name is not taken from the JSON: nextest writes it as it is, quotes and all.
local function read_event(line)
  local event, rest = line:match('^{"type":"test","event":"(%a+)","name":"(.*)}$')
  if not event then return nil end
  local name, more = rest:match('^(.-)","exec_time":(.*)$')
  local fields = cjson.decode(more and '{"exec_time":' .. more .. "}" or "{}") or {}
  fields.event, fields.name = event, name or rest:sub(1, -2)
  return fields
end

local function reader_of(items, sink)
  local by_name = {}
  local said, printing = "", false -- since the last event; what follows is the test's
  for _, item in ipairs(items) do by_name[item.test.name] = item end

  local function on_event(event)
    -- "package::binary$test", and from a second try on "…#2"
    local name = event.name:match("%$(.*)$") or ""
    local item = by_name[name]
    local try = not item and name:match("#(%d+)$")
    if try then item = by_name[name:match("^(.*)#")] end
    if not item then return end
    local reruns = try and math.tointeger(try) - 1
    if event.event == "started" then
      sink.started(item)
    elseif event.event == "ok" then
      sink.finished(item, { status = "passed", duration = event.exec_time, reruns = reruns })
    elseif event.event == "failed" then
      local result = failed(item.test.name, event, said)
      result.duration, result.reruns = event.exec_time, reruns
      sink.finished(item, result)
    end
    said, printing = "", false
  end

  local function on_line(line)
    local event = read_event(line)
    if event then return on_event(event) end
    if line:find("^ +%u+ %[") or line:find("^ +TRY %d+ %u+ %[") then
      printing = false
    elseif line:find("^ *%a* *───$") or line:find("^── %a+ ──$") then
      printing = true
    elseif printing then
      line = line:sub(1, #INDENT) == INDENT and line:sub(#INDENT + 1) or line
      sink.output(nil, "stdout", line .. "\n")
    end
    said = (said .. "\n" .. line):sub(-SAID)
  end

  local feed = lines.reader(on_line)
  return { output = function(_, bytes) feed(bytes) end }
end

---@async
function Session:worker(slot, report)
  local problems = self:build()
  if #problems > 0 then errors.raise("provider", problems[1].message) end
  return batch.worker(self.ctx, slot, report, {
    streams = true,
    -- Its messages name the binary but not its kind: those of a library and a program of one name look the same.
    fits = function(items, item) return items[1].test.binary == item.test.binary end,
    command = function(items)
      local argv = reuse(self, "run", "--message-format=libtest-json-plus", "--message-format-version=0.1",
        "--test-threads=1", "--no-fail-fast", "--no-tests=pass", "--show-progress=none", "--status-level=pass",
        "--final-status-level=none", "--success-output=immediate", "--failure-output=immediate")
      local env = { NEXTEST_EXPERIMENTAL_LIBTEST_JSON = "1" }
      for name, value in pairs(self.options.env or {}) do env[name] = value end
      return { argv = add(argv, table.unpack(M.expressions(items))), cwd = self.cwd, env = env, merge = true }
    end,
    reader = reader_of,
  })
end

function Session:close() end

---@param options table of the framework
---@param ctx table
---@return table session
function M.open(options, ctx)
  return setmetatable({
    options = options, ctx = ctx, cwd = command.folder(ctx.sandbox.cwd, options), build = task.once(build),
  }, Session)
end

return M
