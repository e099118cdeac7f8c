--- Whole runs of the real binary over real pytest: a temporary project, and what its run left behind.
---
---     local dir = pytest.new({ ["test_a.py"] = "…" }, 'isolation = "test"', "retries = 1")
---     local result, states = pytest.run(dir)

local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local M = {}

--- The interpreter under test; RUNNER_SPEC_PYTHON runs these specs with another.
M.python = os.getenv("RUNNER_SPEC_PYTHON") or "python3"

local CONFIG = [[
local pytest = require "frameworks.pytest"
local settings = { %s }
settings.max_parallel = settings.max_parallel or 2
settings.grace = settings.grace or 0.3
if not settings.groups then settings.framework = pytest { python = %q, %s } end
return settings
]]

---@param files table<string, string>
---@param options string? of the framework, as Lua
---@param settings string? as Lua
---@return string dir
function M.new(files, options, settings)
  files["runner.lua"] = CONFIG:format(settings or "", M.python, options or "")
  files["pytest.ini"] = files["pytest.ini"] or "[pytest]\naddopts = -p no:cacheprovider\n"
  return project.new(files)
end

--- Runs the project and returns the result, with all that was printed as `text`, and the final states.
---@async
function M.run(dir, ...)
  local result = runner(dir, "run", ...)
  result.text = result.stdout .. result.stderr
  return result, M.states(dir)
end

--- Final states by the tests' names, which have to differ.
---@param dir string
---@return table<string, string>
function M.states(dir)
  local by_name = {}
  for id, status in pairs(finished.states(dir)) do
    local name = id:match("::(.*)")
    assert(not by_name[name], "two tests of one name")
    by_name[name] = status
  end
  return by_name
end

--- The last `attempt_finished` of a test, by name.
---@param dir string
---@param name string
---@return table?
function M.attempt(dir, name)
  local found
  for _, event in ipairs(finished.events(dir)) do
    if event.event == "attempt_finished" and event.id:match("::(.*)") == name then found = event end
  end
  return found
end

--- The whole output of the last attempt of a test.
---@param dir string
---@param name string
---@return string
function M.log(dir, name)
  return project.read(dir .. "/test-results/" .. M.attempt(dir, name).log)
end

--- Ends what a spec has started and left because it failed; removes the projects.
function M.clean()
  runner.kill_all()
  project.remove_all()
end

return M
