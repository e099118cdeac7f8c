--- Drives the pytest framework as the core does, over a real agent: a project, its session, workers, what they report.
---
---     it("…", session.with({ ["test_a.py"] = "…" }, { isolation = "test" }, function(bench) … end))

local agents = require("spec.support.agent_process")
local process = require("runner.io.process")
local project = require("spec.support.project")
local pytest = require("frameworks.pytest")
local task = require("runner.base.task")

local M = {}

M.python = require("spec.support.pytest.project").python

--- The text of a sample project's file.
function M.sample(name)
  return assert(agents.read("spec/support/pytest/" .. name))
end

function M.contains(text, part)
  assert(text:find(part, 1, true), ("expected %q in %q"):format(part, text))
end

--- Can this Python module be imported?
---@async
function M.has(module)
  return process.run({ "/usr/bin/env", M.python, "-c", "import " .. module }).code == 0
end

-- `stdout` and `stderr` are put together when asked for.
local Record = {}
function Record.__index(record, key)
  local parts = rawget(record, "parts")[key]
  return parts and table.concat(parts)
end

local Bench = {}
Bench.__index = Bench

local function context(bench, agent, settings)
  local ctx = {
    run_id = "RUN", dir = bench.dir, group = "unit", agent = agent,
    settings = { grace = 0.3, test_timeout = 30, max_parallel = 2 },
    sandbox = { id = "local-1", cwd = bench.dir, env = {} },
  }
  for key, value in pairs(settings or {}) do ctx.settings[key] = value end
  function ctx.log(level, format, ...)
    table.insert(bench.log, { level = level, text = format:format(...) })
  end
  function ctx.spawn(spec)
    spec.cwd = bench.dir
    spec.env = spec.env or {}
    spec.env.PYTHONDONTWRITEBYTECODE = "1"
    return agent:spawn(spec)
  end
  function ctx.put(path, bytes)
    local err = task.await(function(resume) agent:put(path, bytes, 420, resume) end)
    assert(not err, err)
  end
  function ctx.tmpdir()
    bench.folder = bench.folder or task.await(function(resume) agent:mkdtemp("spec-", resume) end)
    return bench.folder
  end
  return ctx
end

--- Starts a worker that records. `tests[name]` holds what came of a test: starts, stdout, stderr, result.
---@param index integer?
function Bench:worker(index)
  local w = { tests = {}, order = {}, problems = {}, between = "", returned = nil, pending = 0 }
  local waiting
  local function changed()
    if waiting then waiting:set() end
  end
  local report = {}
  function report.started(item)
    assert(w.running == nil, "a test started while another ran")
    assert(item.record.result == nil, "a finished test started")
    w.running = item
    item.record.starts = item.record.starts + 1
    table.insert(w.order, item.name)
    changed()
  end
  function report.output(item, stream, bytes)
    if item then
      table.insert(item.record.parts[stream], bytes)
    else
      w.between = w.between .. bytes
    end
    changed()
  end
  function report.finished(item, result)
    assert(w.running == item, "a test finished that did not run")
    w.running = nil
    item.record.result = result
    item.record.results = item.record.results + 1
    w.pending = w.pending - 1
    changed()
  end
  function report.returned(items)
    w.returned = items
    w.pending = w.pending - #items
    changed()
  end
  function report.problem(problem)
    table.insert(w.problems, problem)
    changed()
  end
  function report.exited(exit)
    w.exit = exit
    changed()
  end

  --- Waits for a condition that what is reported makes true.
  function w.wait(condition)
    local ok = task.deadline(20, function()
      while not condition() do
        waiting = task.event()
        waiting:wait()
      end
    end)
    assert(ok, "it did not come true in time")
  end

  --- Queues tests by name.
  function w.push(...)
    local items = {}
    for i, name in ipairs({ ... }) do
      local test = assert(self.by_name[name], name)
      local record = { starts = 0, results = 0, parts = { stdout = {}, stderr = {} } }
      w.tests[name] = setmetatable(record, Record)
      items[i] = { id = test.id, name = name, test = test, attempt = 1, record = record }
    end
    w.pending = w.pending + #items
    w.worker:push(items)
    return items
  end

  --- Queues tests and waits until they have ended, or the worker has. Returns the last one's record.
  function w.run(...)
    local names = { ... }
    w.push(...)
    w.wait(function() return w.pending == 0 or w.exit ~= nil end)
    return w.tests[names[#names]]
  end

  function w.close()
    assert(task.deadline(20, function() w.worker:close() end), "the worker did not end")
    self.open[w] = nil
  end

  self.open[w] = true
  w.worker = self.session:worker({ index = index or 0 }, report)
  return w
end

--- What was logged, as one text.
function Bench:logged()
  local texts = {}
  for i, entry in ipairs(self.log) do texts[i] = entry.text end
  return table.concat(texts, "\n")
end

--- A test with a project of its own and an open session.
---@param files table<string, string>
---@param options table? of the framework; `settings` are the core's
---@param fn async fun(bench: table)
function M.with(files, options, fn)
  return agents.with(function(agent)
    options = options or {}
    local bound = {}
    for key, value in pairs(options) do
      if key ~= "settings" then bound[key] = value end
    end
    if not bound.command then bound.python = bound.python or M.python end
    local bench = { dir = project.new(files), log = {}, open = {}, agent = agent }
    setmetatable(bench, Bench)
    bench.session = pytest.session(bound, context(bench, agent, options.settings))
    local ok, err = pcall(fn, bench)
    for w in pairs(bench.open) do w.worker:kill() end
    bench.session.zygote:kill(0)
    project.remove_all()
    if not ok then error(err, 0) end
  end)
end

--- Collects; keeps the tests by name.
---@async
function Bench:discover()
  self.tests, self.problems = self.session:discover()
  self.by_name = {}
  for _, test in ipairs(self.tests) do self.by_name[test.name] = test end
  return self.tests, self.problems
end

--- `with`, after a collection that must succeed.
function M.collected(files, options, fn)
  return M.with(files, options, function(bench)
    bench:discover()
    assert(#bench.tests > 0, "no tests: " .. bench.session.tail)
    fn(bench)
  end)
end

return M
