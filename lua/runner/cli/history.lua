--- `runner history`: shows what earlier runs know of the tests, forgets what is gone, and merges the file in git.

local errors = require("runner.base.errors")
local expire = require("runner.history.expire")
local file = require("runner.base.files")
local format = require("runner.history.format")
local history = require("runner.history")
local path = require("runner.base.path")
local store = require("runner.history.store")
local suggest = require("runner.base.suggest")
local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")

local M = {
  name = "history",
  summary = "Show, prune or merge what earlier runs know of the tests.",
}

local DEFAULT_COUNT = 10
local HINT_LIMIT = 2000 -- names among which a misspelt one is looked for
local DRIVER = "runner-history"

--- Declares the flags.
---@param cmd table argparse command
function M.configure(cmd)
  local function count(value)
    local number = math.tointeger(tonumber(value))
    return number and number > 0 and number or nil, ("expected a whole number, 1 or more, got %q"):format(value)
  end
  cmd:usage("Usage: runner history show [--slowest N] [--flakiest N] [--test ID] | prune [--days N]\n"
    .. "       runner history merge BASE OURS THEIRS | setup-merge-driver")
  cmd:argument("ACTION"):target("what"):argname("ACTION"):choices({ "show", "prune", "merge", "setup-merge-driver" })
    :description("show: what is known. prune: forget tests that the last whole run did not have. merge: unite two "
      .. "versions into OURS, for git. setup-merge-driver: let git do that by itself.")
  cmd:argument("files"):args("*"):argname("[BASE OURS THEIRS]"):description("For merge: three files.")
  cmd:option("--slowest"):argname("N"):convert(count):description("The N tests that take longest.")
  cmd:option("--flakiest"):argname("N"):convert(count)
    :description("The N tests that most often both failed and passed in one run.")
  cmd:option("--test"):argname("ID"):description("All that is known of one test.")
  cmd:option("--days"):argname("N"):convert(count)
    :description("For prune: also tests that were not seen for so many days.")
  cmd:option("-c --config"):argname("FILE"):description("Configuration (default: runner.lua).")
end

--- The configuration and the path of its history. Raises an error of kind "config" where it has none.
local function find(args)
  local config = require("runner.config").load(args.config)
  local where = history.path(config)
  if not where then
    errors.raise("config", config.history and "there is no cache folder for the history: set HOME or history.path"
      or "the configuration has history = false")
  end
  return config, where
end

-- show --------------------------------------------------------------------------------------------------------------

local function print_line(...)
  io.stdout:write(string.format(...), "\n")
end

