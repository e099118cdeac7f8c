--- Says what our pytest processes may say over their control channel, message by message (worker/__init__.py describes
--- it). A test can reach that channel, its descriptor and its Python objects, so nothing is believed: a message that
--- does not fit costs the process that sent it.

local shape = require("runner.worker.shape")

local list, map, maybe, one_of, record = shape.list, shape.map, shape.maybe, shape.one_of, shape.record

local M = {}

local log = record({ log = record({ one_of("debug", "info", "warning"), "string" }) })

local function problem(...)
  return record({
    problem = record({ kind = one_of(...), id = "string?", message = "string", text = "string?" }),
  })
end

--- Of the process that collects.
M.ZYGOTE = {
  tests = record({ tests = list(record({ "string", "string", "string", "count", list("string") })) }),
  problem = problem("collection", "teardown", "infrastructure"),
  log = log,
  ready = record({
    ready = record({ python = "string", pytest = "string", rootdir = "string", deselected = "count" }),
  }),
  workerinput = record({ workerinput = map(shape.any), basetemp = "string?", refused = "string?" }),
  coverage = record({ coverage = "string", short = "boolean" }),
  bye = record({ bye = record({ threads = list("string") }) }),
}

local leak = record({ pid = "count", command = "string" })

--- Of a process that runs tests.
M.WORKER = {
  hello = record({ hello = record({ pid = "count", dump_signal = "count" }) }),
  done = record({
    done = "count", status = one_of("passed", "failed", "skipped", "crashed"),
    duration = "number?", cpu = "number?", memory = "count?", phases = maybe(map("number")),
    message = "string?", type = "string?", trace = "string?", reason = "string?", xfail = "boolean?",
    exit_code = "count?", signal = "count?", leaks = maybe(list(leak)), reruns = "count?",
    sections = maybe(list(record({ "string", "string" }))),
  }),
  unmarked = record({ unmarked = "count" }),
  returned = record({ returned = list("count") }),
  settling = record({ settling = "string" }),
  settled = record({ settled = "boolean" }),
  problem = problem("teardown", "infrastructure"),
  log = log,
  bye = record({ bye = record({ threads = list("string") }) }),
}

--- Which message it is, and what is wrong with it.
---@param shapes table<string, runner.Check>
---@param message any
---@return string? kind
---@return string? wrong
function M.check(shapes, message)
  if type(message) ~= "table" then return nil, "no message of ours" end
  local kind = message.done ~= nil and shapes.done and "done" or nil
  if not kind then
    for key in pairs(message) do
      if shapes[key] then kind = key end
    end
  end
  if not kind then return nil, "no message of ours" end
  local wrong = shapes[kind](message)
  return kind, wrong
end

return M
