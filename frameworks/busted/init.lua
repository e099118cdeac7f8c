--- busted: an output handler of ours tells of each test as it runs, many in one process.
---
--- A test is known as "spec/cart_spec.lua > cart adds an item": its file, and its name as busted joins it. A second one
--- of that name is "…#2".
---
--- isolation:
---   "batch"    a process runs many tests, of one file where that fits
---   "test"     each test runs in a process of its own

local errors = require("runner.base.errors")
local plugin = require("runner.plugin")
local reporting_tool = require("runner.worker.reporting_tool")

local MOST_PATHS = 900 -- busted takes 999

-- $1: the interpreter. busted is a Lua program, whichever one its first line names.
local WITH_LUA = [[runner_busted=$(command -v busted) || { echo "busted: not found" >&2; exit 127; }
runner_lua=$1; shift; exec "$runner_lua" "$runner_busted" --ignore-lua "$@"]]

--- A name as one word of a variable.
local function encode(text)
  return (text:gsub("[%c %%]", function(c) return ("%%%02x"):format(c:byte()) end))
end

--- The files to load. Where busted would not take one for what it is, all of the project's: the handler knows which
--- tests are meant.
local function paths_of(items, options)
  local paths, seen = {}, {}
  for _, item in ipairs(items) do
    local file = item.test.file
    if file:find(",", 1, true) then return options.paths or {} end
    if not seen[file] then
      seen[file] = true
      paths[#paths + 1] = file:find("^/") and file or "./" .. file
    end
  end
  return paths
end

return plugin.framework({
  name = "busted",
  api = 1,
  chooses = { "paths", "args" },
  options = {
    paths = "string[]?", -- files and folders; default: what .busted says, or spec
    lua = "string?", -- the interpreter that runs busted: "lua5.1"; default: as busted and .busted choose
    command = "string|string[]?", -- what runs busted, instead
    args = "string[]?", -- more arguments: { "--tags", "fast" }
    isolation = '"batch"|"test"?',
    working_dir = "string?", -- in the sandbox; default: the sandbox's own
    env = "env?",
  },

  session = function(options, ctx)
    if options.lua and options.command then
      errors.raise("config", "framework busted: set either lua or command, not both")
    end
    return reporting_tool.session(options, ctx, {
      tool = "busted", tests = "tests", helper = "frameworks/busted/handler.lua", variable = "RUNNER_BUSTED",
      settings = "lua or command", shown = options.lua and options.lua .. " busted",
      program = options.lua and { ctx.shell, "-c", WITH_LUA, "sh", options.lua },
      flags = function(path) return { "-o", path, "--repeat=1", "--keep-going" } end,
      missing = { "module 'busted" },
      refusals = { "re-run with --help for usage", "failed loading config file" },
      list_args = { "--no-coverage" },
      fits = function(items) return options.isolation ~= "test" and #items < MOST_PATHS end,
      size = function(item) return #encode(item.test.key) end,
      select = function(items, _, env)
        local ids = {}
        for i, item in ipairs(items) do ids[i] = encode(item.test.key) end
        env.RUNNER_TESTS = table.concat(ids, " ")
        return paths_of(items, options)
      end,
    })
  end,
})
