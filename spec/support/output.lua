-- The busted output handler of `./dev test`: one line a file, failures in full, and the totals in a
-- form that a shell can add up: "passed failed skipped" appended to the file that
-- RUNNER_SPEC_TOTALS names. With RUNNER_SPEC_VERBOSE every test is printed as it ends.
local pretty = require "pl.pretty"

local function text_of(message)
  if type(message) == "string" then return message end
  if message == nil then return "no message" end
  local meta = getmetatable(message)
  if meta and meta.__tostring then return tostring(message) end
  return pretty.write(message)
end

local function place_of(entry)
  local trace = entry.element and entry.element.trace or entry.trace
  if not trace or not trace.short_src then return "?" end
  return ("%s:%d"):format(trace.short_src, trace.currentline)
end

local function indent(text)
  return (text:gsub("[^\n]+", "    %0"))
end

local function print_failure(kind, entry)
  print(("  %s  %s"):format(kind, entry.name))
  print("    " .. place_of(entry))
  print(indent(text_of(entry.message)))
  local traceback = entry.trace and entry.trace.traceback
  if traceback and traceback ~= "" then print(indent(traceback)) end
end

local function append_totals(passed, failed, skipped)
  local path = os.getenv("RUNNER_SPEC_TOTALS")
  if not path then return end
  local file = assert(io.open(path, "a"))
  file:write(("%d %d %d\n"):format(passed, failed, skipped))
  assert(file:close())
end

return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local verbose = os.getenv("RUNNER_SPEC_VERBOSE")
  local file_name = "spec"

  local function on_file(element)
    file_name = element.name or file_name
    return nil, true
  end

  local function on_test_end(element, _, status)
    if verbose then
      print(("  %-8s %s"):format(status, handler.getFullName(element)))
      io.flush()
    end
    return nil, true
  end

  local function on_suite_end()
    local failed = handler.failuresCount + handler.errorsCount
    print(("%-4s  %-44s %3d passed%s%s  %6.2f s"):format(
      failed > 0 and "FAIL" or "ok",
      file_name,
      handler.successesCount,
      failed > 0 and (", %d failed"):format(failed) or "",
      handler.pendingsCount > 0 and (", %d skipped"):format(handler.pendingsCount) or "",
      handler.getDuration()
    ))
    for _, entry in ipairs(handler.pendings) do
      local reason = entry.message and (": " .. text_of(entry.message)) or ""
      print(("  skipped  %s%s (%s)"):format(entry.name, reason, place_of(entry)))
    end
    for _, entry in ipairs(handler.failures) do print_failure("failed", entry) end
    for _, entry in ipairs(handler.errors) do print_failure("error", entry) end
    io.flush()
    append_totals(handler.successesCount, failed, handler.pendingsCount)
    return nil, true
  end

  busted.subscribe({ "file", "start" }, on_file)
  busted.subscribe({ "test", "end" }, on_test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "suite", "end" }, on_suite_end)
  return handler
end
