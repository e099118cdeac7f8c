--- vitest (3 or newer): the project's own, found from the working folder as its code would find it. Tests are listed
--- and run by vitest itself, through its API, in a resident process a slot; each file runs with the pool and isolation
--- that the project's configuration says. Ids are "file > describe > test".
---
--- Coverage, watching and reporters of the configuration do not apply. `retry` of vitest's own does: what passed that
--- way has passed, and says so. A configuration with fileParallelism = false has its files run one at a time.

local plugin = require("runner.plugin")

return plugin.framework({
  name = "vitest",
  api = 1,
  chooses = { "paths", "projects" },
  options = {
    working_dir = "string?", -- of the package, in the sandbox; default: the sandbox's own
    config = "string?", -- as for vitest --config
    projects = "string[]?", -- as for vitest --project
    paths = "string[]?", -- only files whose path contains one of these
    args = "string[]?", -- further arguments of `vitest run`
    node = "string|string[]?", -- what runs Node.js: "node" (default), { "yarn", "node" } …
    list_timeout = "duration?", -- for listing the tests; default: 30 minutes
    load_timeout = "duration?", -- for what files do outside of tests; default: a test's, at least one minute
    env = "env?",
  },
  session = function(options, ctx) return require("frameworks.javascript.session").open("vitest", options, ctx) end,
})
