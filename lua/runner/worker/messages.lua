--- Says what our reporters may tell, message by message: the process of a resident worker, and the helper that a test
--- tool has loaded. A test runs in the same process and can write whatever it likes in its name, so nothing is
--- believed: a message that does not fit costs the process that sent it, and the test that ran then is to blame.

local result_shape = require("runner.worker.result_shape")
local shape = require("runner.worker.shape")

local fields, list, maybe, any = shape.fields, shape.list, shape.maybe, shape.any

local M = {}

local RESULT = result_shape.RESULT

local function key(value)
  if type(value) ~= "string" and type(value) ~= "number" then return "a key was expected" end
end

local error_shape = fields({ message = "string?", trace = "string?", type = "string?" })
local death = fields({ message = "string?", trace = "string?", code = "count?", signal = maybe(result_shape.signal) })
local titles = maybe(list(list("string")))

--- Of the process of a resident worker; see runner.worker.resident.
M.RESIDENT = {
  ready = fields({ ready = fields({}) }),
  loading = fields({ loading = "string" }), -- what is being listed; a run has no use for it
  fatal = fields({ fatal = fields({ message = "string", text = "string?" }) }),
  start = fields({ start = "count" }),
  over = fields({ over = "count" }),
  done = fields({ done = "count", result = RESULT }),
  output = fields({ output = fields({ "string", "count", "string", "count?" }) }),
  ran = fields({
    ran = "count", error = maybe(error_shape), errors = maybe(list(error_shape)), died = maybe(death),
    unlisted = titles,
    gone = maybe(list("count")), recycle = "boolean?",
  }),
  problem = fields({ problem = fields({ message = "string", text = "string?" }) }),
  bye = fields({ bye = fields({ error = maybe(error_shape) }) }),
}

--- Of the helper in a test tool; see runner.worker.reporting_tool.
M.TOOL = {
  test = fields({ test = key, name = "string", file = "string", line = "number?", tags = maybe(list("string")) }),
  start = fields({ start = key }),
  ["end"] = fields({ ["end"] = key, result = RESULT }),
  outside = fields({
    outside = "string", message = "string?", type = "string?", trace = "string?", file = "string?", below = "string?",
    teardown = "boolean?",
  }),
  hello = any, bye = any,
}

--- Which message it is, and what is wrong with it.
---@param shapes table<string, runner.Check>
---@param message any
---@return string? kind
---@return string? wrong
function M.check(shapes, message)
  if type(message) ~= "table" then return nil, "it is no message" end
  local kind
  for name in pairs(message) do
    if shapes[name] then
      if kind then return nil, ("it is two messages, %s and %s"):format(kind < name and kind or name,
        kind < name and name or kind) end
      kind = name
    end
  end
  if not kind then return nil, "nobody knows such a message" end
  local wrong = shapes[kind](message)
  return kind, wrong and ("%s: %s"):format(kind, wrong)
end

return M
