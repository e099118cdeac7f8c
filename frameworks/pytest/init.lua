--- pytest: collected once in each sandbox, then run by workers that are forks of the process that collected.
---
--- isolation:
---   "worker"   a worker runs many tests, with session and module fixtures set up once in it, as under pytest-xdist
---   "test"     each test runs in a fork of its own, made from the collected process
---   "process"  each test runs in a new pytest process
---
--- Where forking is not safe (threads run after collection, or a module asks for the worker's name when it is
--- imported), workers collect for themselves.

local shell_session = require("frameworks.pytest.shell_session")
local plugin = require("runner.plugin")
local worker = require("frameworks.pytest.worker")
local zygote = require("frameworks.pytest.session")

return plugin.framework({
  name = "pytest",
  api = 1,
  chooses = { "paths", "markers", "keyword" },
  options = {
    paths = "string[]?", -- files, folders or ids; default: what pytest's own configuration says
    markers = "string?", -- as for pytest -m
    keyword = "string?", -- as for pytest -k
    python = "string?", -- default "python3"
    command = "string|string[]?", -- what runs pytest: { "uv", "run", "pytest" }
    extra_args = "string[]?",
    isolation = '"worker"|"test"|"process"?', -- default "worker"
    env = "env?",
  },

  session = function(options, ctx)
    if ctx.agent.plain then return shell_session.open(options, ctx) end
    local session = zygote.open(options, ctx)
    function session:worker(slot, report)
      local kind = options.isolation == "process" and worker.single or worker.resident
      return kind(self, slot, report)
    end
    return session
  end,
})
