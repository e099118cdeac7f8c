--- The configuration: a Lua file that returns a table. `load` runs it in an environment of its own, checks
--- every key, reports all that is wrong at once, and returns settings in normal form (times in seconds, paths
--- absolute, plug-ins bound).

local uv = require("luv")
local checkers = require("runner.config.checker")
local errors = require("runner.base.errors")
local format = require("runner.history.format")
local groups = require("runner.config.groups")
local missing = require("runner.plugin.missing_module")
local loader = require("runner.plugin.loader")
local overrides = require("runner.config.overrides")
local path = require("runner.base.path")
local plugin = require("runner.plugin")
local folder = require("runner.results.folder")
local schema = require("runner.config.schema")
local task = require("runner.base.task")
local suggest = require("runner.base.suggest")
local types = require("runner.plugin.types")

local M = {}

--- The file that is read when none is named.
M.DEFAULT = "runner.lua"

---@class runner.Config
---@field path string absolute
---@field dir string absolute folder of the file
---@field max_parallel integer slots at once, at least 1
---@field max_parallel_given boolean somebody chose that number
---@field test_timeout number? seconds; nil: no limit
---@field slow_timeout number? seconds; nil: never reported as slow
---@field global_timeout number? seconds; nil: no limit
---@field grace number seconds
---@field ping number? seconds between two signs of life of a sandbox; nil: none are asked for
---@field retries integer
---@field fail_fast boolean
---@field max_fail integer?
---@field retry_budget integer?
---@field seed integer?
---@field no_tests "pass"|"warn"|"fail"
---@field working_dir string absolute, exists
---@field env table<string, string|false> false: unset
---@field copy_dirs { from: string, to: string }[] from: absolute, exists
---@field sync boolean|string[]|nil bring the project's files; paths that are to go along although they are ignored
---@field init_command string? run once in each sandbox
---@field download { globs: string[], on: "always"|"failure", max: integer }? max: bytes per attempt
---@field providers runner.Bound[] at least one
---@field groups runner.Group[] at least one
---@field filters string[]? texts given on the command line; a test's name must hold one
---@field history { path: string?, record: "always"|"flag", samples: integer, default_duration: number }|false
---  path: absolute; nil: the one in the user's cache folder
---@field report { dir: string, junit: string|false, trace: string|false } dir: absolute; the others: inside it
---@field on { discovered: function?, result: function?, finished: function? }
---@field retry (fun(test: table, attempt: table): boolean)?
---@field order (fun(tests: table[]): table[])?

--- "file:line" of the innermost line of the user's that a coroutine was at.
local function user_line(co, files)
  local level = 0
  while true do
    local info = debug.getinfo(co, level, "Sl")
    if not info then
      return nil
    elseif files[info.source] and info.currentline > 0 then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
    level = level + 1
  end
end

--- Run the configuration's chunk; a coroutine, so that its stack is there to be read when it fails.
local function evaluate(chunk, shown, user_modules)
  local co = coroutine.create(chunk)
  local results = table.pack(task.without_await(plugin.deferring, coroutine.resume, co))
  if results[1] and coroutine.status(co) == "dead" then
    return results[2]
  end
  local where = user_line(co, user_modules.files)
  local context = { file = shown }
  local message
  if results[1] then
    coroutine.close(co)
    message = "a configuration cannot wait while it loads; wait in a plug-in"
  elseif errors.is(results[2]) then
    message, context.hint = tostring(results[2]), results[2].context.hint
  elseif type(results[2]) == "string" then
    message = results[2]
    context.hint = missing.global(message, user_modules)
  else
    message = "it raised " .. types.describe(results[2])
  end
  -- Errors that Lua raises in the user's lines say where; error objects, assert and our own modules do not.
  local source = message:match("^([^\n]-):%d+: ")
  if not source or (where and source ~= where:match("^(.*):%d+$")) then
    message = (where or shown) .. ": " .. message
  end
  errors.raise("config", message, context)
end

local function cores()
  return uv.available_parallelism()
end

--- How many slots a value of `max_parallel` means on this machine.
---@param value integer? negative: that many less than the cores; nil: as many as cores
---@return integer
function M.parallel(value)
  if value and value > 0 then
    return value
  end
  return math.max(1, cores() + (value or 0))
end

