--- Whole runs of the real binary over real pytest: a temporary project, and what its run left behind.
---
---     local dir = pytest.new({ ["test_a.py"] = "…" }, 'isolation = "test"', "retries = 1")
---     local result, states = pytest.run(dir)

local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local uv = require("luv")
local task = require("runner.task")

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

--- A file's text; nil when there is none.
---@param path string
---@return string?
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
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
  return M.read(dir .. "/test-results/" .. M.attempt(dir, name).log)
end

local running = {}

--- Starts the binary and returns its pid and its exit as an event; what it prints goes to a file "printed".
---@param dir string
---@param ... string
---@return integer pid
---@return runner.Event done
function M.start(dir, ...)
  local done = task.event()
  local fd = assert(uv.fs_open(dir .. "/printed", "w", 420))
  local handle, pid
  handle, pid = uv.spawn(uv.exepath(), { args = { ... }, cwd = dir, stdio = { nil, fd, fd } }, function(code, signal)
    handle:close()
    running[pid] = nil
    done:set({ code = code, signal = signal })
  end)
  uv.fs_close(fd)
  assert(handle, pid)
  running[pid] = true
  return pid, done
end

--- Ends what a spec started and left because it failed; removes the projects.
function M.clean()
  for pid in pairs(running) do uv.kill(pid, "sigkill") end
  running = {}
  project.remove_all()
end

--- Waits until `condition` holds; the files and processes of another program can only be polled.
---@param condition fun(): any
---@param seconds number? default 20
---@return any what it returned
---@async
function M.eventually(condition, seconds)
  local deadline = uv.hrtime() + (seconds or 20) * 1e9
  while true do
    local value = condition()
    if value then return value end
    assert(uv.hrtime() < deadline, "it never came to pass")
    task.sleep(0.01)
  end
end

return M
