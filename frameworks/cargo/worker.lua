--- One process for one test: what is run, and what its end and its words say.

local per_test = require("runner.worker.per_test")
local exit_result = require("runner.worker.exit_result")
local words = require("frameworks.cargo.result")

local M = {}

local TAIL = 32 * 1024 -- bytes of stderr in which the reason of a failure is looked for

--- The arguments that run one test alone: of libtest, or those that any harness understands that can list.
---@param harness "libtest"|"own"|"none"
---@param name string
---@param ignored boolean it is marked as ignored, and shall run nevertheless
---@return string[]
function M.arguments(harness, name, ignored)
  if harness == "none" then return {} end
  local argv = { "--exact", "--nocapture" }
  if harness == "libtest" then argv[#argv + 1] = "--test-threads=1" end
  if ignored then argv[#argv + 1] = "--ignored" end
  if name:sub(1, 1) == "-" then argv[#argv + 1] = "--" end
  argv[#argv + 1] = name
  return argv
end

--- libtest has to have run exactly the test that was asked for.
local function check_count(result, tail)
  local summary = words.summary(tail)
  if summary and summary.ignored > 0 and summary.passed + summary.failed == 0 then
    result.status, result.reason, result.message = "skipped", summary.reason or "#[ignore]", nil
  elseif summary and summary.passed + summary.failed ~= 1 then
    result.status = "failed"
    result.message = ("the binary ran %d tests of this name, not 1"):format(summary.passed + summary.failed)
  elseif not summary and result.status == "passed" then
    result.status = "failed"
    result.message = "the process exited with status 0 before the test had ended"
  end
end

--- The result of one test.
---@param harness "libtest"|"own"|"none"
---@param name string
---@param exit runner.Exit
---@param stdout string its end
---@param stderr string its end
---@return table result
function M.result(harness, name, exit, stdout, stderr)
  local result = exit_result.of_exit(exit)
  if harness == "libtest" and exit.kind == "exited" then check_count(result, stdout) end
  if result.status ~= "failed" and result.status ~= "crashed" then return result end
  local why = words.failure(name, words.section(name, stdout), stderr)
  if result.status == "crashed" then
    if why.message then result.message = ("%s: %s"):format(result.message, why.message) end
  elseif exit.code ~= 0 then
    result.message, result.type = why.message or result.message, why.type
  end
  result.trace = why.trace
  return result
end

--- A worker for a slot.
---@param session cargo.Session
---@param slot runner.Slot
---@param report table
---@return table worker
function M.worker(session, slot, report)
  local errors_of = {} -- by item: the end of its stderr
  return per_test.worker(session.ctx, slot, report, {
    command = function(item)
      local target = session:target(item.test)
      local argv = M.arguments(target.harness, item.test.name, target.ignored)
      return { argv = { target.binary.program, table.unpack(argv) }, cwd = target.binary.cwd, env = target.binary.env }
    end,
    show = function(item, stream, bytes)
      if stream == "stderr" then errors_of[item] = ((errors_of[item] or "") .. bytes):sub(-TAIL) end
      return bytes
    end,
    result = function(item, exit, stdout)
      local stderr = errors_of[item] or ""
      errors_of[item] = nil
      return M.result(session:target(item.test).harness, item.test.name, exit, stdout, stderr)
    end,
  })
end

return M
