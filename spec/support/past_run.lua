--- Records runs into a history without running anything: the events of a run, made up.
---
---     local past_run = require("spec.support.past_run")
---     past_run(path, { ["a.py::x"] = { "passed", 0.5 }, ["a.py::y"] = { { "failed", 1 }, { "passed", 1 } } })

local history = require("runner.history")

local serial = 0

---@class spec.PastRun
---@field run string? id; default: one of its own
---@field time number? unix time; default: a later one each time
---@field group string? of tests whose id does not begin with "GROUP|"; default "unit"
---@field provider string?
---@field host string?
---@field whole boolean? default true
---@field samples integer?
---@field cut boolean? the run is killed before its end
---@field events table[]? more of them, before the end

--- A test's outcome: the last attempt's, "flaky" where it passed after a failure.
local function state_of(attempts)
  local last = attempts[#attempts]
  if not last or last[1] == "lost" or last[1] == "cancelled" then return "not_run" end
  return last[1] == "passed" and #attempts > 1 and "flaky" or last[1]
end

---@param path string absolute
---@param tests table<string, any[]> by id: { status, seconds }, or a list of such attempts
---@param options spec.PastRun?
---@return string[] warnings
return function(path, tests, options)
  options = options or {}
  serial = serial + 1
  local warnings = {}
  local known = history.open(path, { is_shared = true, samples = options.samples })
  local recorder = known:recorder({
    whole = options.whole ~= false, warn = function(message) warnings[#warnings + 1] = message end,
  })
  if not recorder then return { "not recorded" } end
  local now = options.time or 1700000000 + serial * 60
  local function emit(event)
    event.time = event.time or now
    recorder:event(event)
  end
  emit({ event = "run_started", run = options.run or ("run-%d-%s"):format(serial, path) })
  emit({ event = "sandbox_started", sandbox = "s", provider = options.provider or "local" })
  emit({ event = "sandbox_ready", sandbox = "s", host = options.host or "here" })
  emit({ event = "discovered", tests = 1 })
  local ids = {}
  for id in pairs(tests) do ids[#ids + 1] = id end
  table.sort(ids)
  for _, name in ipairs(ids) do
    local group, id = name:match("^(%w+)|(.*)$")
    id = id or name
    group = group or options.group or "unit"
    emit({ event = "test", id = id, group = group, framework = "f", file = id:match("^(.-)::") })
  end
  for _, name in ipairs(ids) do
    local id, attempts = name:match("^%w+|(.*)$") or name, tests[name]
    if type(attempts[1]) ~= "table" then attempts = #attempts > 0 and { attempts } or {} end
    for i, attempt in ipairs(attempts) do
      emit({ event = "attempt_started", id = id, attempt = i, sandbox = "s", slot = 0 })
      emit({
        event = "attempt_finished", id = id, attempt = i, sandbox = "s", slot = 0, status = attempt[1],
        duration = attempt[2],
      })
    end
    emit({ event = "test_finished", id = id, status = state_of(attempts), attempts = #attempts })
  end
  for _, event in ipairs(options.events or {}) do emit(event) end
  if not options.cut then emit({ event = "run_finished", status = "passed" }) end
  recorder:close()
  return warnings
end
