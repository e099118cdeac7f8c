--- Says what the result of a test looks like, and makes a failure of one that looks otherwise. Whoever made it (a
--- reporter in a test's process, a reader of output, a plug-in) may be wrong; nothing behind this has to expect it.

local outcome = require("runner.base.outcome")
local shape = require("runner.worker.shape")

local M = {}

--- A signal's number, or its name where only that is known.
function M.signal(value)
  if type(value) ~= "string" and type(value) ~= "number" then return "a signal was expected" end
end

local leak = shape.fields({ command = "string", pid = "number?", test = "string?" })

--- A result; what else it holds is nobody's business.
M.RESULT = shape.fields({
  status = shape.one_of("passed", "failed", "skipped", "timed_out", "crashed", "lost", "cancelled"),
  duration = "number?", cpu = "number?", memory = "number?", exit_code = "number?", signal = shape.maybe(M.signal),
  reruns = "count?", message = "string?", type = "string?", trace = "string?", reason = "string?", xfail = "boolean?",
  leaks = shape.maybe(shape.list(leak)), phases = shape.maybe(shape.map("number")),
  sections = shape.maybe(shape.list(shape.fields({ "string", "string" }))),
})

--- The result, or a failure that says what is wrong with it. In Lua "false" is as good as nothing.
---@param result any
---@return table
function M.mended(result)
  local wrong = M.RESULT(result)
  if wrong and type(result) == "table" then
    for name, value in pairs(result) do
      if value == false then result[name] = nil end
    end
    wrong = M.RESULT(result)
  end
  if not wrong then return result end
  return { status = "crashed", message = "what was reported of this test makes no sense: " .. wrong }
end

---@param result table
---@return boolean
function M.is_failure(result)
  return outcome.FAILURE[result.status] == true
end

return M
