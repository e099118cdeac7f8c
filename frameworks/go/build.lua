--- One `go test` that runs nothing: it vets, compiles and links all packages at once, as it always does, and gives each
--- test binary to a script of ours (-exec), in the folder and the environment that tests get. The script keeps the
--- binary, says with which arguments it is to be run, and shows the main program that go made for it: what go runs is
--- listed there. The binary itself is not asked, for its TestMain may print, fail or wait.

local cjson = require("cjson.safe")
local call = require("runner.agent.call")
local errors = require("runner.base.errors")
local keys = require("runner.base.sorted_keys")
local missing_tool = require("runner.worker.missing_tool")

local M = {}

local LIMIT = 64 * 1024 * 1024 -- bytes of what go prints

-- Facts are framed by bytes that no package prints by accident.
local SCRIPT = [=[
bin=$1; shift
work=${bin%/*}
out=$(mktemp -d "$RUNNER_GO_DIR/XXXXXX") && mv "$bin" "$out/${bin##*/}" || exit 1
bin=$out/${bin##*/}
fact() { printf '\036%s\t%s\036\n' "$1" "$2"; }
fact binary "$bin"; fact dir "$PWD"; fact env "PATH=$PATH"; [ -z "$GOROOT" ] || fact env "GOROOT=$GOROOT"
for argument; do fact argument "$argument"; done
grep -nE 'func[[:space:]]+(Test|Example|Fuzz)' *_test.go /dev/null 2>/dev/null |
  while IFS= read -r line; do fact function "$line"; done
fact main "$(sed -n '/^var [a-zA-Z]* = /p;/^[[:space:]]*{"/p' "$work/_testmain.go")"
]=]

--- What decides which tests run, and how often, is ours.
local OURS = {
  "args", "bench", "c", "count", "cpu", "exec", "fuzz", "i", "json", "list", "o", "run", "skip", "timeout",
}

---@class runner.go.Package
---@field binary string
---@field dir string where its tests run
---@field env table<string, string>
---@field arguments string[] of the binary
---@field framed boolean its lines about tests are marked (Go 1.20)
---@field functions table<string, { file: string, line: integer }> where they may be, as far as a search for text knows
---@field tests string[] in the order in which go runs them

local function check_flags(flags)
  for _, flag in ipairs(flags or {}) do
    local name = flag:match("^%-%-?([%w]+)")
    for _, ours in ipairs(OURS) do
      if name == ours then
        errors.raise("config", ("framework go: flags: -%s is not for here"):format(name))
      end
    end
  end
end

local function arguments(options, script)
  local argv = { options.go or "go", "test", "-json", "-count=1" }
  local function add(...)
    for _, argument in ipairs({ ... }) do argv[#argv + 1] = argument end
  end
  add("-exec", "/bin/sh " .. script)
  if options.race then add("-race") end
  if options.short then add("-short") end
  if options.tags then add("-tags=" .. table.concat(options.tags, ",")) end
  add(table.unpack(options.flags or {}))
  add(table.unpack(options.packages or { "./..." }))
  if options.args then add("-args", table.unpack(options.args)) end
  return argv
end

-- Go runs them in this order.
local RUN = { "tests", "fuzzTargets", "examples" }

--- The tests in the main program that go makes for a package: lists of `{"Name", _test.Name…}`.
---@param main string its lines that matter
---@return string[]? tests nil when they are not to be found there
local function listed_in(main)
  local lists, at = {}, nil
  for line in main:gmatch("[^\n]+") do
    local list = line:match("^var (%w+) = %[%]testing%.Internal%w+{")
    local name = line:match('^%s*{"([%w_\x80-\xFF]+)", [%w_]+%.')
    if list then
      at = {}
      lists[list] = at
    elseif name and at then
      at[#at + 1] = name
    end
  end
  if not lists.tests then return nil end
  local tests = {}
  for _, list in ipairs(RUN) do
    table.move(lists[list] or {}, 1, #(lists[list] or {}), #tests + 1, tests)
  end
  return tests
end

--- What the script said of a package, nil when it did not get so far.
---@param text string
---@return runner.go.Package?
local function package_of(text)
  local found = { env = {}, arguments = {}, functions = {}, framed = false }
  for key, value in text:gmatch("\30(%l+)\t([^\30]*)\30\n") do
    if key == "env" then
      local name, setting = value:match("^([^=]*)=(.*)$")
      found.env[name] = setting
    elseif key == "argument" then
      found.framed = found.framed or value == "-test.v=test2json"
      if not value:find("^%-test%.timeout=") and not value:find("^%-test%.testlogfile=") then
        table.insert(found.arguments, value)
      end
    elseif key == "function" then
      local file, line, source = value:match("^(.-):(%d+):(.*)$")
      for name in (source or ""):gmatch("func%s+(%u[%w_\x80-\xFF]*)") do
        found.functions[name] = found.functions[name] or { file = file, line = math.tointeger(tonumber(line)) }
      end
    elseif key == "main" then
      found.tests = listed_in(value)
    else
      found[key] = value
    end
  end
  return found.tests and found or nil
end

--- Reads the events of `go test -json`.
---@return table<string, table> by package: output, action, failed_build
---@return table<string, string[]> what building each package printed
---@return string loose lines that are no events
local function read_events(text)
  local packages, builds, loose = {}, {}, {}
  for line in text:gmatch("[^\n]+") do
    local event = line:find("^{") and cjson.decode(line)
    if type(event) ~= "table" then
      loose[#loose + 1] = line
      local failed = line:match("^FAIL\t(%S+) %[%l+ failed%]") -- so before Go 1.24
      if failed then packages[failed] = { output = { line, "\n" }, action = "fail" } end
    elseif event.Action == "build-output" then
      builds[event.ImportPath] = builds[event.ImportPath] or {}
      table.insert(builds[event.ImportPath], event.Output)
    elseif event.Package then
      local one = packages[event.Package] or { output = {} }
      packages[event.Package] = one
      if event.Action == "output" then
        table.insert(one.output, event.Output)
      elseif event.Action == "pass" or event.Action == "fail" or event.Action == "skip" then
        one.action, one.failed_build = event.Action, event.FailedBuild
      end
    end
  end
  return packages, builds, table.concat(loose, "\n")
end

--- One problem for each package that cannot be built, whoever needs it; with a Go that does not tell whose build failed
--- (before 1.24) one for all.
---@param failed table<string, string[]> by the build that failed: the packages that need it
---@param builds table<string, string[]>
---@param said string what was printed outside of events
local function build_problems(failed, builds, said)
  local by_id, order = {}, {}
  for _, build in ipairs(keys.sorted(failed)) do
    -- "m/a", "m/a [m/a.test]" and "m/a.test" are all of the same files.
    local id = build:match("^[^ ]+") or ""
    id = id:gsub("%.test$", "")
    local one = by_id[id]
    if not one then
      one = { users = {}, text = {}, bodies = {} }
      by_id[id] = one
      order[#order + 1] = id
    end
    local text = builds[build] and table.concat(builds[build]) or said
    local body = text:gsub("^# [^\n]*\n", "")
    if not one.bodies[body] then
      one.bodies[body] = true
      table.insert(one.text, text)
    end
    for _, path in ipairs(failed[build]) do
      if path ~= id then table.insert(one.users, path) end
    end
  end
  local problems = {}
  for _, id in ipairs(order) do
    local one = by_id[id]
    local users = table.concat(one.users, ", ")
    problems[#problems + 1] = {
      kind = "collection", id = id ~= "" and id or one.users[1], text = table.concat(one.text, "\n"),
      message = id == "" and users .. " cannot be built"
        or ("%s cannot be built%s"):format(id, users ~= "" and (", and is needed by " .. users) or ""),
    }
  end
  return problems
end

--- Builds the packages.
---@param options table of the framework
---@param ctx table of the framework
---@param root string? where go runs
---@return table<string, runner.go.Package> packages by import path
---@return table[] problems
---@async
function M.run(options, ctx, root)
  check_flags(options.flags)
  local folder = ctx.tmpdir()
  local script = ("%s/go-%s.sh"):format(folder, (ctx.group or "tests"):gsub("[^%w]", "_"))
  ctx.put(script, SCRIPT)
  local env = { RUNNER_GO_DIR = folder, PWD = root }
  for name, value in pairs(options.env or {}) do env[name] = value end
  local argv = arguments(options, script)
  local called = call.run(ctx, { argv = argv, cwd = root, env = env, limit = LIMIT })
  local exit = called.exit
  local packages, builds, loose = read_events(called.stdout)
  if exit.kind ~= "exited" or called.too_much or exit.timed_out or exit.code ~= 0 and not next(packages) then
    local tool = { program = argv[1], install = "Go", set = 'go = "…" of the go framework' }
    missing_tool.check(ctx, exit, tool, called.stderr)
    call.check(called, argv[1] .. " test")
  end
  local said = called.stderr .. loose
  local found, failed, problems = {}, {}, {}
  for _, path in ipairs(keys.sorted(packages)) do
    local one = packages[path]
    local text = table.concat(one.output)
    local package = package_of(text)
    if package and one.action == "pass" then
      found[path] = package
    elseif one.failed_build or text:find("%[build failed%]\n") or text:find("%[setup failed%]\n") then
      local build = one.failed_build or ""
      failed[build] = failed[build] or {}
      table.insert(failed[build], path)
    elseif one.action == "fail" then
      problems[#problems + 1] = {
        kind = "collection", id = path, message = path .. ": go does not say which tests it has", text = text,
      }
    end
  end
  for _, problem in ipairs(build_problems(failed, builds, said)) do problems[#problems + 1] = problem end
  if exit.code ~= 0 and #problems == 0 then
    problems[1] = { kind = "collection", id = "go test", text = said, message = "go test failed without a reason" }
  end
  return found, problems
end

return M
