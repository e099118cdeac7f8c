--- A console that a spec watches: what it writes, and short words for the events that it is told.
---
---     local watched = require("spec.support.watched_console").new()
---     watched.open() watched.begin(2) watched.run("a", "passed") watched.output()

local uv = require("luv")
local console = require("runner.results.console")

local M = {}

function M.new()
  local self = { clock = 1000 }
  local written

  function self.open(options)
    written, self.clock = {}, 1000
    options = options or {}
    local env = { LANG = "C.UTF-8" }
    options.env = options.env or function(name) return env[name] end
    options.stream = options.stream or {
      terminal = false,
      write = function(_, bytes)
        written[#written + 1] = bytes
        return true
      end,
    }
    self.report = console.new(options)
    return self.report
  end

  function self.emit(event)
    event.time = event.time or self.clock
    self.report:event(event)
  end

  local function emit_with(event, fields)
    for key, value in pairs(fields or {}) do event[key] = value end
    self.emit(event)
  end

  function self.begin(count, fields)
    local here = uv.cwd()
    self.emit({ event = "run_started", config = here .. "/ci/my config.lua", dir = here .. "/test-results",
      parallel = 2 })
    emit_with({ event = "discovered", tests = count, groups = { unit = count } }, fields)
  end

  function self.attempt(id, number, status, fields)
    self.emit({ event = "attempt_started", id = id, attempt = number })
    emit_with({ event = "attempt_finished", id = id, attempt = number, status = status, duration = 0.005 }, fields)
  end

  function self.finish(id, status, fields)
    emit_with({ event = "test_finished", id = id, status = status, attempts = 1, duration = 0.005 }, fields)
  end

  --- A test of one attempt.
  function self.run(id, status, fields)
    self.attempt(id, 1, status, fields)
    self.finish(id, status, fields and { reason = fields.reason })
  end

  --- What was written since.
  function self.output()
    local text = table.concat(written)
    written = {}
    return text
  end

  function self.close(fields)
    emit_with({ event = "run_finished", exit_code = 1, duration = 0.021 }, fields)
    self.report:close()
    return self.output()
  end

  return self
end

return M
