--- How CTest judges a test by its exit status and its output.

local exit_text = require("runner.io.exit_text")
local exit_result = require("runner.worker.exit_result")

local M = {}

M.MISSING_FILE = "runner: REQUIRED_FILES: not found: " -- the wrapper's words, at the end of all output

local function first_match(list, output)
  for _, one in ipairs(list) do
    if one.matches(output) then return one end
  end
end

local function texts(list)
  local all = {}
  for i, one in ipairs(list) do all[i] = one.text end
  return table.concat(all, ";")
end

--- Does the verdict depend on the output?
---@param entry runner.ctest.Entry
---@return boolean
function M.reads_output(entry)
  return (entry.pass[1] or entry.fail[1] or entry.skip[1] or entry.required_files[1]) ~= nil
end

---@param entry runner.ctest.Entry
---@param exit runner.Exit
---@param output string
---@return table result see the plug-in interface
function M.of(entry, exit, output)
  local result = exit_result.of_exit(exit)
  if not entry.command then
    result.status, result.message = "failed", "not run: CTest has not found the program of this test (is it built?)"
    return result
  elseif exit.timed_out or exit.kind == "lost" or exit.kind == "failed" then
    return result
  end
  local missing = entry.required_files[1] and output:match(M.MISSING_FILE .. "([^\n]*)\n$")
  if missing then
    result.status, result.message = "failed", "not run: a file of REQUIRED_FILES is missing: " .. missing
    return result
  end
  if exit.kind ~= "exited" then return result end
  local skip = first_match(entry.skip, output)
  if skip or entry.skip_code == exit.code then
    result.status, result.message = "skipped", nil
    result.reason = skip and ("SKIP_REGULAR_EXPRESSION matches: %s"):format(skip.text)
      or ("SKIP_RETURN_CODE=%d"):format(exit.code)
    return result
  end
  local failed = first_match(entry.fail, output)
  local why
  if failed then
    why = ("FAIL_REGULAR_EXPRESSION matches: %s"):format(failed.text)
  elseif entry.pass[1] then
    if not first_match(entry.pass, output) then
      why = ("PASS_REGULAR_EXPRESSION does not match: %s"):format(texts(entry.pass))
    end
  elseif exit.code ~= 0 then
    why = exit_text.describe(exit)
  end
  if entry.will_fail then
    result.status, result.message = why and "passed" or "failed", not why and "it was to fail (WILL_FAIL)" or nil
  else
    result.status, result.message = why and "failed" or "passed", why
  end
  return result
end

return M