--- The first of the tests by a number, largest first; those without one are left out.
local function top(tests, count, number)
  local list = {}
  for _, test in ipairs(tests) do
    local value = number(test)
    if value then list[#list + 1] = { test = test, value = value } end
  end
  table.sort(list, function(a, b)
    if a.value ~= b.value then return a.value > b.value end
    if a.test.id ~= b.test.id then return a.test.id < b.test.id end
    return a.test.group < b.test.group
  end)
  return table.move(list, 1, math.min(#list, count), 1, {})
end

local function show_slowest(known, tests, count, name)
  print_line("Slowest:")
  for _, one in ipairs(top(tests, count, function(test) return known:duration(test) end)) do
    print_line("  %s %s", vocabulary.duration(one.value), name(one.test))
  end
end

local function show_flakiest(known, tests, count, name)
  local function flaky_runs(test)
    local entry = known:is_flaky(test) and known:entry(test)
    return entry and #entry.flaky + (known:failure_rate(test) or 0)
  end
  local list = top(tests, count, flaky_runs)
  if #list == 0 then return print_line("No test has both failed and passed in one run.") end
  print_line("Flakiest:")
  for _, one in ipairs(list) do
    local rate, attempts = known:failure_rate(one.test)
    print_line("  flaky in %s, %3.0f %% of %s failed: %s", vocabulary.plural(one.value // 1 | 0, "run"),
      (rate or 0) * 100, vocabulary.plural(attempts, "attempt"), name(one.test))
  end
end

--- Where and when a sample was taken.
local function origin(known, token)
  local key, number = format.split(token)
  local run = known.index.runs[key]
  if not run then return os.date("!%Y-%m-%d %H:%M:%S", format.time_of(key)) end
  local place = run.places[number] or { "", "", 1 }
  local speed = place[3] ~= 1 and ("at speed %g"):format(place[3]) or ""
  return text.escape(("%s  %s %s %s"):format(run.id, place[1], place[2], speed):gsub("%s+$", ""))
end

local function show_test(known, test)
  local entry = known:entry(test)
  print_line("%s (group %s)", text.escape(test.id), text.escape(test.group))
  if not entry then return print_line("  its line in the history is damaged") end
  print_line("  expected  %s  95 of 100 attempts take at most %.3f s", vocabulary.duration(entry.s),
    entry.p95)
  local rate, attempts = known:failure_rate(test)
  if rate then
    print_line("  %s, %.3g %% did not pass; flaky in %s of those remembered",
      vocabulary.plural(attempts, "attempt"), rate * 100, vocabulary.plural(#entry.flaky, "run"))
  end
  print_line("  last: %s", entry.last[2])
  for _, outcome in ipairs(format.OUTCOMES) do
    local samples = entry.samples[outcome] or {}
    for i = #samples - 1, 1, -2 do
      print_line("  %-9s %s  %s", outcome, vocabulary.duration(samples[i + 1]), origin(known, samples[i]))
    end
  end
end

local function show_tests(known, tests, id)
  local found, ids = false, {}
  for _, test in ipairs(tests) do
    if test.id == id then
      found = true
      show_test(known, test)
    elseif #ids < HINT_LIMIT then
      ids[#ids + 1] = test.id
    end
  end
  if not found then
    errors.raise("usage", ("--test: the history has no test %q%s"):format(text.escape(id), suggest.hint(id, ids)))
  end
end

local function show(args)
  local config, where = find(args)
  local known = assert(history.of(config, function(message) io.stderr:write("runner: ", message, "\n") end))
  local tests, groups, sum = {}, {}, 0
  for test in known:tests() do
    tests[#tests + 1] = test
    groups[test.group] = true
    sum = sum + (known:duration(test) or 0)
  end
  table.sort(tests, function(a, b) return a.id < b.id end)
  if args.test then return show_tests(known, tests, args.test) end
  local runs = known:runs()
  print_line("%s", text.escape(where))
  print_line("%s, %s remembered%s, %.3f s of tests", vocabulary.plural(#tests, "test"),
    vocabulary.plural(#runs, "run"), #runs > 0 and (" (the last: %s)"):format(text.escape(runs[#runs].id)) or "", sum)
  if #tests == 0 then return end
  local one_group = next(groups, (next(groups))) == nil
  local function name(test) return text.escape(one_group and test.id or test.group .. ": " .. test.id) end
  local both = not args.slowest and not args.flakiest
  if args.slowest or both then show_slowest(known, tests, args.slowest or DEFAULT_COUNT, name) end
  if args.flakiest or both then show_flakiest(known, tests, args.flakiest or DEFAULT_COUNT, name) end
end

-- prune, merge ------------------------------------------------------------------------------------------------------

--- Lines that nobody can read go, too; a copy of the file is kept then.
local function drop_damaged(index)
  for kind, read in pairs({ tests = format.read_test, costs = format.read_cost }) do
    for key, line in pairs(index[kind]) do
      local entry, _, sound = read(line)
      if not sound then index.damaged = index.damaged + 1 end
      if not entry then index[kind][key] = nil end
    end
  end
end

local function prune(args)
  local _, where = find(args)
  if not require("luv").fs_stat(where) then
    errors.raise("config", ("there is no history %s"):format(where), { hint = "`runner run` makes one" })
  end
  local removed, kept = 0, 0
  local ok, problem = store.update(where, function(index)
    drop_damaged(index)
    removed = expire.apply(index, { whole_runs = 1, days = args.days })
    for _ in pairs(index.tests) do kept = kept + 1 end
  end)
  if not ok then errors.raise("config", ("the history %s was not changed: %s"):format(where, problem)) end
  print_line("forgot %s, kept %d", vocabulary.plural(removed, "test"), kept)
  if problem then print_line("it was damaged; %s", problem) end
end

--- Exit code 1 leaves OURS as it is and the conflict to the user.
local function merge(args)
  if #args.files ~= 3 then errors.raise("usage", "merge: expected three files: BASE OURS THEIRS") end
  local sides = {}
  for i, name in ipairs(args.files) do
    local side, stat = store.read(path.absolute(name)), require("luv").fs_stat(name)
    -- To take it for an empty history would remove all that the base has.
    if not stat then side.problem = side.problem or "there is no such file" end
    -- Without a base both sides count in full; one that is only half understood would remove tests.
    if i == 1 and side.problem and stat then side = store.parse("") end
    if side.problem then
      io.stderr:write(("runner: not merged: %s: %s\n"):format(name, side.problem))
      return 1
    end
    sides[i] = side
  end
  local ok, message = file.write(path.absolute(args.files[2]), store.render(store.unite(table.unpack(sides))))
  if not ok then io.stderr:write(("runner: not merged: %s\n"):format(message)) end
  return ok and 0 or 1
end

-- setup-merge-driver ------------------------------------------------------------------------------------------------

local function git(dir, ...)
  local process = require("runner.io.process")
  local ok, result = pcall(process.run, { "git", "-C", dir, ... })
  if not ok then errors.raise("usage", "git is not installed, or cannot be started") end
  if result.code ~= 0 then
    errors.raise("usage", ("git says: %s"):format(result.stderr:match("[^\n]+") or "nothing"))
  end
  return (result.stdout:gsub("\n$", ""))
end

--- A path as .gitattributes wants it, this file and no other.
local function pattern_of(relative)
  local pattern = "/" .. relative:gsub("[%*%?%[%]\\]", "\\%0")
  if not pattern:find('[%s"]') then return pattern end
  return '"' .. pattern:gsub('[\\"]', "\\%0") .. '"'
end

local function setup_merge_driver(args)
  local uv = require("luv")
  local config, where = find(args)
  if not config.history.path then
    errors.raise("config", "the history is in the user's cache folder, not in git",
      { hint = 'set history = { path = "…" } to a file of the repository' })
  end
  local dir = path.dirname(where)
  local real = uv.fs_realpath(dir)
  if not real then errors.raise("config", ("there is no folder %s"):format(dir)) end
  local root = git(real, "rev-parse", "--show-toplevel")
  local relative = (real .. where:match("/[^/]*$")):sub(#root + (root == "/" and 1 or 2))
  local attributes = root .. "/.gitattributes"
  local line = ("%s merge=%s"):format(pattern_of(relative), DRIVER)
  local before = file.read(attributes) or ""
  if not ("\n" .. before .. "\n"):find("\n" .. line .. "\n", 1, true) then
    local ending = (before == "" or before:sub(-1) == "\n") and "" or "\n"
    local ok, message = file.write(attributes, before .. ending .. line .. "\n")
    if not ok then errors.raise("config", message) end
  end
  git(root, "config", "merge." .. DRIVER .. ".name", "history of runner")
  git(root, "config", "merge." .. DRIVER .. ".driver",
    text.shell_quote(uv.exepath()):gsub("%%", "%%%%") .. " history merge %O %A %B")
  print_line("git merges %s by itself in this clone: %s has the line %s", relative, attributes, line)
end

local COMMANDS = { show = show, prune = prune, merge = merge, ["setup-merge-driver"] = setup_merge_driver }

---@param args table
---@return integer exit code
---@async
function M.run(args)
  if args.what ~= "merge" and #args.files > 0 then
    errors.raise("usage", ("%s takes no files"):format(args.what))
  end
  return COMMANDS[args.what](args) or 0
end

return M