--- Take "LOCAL:REMOTE" apart.
---@param value string
---@param base string absolute folder that LOCAL is relative to
---@return { from: string, to: string }? nil when it is malformed
---@return string? why
function M.copy_dir(value, base)
  local from, to = value:match("^(.+):(.+)$")
  if not from then
    return nil, ("expected LOCAL:REMOTE, got %s"):format(types.describe(value))
  elseif path.leads_out((to:gsub("^/+", ""))) then
    return nil, ("%s leads out of the sandbox's folder"):format(types.describe(to))
  end
  from = path.absolute(from, base)
  local stat, why, code = uv.fs_stat(from)
  if not stat then
    return nil, code == "ENOENT" and ("there is no folder %s"):format(from) or why
  elseif stat.type ~= "directory" then
    return nil, from .. " is not a folder"
  end
  return { from = from, to = to }
end

local function read_providers(checker, value)
  if not checkers.is_plain(value) then
    return { checker:bound("provider", value, { "provider" }) }
  end
  local providers = {}
  for key, item in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      checker:problem({ "provider", key }, "expected a plain list of providers")
    else
      providers[key] = checker:bound("provider", item, { "provider", key })
    end
  end
  if next(value) == nil then
    checker:problem({ "provider" }, "an empty list; name at least one, such as \"local\"")
  end
  return providers
end

local function read_report(checker, value, dir)
  local report = checker:table(schema.report, value, { "report" })
  report.dir = path.absolute(report.dir, dir)
  for _, key in ipairs({ "junit", "trace" }) do
    if report[key] == true then
      report[key] = folder.REPORTS[key]
    elseif report[key] and path.leads_out(report[key]) then
      checker:problem({ "report", key }, "expected a path inside report.dir, got %s", types.describe(report[key]))
    elseif report[key] then
      report[key] = path.absolute(report[key], "/"):sub(2)
    end
  end
  if report.trace and report.trace == report.junit then
    checker:problem({ "report", "trace" }, "the JUnit report has this name, too")
  end
  return report
end

local function read_history(checker, value, dir)
  if value == false then return false end
  local history = checker:table(schema.history, value, { "history" })
  history.path = history.path and path.absolute(history.path, dir)
  if history.samples > format.MOST_SAMPLES then
    checker:problem({ "history", "samples" }, "expected at most %d, got %d", format.MOST_SAMPLES, history.samples)
  end
  return history
end

--- Patterns and options in one table: { "out/**", on = "always" }.
local function read_download(checker, value)
  if value == nil then return nil end
  local options, globs = {}, {}
  for key, item in next, checkers.is_plain(value) and value or {} do
    if math.type(key) ~= "integer" then options[key] = item else globs[key] = item end
  end
  local download = checker:table(schema.download, checkers.is_plain(value) and options or value, { "download" })
  local list, problems = types.check("string[]", globs)
  for _, problem in ipairs(problems or {}) do
    checker:problem({ "download", table.unpack(problem.path) }, "%s", problem.message)
  end
  for i, glob in ipairs(list or {}) do
    -- A folder stands for all in it.
    list[i] = glob:gsub("^%./+", ""):gsub("/$", "/**")
    if glob == "" or path.leads_out(glob) or glob:find("//", 1, true) or glob:find("%z") or #glob > 1000 then
      checker:problem({ "download", i }, "expected a pattern of files inside the tests' folder, got %s",
        types.describe(glob))
    end
  end
  if #(list or {}) == 0 and not problems and checkers.is_plain(value) then
    checker:problem({ "download" }, 'no pattern; name at least one, such as "screenshots/**"')
  end
  download.globs = list
  return download
end

local function check_sync(checker, value)
  for i, text in ipairs(type(value) == "table" and value or {}) do
    if text == "" or path.leads_out(text) then
      checker:problem({ "sync", i }, "expected a path inside the project, got %s", types.describe(text))
    end
  end
end

