--- pytest where no agent can run: one command for each batch, `pytest --junitxml=FILE ID…`, and the report comes back
--- behind the command's output. Tests are isolated as pytest does it, in one process for the batch.
---
--- While the batch runs, its terminal lines say which test does, if the provider passes them on as they come. Results
--- wait for the report, which pytest writes at its end. If it does not get that far, the test that ran is to blame,
--- and the rest runs again; when nobody can say which it was, the rest runs one by one.

local batches = require("frameworks.pytest.batch")
local errors = require("runner.errors")
local launch = require("frameworks.pytest.launch")
local mark = require("runner.mark")
local nodeid = require("runner.junit.nodeid")
local task = require("runner.task")

local TAIL = 64 * 1024
local REPORT_LIMIT = 256 * 1024 * 1024
local IDS_BYTES = 24 * 1024 -- in one command line, which has to fit into one argument

local M = {}

-- $1$2: the mark before and after the report.
local RUN = [[m=$1$2; f=${TMPDIR:-/tmp}/runner-$1.xml; shift 2; %s "$@" --junitxml="$f"; r=$?; ]]
  .. [[printf "\n%%s\n" "$m"; cat "$f" 2>/dev/null; printf "\n%%s\n" "$m"; rm -f "$f"; exit $r]]

local function append(list, more)
  return table.move(more, 1, #more, #list + 1, list)
end

local function pytest(options)
  local command = options.command
  if type(command) == "string" then return command, {} end
  return "", command or { options.python or "python3", "-m", "pytest" }
end

local function selection(options)
  local argv = {}
  if options.markers then append(argv, { "-m", options.markers }) end
  if options.keyword then append(argv, { "-k", options.keyword }) end
  return append(argv, options.extra_args or {})
end

-- Discovery ---------------------------------------------------------------------------------------------------------

local function run_to_end(ctx, spec)
  local out, tail = {}, ""
  return task.await(function(resume)
    spec.on_output = function(_, stream, bytes)
      if stream == "stdout" then out[#out + 1] = bytes end
      tail = (tail .. bytes):sub(-TAIL)
    end
    spec.on_exit = function(_, exit) resume(exit, table.concat(out), tail) end
    local command = ctx.spawn(spec)
    return function() command:kill(0) end
  end)
end

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
  local prefix, argv = pytest(options)
  argv = append({ table.unpack(argv) }, { "--collect-only", "--verbosity=-1", "--color=no" })
  append(append(argv, selection(options)), options.paths or {})
  if prefix ~= "" then argv = append({ "/bin/sh", "-c", prefix .. ' "$@"', "sh" }, argv) end
  local exit, text, tail = run_to_end(ctx, { argv = argv, env = launch.environment(options) })
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if exit.kind == "exited" and (exit.code == 0 or exit.code == 5) then return read_ids(text), {} end
  local problems = collection_problems(text)
  if exit.kind == "exited" and exit.code <= 2 and #problems > 0 then return read_ids(text), problems end
  local kind, message = launch.diagnose(options, exit, tail)
  if kind == "config" then errors.raise("config", message) end
  return {}, { { kind = "collection", message = message, text = tail } }
end

-- A worker ----------------------------------------------------------------------------------------------------------

local Worker = {}
Worker.__index = Worker

--- Everything up to the mark is pytest's, what follows the report's.
local function splitter(border, on_terminal)
  local held, xml, size = "", nil, 0
  local function feed(bytes)
    if xml then
      size = size + #bytes
      if size <= REPORT_LIMIT then xml[#xml + 1] = bytes end
      return
    end
    local text = held .. bytes
    local at, after = text:find(border, 1, true)
    if at then
      on_terminal(text:sub(1, at - 1))
      xml = {}
      return feed(text:sub(after + 1))
    end
    at = mark.possible(text, border)
    on_terminal(text:sub(1, at - 1))
    held = text:sub(at)
  end
  return feed, function()
    local report = xml and table.concat(xml) or ""
    return report:match("^(.*)" .. border) or ""
  end
end

local function begin(self, item)
  if self.begun[item] then return end
  self.begun[item] = true
  self.report.started(item)
end

local function finish(self, item, result)
  begin(self, item)
  for _, stream in ipairs({ "stdout", "stderr" }) do
    if result[stream] then self.report.output(item, stream, result[stream]) end
    result[stream] = nil
  end
  self.begun[item] = nil
  self.report.finished(item, result)
end

--- As many of the queue as one command line takes.
local function next_batch(self)
  local batch, bytes = {}, 0
  while self.queue[1] do
    local item = self.queue[1]
    bytes = bytes + #item.test.nodeid + 12
    if #batch > 0 and (bytes > IDS_BYTES or self.alone[item] or self.alone[batch[1]]) then break end
    batch[#batch + 1] = table.remove(self.queue, 1)
  end
  return batch
end

local function describe(exit, tail)
  local message = ("pytest %s"):format(launch.describe_exit(exit))
  return message, tail ~= "" and tail or nil
end

--- What is to be said of the only test that can be to blame.
local function verdict(self, exit, tail)
  local message, trace = describe(exit, tail)
  if exit.timed_out then return { status = "timed_out", message = "the provider's limit of time has passed" } end
  local crashed = exit.kind == "signaled"
  if not crashed and exit.kind == "exited" and exit.code ~= 0 then
    local kind, why = launch.diagnose(self.session.options, exit, tail)
    if kind == "config" then message, trace = why, nil end
  elseif not crashed then
    message = "pytest ended without a result for it"
  end
  return {
    status = crashed and "crashed" or "failed", message = message, trace = trace,
    exit_code = exit.code, signal = exit.signal,
  }
end

local run_next

--- Takes what the report tells; returns the tests of which it tells nothing.
local function take_results(self, batch, xml)
  local results = xml ~= "" and batches.read(xml) or {}
  local left = {}
  for _, item in ipairs(batch) do
    local list = results[nodeid.key(item.test.nodeid)]
    local result = list and table.remove(list, 1)
    if result then finish(self, item, result) else left[#left + 1] = item end
  end
  return left
end

--- Tests without a result: those that ended before the process did, the one that ran, and the rest.
local function settle(self, batch, left, exit, tracker, tail)
  local rest, stopped = {}, self.stopped
  self.stopped = nil
  for _, item in ipairs(left) do
    local id = item.test.nodeid
    local word_result = id ~= tracker.current and batches.result_of_word(tracker.words[id])
    if item == stopped then
      finish(self, item, { status = "failed" }) -- the core knows why it was stopped
    elseif word_result then
      finish(self, item, word_result)
    elseif exit.kind ~= "lost" and (#batch == 1 or id == tracker.current and exit.kind == "signaled") then
      finish(self, item, verdict(self, exit, tail))
    else
      rest[#rest + 1] = item
    end
  end
  if exit.kind == "lost" then return self.report.exited(exit) end
  if self.returning then
    local unbegun = {}
    for _, item in ipairs(rest) do
      if self.begun[item] then finish(self, item, { status = "cancelled" }) else unbegun[#unbegun + 1] = item end
    end
    return self.report.returned(unbegun)
  end
  if #rest == #batch then
    for _, item in ipairs(rest) do self.alone[item] = true end
  end
  self.queue = append(rest, self.queue)
end

local function on_exit(self, batch, exit, tracker, report, tail)
  self.command = nil
  local left = take_results(self, batch, report())
  if #left > 0 then settle(self, batch, left, exit, tracker, tail) end
  if exit.kind == "lost" then return end
  local asked = self.asked
  self.asked, self.busy = nil, false
  if asked then self:take(asked) end
  run_next(self)
end

function run_next(self)
  if self.busy then return end
  local batch = next_batch(self)
  if #batch == 0 then
    if self.on_end then self.on_end() end
    return
  end
  local options, first, second = self.session.options, mark.half(), mark.half()
  local prefix, argv = pytest(options)
  argv = append({ "/bin/sh", "-c", RUN:format(prefix), "sh", first, second }, argv)
  append(argv, selection(options))
  append(argv, { "--verbosity=1", "--color=no", "-o", "junit_logging=all", "--junit-prefix=" })
  local ids = {}
  for _, item in ipairs(batch) do
    argv[#argv + 1] = item.test.nodeid
    ids[item.test.nodeid] = item
  end
  local tail = ""
  local tracker = batches.tracker(ids, function(id) begin(self, ids[id]) end)
  local feed, report = splitter(("\n%s%s\n"):format(first, second), function(bytes)
    tail = (tail .. bytes):sub(-TAIL)
    tracker:feed(bytes)
  end)
  self.busy = true -- until all of its tests are settled: whoever hears of one may ask for others
  begin(self, batch[1]) -- a clock must run, even where no line comes before the end
  self.command = self.session.ctx.spawn({
    argv = argv,
    env = launch.environment(options, self.slot_info),
    on_output = function(_, stream, bytes)
      if stream == "stdout" then return feed(bytes) end
      tail = (tail .. bytes):sub(-TAIL)
    end,
    on_exit = function(_, exit) on_exit(self, batch, exit, tracker, report, tail) end,
  })
end

function Worker:push(items)
  append(self.queue, items)
  run_next(self)
end

function Worker:take(n)
  local returned = {}
  while #returned < n and #self.queue > 0 and not self.begun[self.queue[#self.queue]] do
    table.insert(returned, 1, table.remove(self.queue))
  end
  -- What the running command has cannot be taken back before its end; to say "nothing" would be asked again at once.
  if #returned == 0 and self.busy then
    self.asked = n
  else
    self.report.returned(returned)
  end
end

function Worker:stop(item, why)
  self.stopped = item
  self.returning = why == "cancelled"
  if self.command then self.command:kill(self.session.ctx.settings.grace) end
end

---@async
function Worker:close()
  if not self.busy then return end
  task.await(function(resume)
    self.on_end = resume
    return function() self.on_end = nil end
  end)
end

function Worker:kill()
  if self.command then self.command:kill(0) end
end

---@param options table of the framework
---@param ctx table
---@return table session
function M.open(options, ctx)
  local session = { options = options, ctx = ctx }
  function session.discover() return discover(options, ctx) end
  function session.close() end
  function session.worker(_, slot, report)
    return setmetatable({
      session = session, report = report, queue = {}, begun = {}, alone = {},
      slot_info = { index = slot.index, count = ctx.settings.max_parallel, run = ctx.run_id },
    }, Worker)
  end
  return session
end

return M
