--- mocha (10 or newer): the project's own, found from the working folder as its code would find it. Each slot has a
--- resident process, in which file after file runs in a mocha of its own, as in a worker of `mocha --parallel`; what
--- .mocharc requires is loaded once in each, what it names as `file` before each. Ids are "file > describe > test".
---
--- Reporters, watching, parallel and bail of the configuration do not apply.

local plugin = require("runner.plugin")

return plugin.framework({
  name = "mocha",
  api = 1,
  chooses = { "paths" },
  options = {
    working_dir = "string?", -- of the package, in the sandbox; default: the sandbox's own
    config = "string?", -- as for mocha --config
    paths = "string[]?", -- files, folders and patterns, instead of the configuration's `spec`
    args = "string[]?", -- further arguments of `mocha`
    node = "string|string[]?", -- what runs Node.js: "node" (default), { "yarn", "node" } …
    list_timeout = "duration?", -- for listing the tests; default: 30 minutes
    load_timeout = "duration?", -- for what files do outside of tests; default: a test's, at least one minute
    env = "env?",
  },
  session = function(options, ctx) return require("frameworks.javascript.session").open("mocha", options, ctx) end,
})