--- Providers that groups and overrides are kept to must be there.
local function check_only_on(checker, config)
  local known = {}
  for _, provider in pairs(config.providers) do known[#known + 1] = provider.name end
  local function check(names, at)
    for _, name in ipairs(names or {}) do
      local is_there = false
      for _, other in ipairs(known) do is_there = is_there or other == name end
      if not is_there then
        checker:problem(at, "%q is not among the providers of this configuration%s", name, suggest.hint(name, known))
      end
    end
  end
  for _, group in ipairs(config.groups) do check(group.only_on, { "groups", group.name, "only_on" }) end
  for i, one in ipairs(config.overrides) do check(one.settings.only_on, { "overrides", i, "only_on" }) end
end

--- Bring the table of a configuration into normal form. Raises one error that lists all its problems.
--- What filter expressions may name: a framework that ships is no mistake, even where no group uses it.
---@param list runner.Group[]
---@return runner.KnownNames
local function names_of(list)
  local known, seen = { group = {}, framework = { table.unpack(plugin.builtin.framework) } }, {}
  for _, name in ipairs(known.framework) do seen[name] = true end
  for _, group in ipairs(list) do
    table.insert(known.group, group.name)
    local framework = group.framework and group.framework.name
    if framework and not seen[framework] then table.insert(known.framework, framework) end
    if framework then seen[framework] = true end
  end
  return known
end

local function normalise(value, shown, file, user_modules)
  local dir = user_modules.dir
  local checker = checkers.new(shown, dir, user_modules)
  for _, problem in ipairs(missing.undefined(user_modules)) do checker:problem({}, "%s", problem) end
  local config = checker:table(schema.settings, value, {})
  for _, key in ipairs({ "test_timeout", "slow_timeout", "global_timeout", "ping" }) do
    if config[key] == "none" then
      config[key] = nil
    end
  end
  config.path, config.dir = file, dir
  config.max_parallel_given = config.max_parallel ~= nil
  config.max_parallel = M.parallel(config.max_parallel)
  config.providers = read_providers(checker, config.provider)
  config.groups = groups.read(checker, config.framework, config.groups, config)
  config.provider, config.framework = nil, nil
  config.predicates = overrides.predicates(checker, config.predicates)
  config.names = names_of(config.groups)
  config.overrides = overrides.read(checker, config.overrides, config.predicates, config.names)
  check_only_on(checker, config)
  config.report = read_report(checker, config.report, dir)
  config.history = read_history(checker, config.history, dir)
  config.on = checker:table(schema.on, config.on, { "on" })
  config.download = read_download(checker, config.download)
  check_sync(checker, config.sync)

  config.working_dir = path.absolute(config.working_dir, dir)
  local stat = uv.fs_stat(config.working_dir)
  if not stat or stat.type ~= "directory" then
    checker:problem({ "working_dir" }, "there is no folder %s", config.working_dir)
  end
  local copies = {}
  for i, text in ipairs(config.copy_dirs) do
    local copy, why = M.copy_dir(text, dir)
    copies[#copies + 1] = copy
    if not copy then
      checker:problem({ "copy_dirs", i }, "%s", why)
    end
  end
  config.copy_dirs = copies
  checker:finish()
  return config
end

--- The configuration that is read when none is named: "runner.lua" here, else in the nearest folder above within the
--- same repository. Whoever may write to a folder such as /tmp shall not decide what runs: the search ends below it.
---@return string? file relative to the current folder; nil: there is none
function M.find()
  if uv.fs_stat(M.DEFAULT) then return M.DEFAULT end
  return M.find_above(path.absolute("."))
end

--- The nearest "runner.lua" above a folder, within the same repository.
---@param dir string absolute
---@return string? file relative to `dir`
function M.find_above(dir)
  local SHARED = tonumber("1002", 8) -- sticky, and everybody may write
  local up, found = "", nil
  while true do
    local stat = uv.fs_stat(dir)
    if not stat or stat.mode & SHARED == SHARED then return nil end
    if uv.fs_stat(dir .. "/.git") then return found end
    if dir == "/" then return nil end
    dir, up = path.dirname(dir), "../" .. up
    local file = not found and uv.fs_stat(dir .. "/" .. M.DEFAULT)
    if file and file.type == "file" then found = up .. M.DEFAULT end
  end
end

--- Load a configuration.
---@param name string? a file, relative to the current folder; default: what `find` finds
---@return runner.Config
---Raises an error of kind "config".
function M.load(name)
  local shown = name or M.find() or M.DEFAULT
  local file = path.absolute(shown)
  local dir = path.dirname(file)
  local source, why = loader.read(file)
  if not source then
    errors.raise("config", ("cannot read the configuration %s: %s"):format(shown, why), {
      file = file,
      hint = "`runner init` writes one; `-c FILE` names another",
    })
  end
  local user_modules = loader.new(dir)
  local chunk, syntax_error = user_modules.load(file, shown)
  if not chunk then
    local named = syntax_error:find("^[^\n]-:%d+: ")
    errors.raise("config", named and syntax_error or shown .. ": " .. syntax_error, { file = file })
  end
  local value = evaluate(chunk, shown, user_modules)
  if not checkers.is_plain(value) then
    errors.raise("config", ("%s: expected it to return a table of settings, got %s"):format(
      shown, value == nil and "nothing" or types.describe(value)), {
      file = file,
      hint = 'the least that works: return { framework = "pytest" }',
    })
  end
  return normalise(value, shown, file, user_modules)
end

return M
