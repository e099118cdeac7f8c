--- busted: an output handler of ours tells of each test as it runs, many in one process.
---
--- A test is known as "spec/cart_spec.lua > cart adds an item": its file, and its name as busted joins it. A second one
--- of that name is "…#2".
---
--- isolation:
---   "batch"    a process runs many tests, of one file where that fits
---   "test"     each test runs in a process of its own

local batch = require("runner.framework.batch")
local call = require("runner.framework.call")
local errors = require("runner.errors")
local helper = require("runner.framework.helper")
local outcome = require("runner.framework.outcome")
local plugin = require("runner.plugin")
local told = require("runner.framework.told")

local MOST_PATHS = 900 -- busted takes 999

-- $1: the interpreter. busted is a Lua program, whichever one its first line names.
local WITH_LUA = [[runner_busted=$(command -v busted) || { echo "busted: not found" >&2; exit 127; }
runner_lua=$1; shift; exec "$runner_lua" "$runner_busted" --ignore-lua "$@"]]

local function append(list, ...)
  for _, more in ipairs({ ... }) do table.move(more, 1, #more, #list + 1, list) end
  return list
end

local function shown(options)
  if options.lua then return options.lua .. " busted" end
  return type(options.command) == "table" and table.concat(options.command, " ") or options.command or "busted"
end

local function argv_of(session, ...)
  local options, more = session.options, { ... }
  return session.helper.argv(function(path)
    local argv = { "busted" }
    if options.lua then
      argv = { session.ctx.shell, "-c", WITH_LUA, "sh", options.lua }
    elseif type(options.command) == "table" then
      argv = append({}, options.command)
    elseif options.command then
      argv = { session.ctx.shell, "-c", options.command .. ' "$@"', "sh" }
    end
    return append(argv, { "-o", path, "--repeat=1", "--keep-going" }, options.args or {}, table.unpack(more))
  end)
end

local function environment(session, mode, variable)
  local env = { RUNNER_BUSTED = mode, RUNNER_MARK = variable }
  for name, value in pairs(session.options.env or {}) do env[name] = value end
  return env
end

-- Discovery ---------------------------------------------------------------------------------------------------------

--- Why busted told nothing: a mistake in how it is called or configured, or in what it loads before the tests.
local function diagnose(session, exit, text)
  local said = text:find("%S") and "\n" .. text:gsub("%s+$", "") or ""
  if exit.kind == "failed" or exit.code == 127 or exit.code == 126 or text:find("module 'busted", 1, true) then
    errors.raise("config", ("cannot run %s (%s): install it, or set lua or command of the busted framework to what "
      .. "runs it in this project%s"):format(shown(session.options), outcome.describe(exit), said))
  elseif text:find("re-run with --help for usage", 1, true) or text:find("failed loading config file", 1, true) then
    errors.raise("config", ("%s does not accept how it is called or configured%s"):format(shown(session.options), said))
  end
  return { kind = "collection", text = text,
    message = ("%s ended (%s) while it collected the tests"):format(shown(session.options), outcome.describe(exit)) }
end

local function discover(session)
  local border, variable = told.mark()
  local called = call.run(session.ctx, {
    argv = argv_of(session, { "--no-coverage" }, session.options.paths or {}),
    env = environment(session, "list", variable), cwd = session.options.working_dir,
  })
  if called.exit.kind == "lost" or called.too_much or called.exit.timed_out then
    call.check(called, shown(session.options))
  end
  local list = told.list(border, called.stdout)
  if not list.ended or not list.whole and #list.problems == 0 then
    list.problems[#list.problems + 1] = diagnose(session, called.exit, list.rest .. called.stderr)
  end
  return list.tests, list.problems
end

-- Running -----------------------------------------------------------------------------------------------------------

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

local function worker(session, slot, report)
  local options, ctx = session.options, session.ctx
  local border, variable
  return batch.worker(ctx, slot, report, {
    streams = true,
    fits = function(items) return options.isolation ~= "test" and #items < MOST_PATHS end,
    size = function(item) return #encode(item.test.key) end,
    command = function(items)
      border, variable = told.mark()
      local env, ids = environment(session, "run", variable), {}
      for i, item in ipairs(items) do ids[i] = encode(item.test.key) end
      env.RUNNER_TESTS = table.concat(ids, " ")
      return { argv = argv_of(session, paths_of(items, options)), env = env, cwd = options.working_dir, merge = true }
    end,
    reader = function(items, sink)
      return told.reader(border, items, sink, { tool = "busted", told = session.told })
    end,
  })
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
    local session = { options = options, ctx = ctx, told = {} }
    session.helper = helper.place(ctx, "frameworks/busted/handler.lua")
    function session.discover() return discover(session) end
    function session.worker(_, slot, report) return worker(session, slot, report) end
    function session.close() end
    return session
  end,
})
