--- jest (29 or newer): the project's own, found from the working folder as its code would find it. Each slot has a
--- resident process with jest's configuration and file map, in which file after file runs in a context and with modules
--- of its own, as in a worker of jest's. Ids are "file > describe > test".
---
--- Coverage, watching and reporters of the configuration do not apply. jest.retryTimes does: what passed that way has
--- passed, and says so.

local plugin = require("runner.plugin")

return plugin.framework({
  name = "jest",
  api = 1,
  chooses = { "paths", "projects" },
  options = {
    working_dir = "string?", -- of the package, in the sandbox; default: the sandbox's own
    config = "string?", -- as for jest --config
    projects = "string[]?", -- as for jest --selectProjects
    paths = "string[]?", -- only files whose path matches one of these patterns
    args = "string[]?", -- further arguments of `jest`
    node = "string|string[]?", -- what runs Node.js: "node" (default), { "yarn", "node" } …
    list_timeout = "duration?", -- for listing the tests; default: 30 minutes
    load_timeout = "duration?", -- for what files do outside of tests; default: a test's, at least one minute
    env = "env?", -- NODE_OPTIONS = "--experimental-vm-modules" for ES modules
  },
  session = function(options, ctx) return require("frameworks.javascript.session").open("jest", options, ctx) end,
})
