--- How a pytest process is started: its arguments and environment, and what went wrong when it says nothing useful.

local exits = require("runner.io.exit_text")

local M = {}

M.PACKAGE = "runner_worker"
M.PLUGIN = M.PACKAGE .. ".plugin"

-- The shell puts our folder in front of whatever PYTHONPATH is in the sandbox.
local SCRIPT = 'PYTHONPATH=$1${PYTHONPATH:+:$PYTHONPATH}; export PYTHONPATH; shift; %s'

local function append(list, ...)
  for _, more in ipairs({ ... }) do
    table.move(more, 1, #more, #list + 1, list)
  end
  return list
end

--- What the user would type to run pytest; for messages.
---@param options table
---@return string
function M.shown(options)
  if type(options.command) == "table" then return table.concat(options.command, " ") end
  return options.command or ((options.python or "python3") .. " -m pytest")
end

---@param options table of the framework
---@param folder string where the plug-in file is
---@return string[] argv
function M.argv(options, folder)
  local command = options.command
  local script = SCRIPT:format(type(command) == "string" and command .. ' "$@"' or 'exec "$@"')
  local argv = { "/bin/sh", "-c", script, "sh", folder }
  if type(command) == "table" then
    append(argv, command)
  elseif not command then
    append(argv, { options.python or "python3", "-m", "pytest" })
  end
  append(argv, { "-p", M.PLUGIN, "--capture=no" })
  if options.markers then append(argv, { "-m", options.markers }) end
  if options.keyword then append(argv, { "-k", options.keyword }) end
  return append(argv, options.extra_args or {}, options.paths or {})
end

--- The environment of the zygote (slot nil) or of a worker that is a process of its own.
---@param options table
---@param slot table? as it is told to the worker
---@return table<string, string|false>
function M.environment(options, slot)
  local env = {}
  for key, value in pairs(options.env or {}) do env[key] = value end
  -- A run inside a run: the outer one's names are not ours.
  for _, name in ipairs({ "RUNNER_TEST_ID", "RUNNER_ATTEMPT", "PYTEST_CURRENT_TEST" }) do
    env[name] = false
  end
  env.RUNNER_WORKER = slot and tostring(slot.index) or false
  env.PYTEST_XDIST_WORKER = slot and ("gw%d"):format(slot.index) or false
  env.PYTEST_XDIST_WORKER_COUNT = slot and tostring(slot.count) or false
  env.PYTEST_XDIST_TESTRUNUID = slot and slot.run or false
  return env
end


--- Why a pytest process ended before it had collected.
---@param options table
---@param exit runner.CommandExit
---@param text string the end of what it printed
---@return "config"|"collection" kind whether the set-up is wrong or the project's code
---@return string message
function M.diagnose(options, exit, text)
  local shown = M.shown(options)
  local function with_text(message)
    text = text:gsub("%s+$", "")
    return text == "" and message or message .. "\n" .. text
  end
  if exit.kind == "failed" then
    return "config", ("cannot start %s: %s"):format(shown, exit.message or "?")
  elseif exit.code == 127 or exit.code == 126 then
    return "config", with_text(("cannot run %s: set python = \"…\" or command = { … } of the "
      .. "pytest framework to what runs pytest in this project"):format(shown))
  elseif text:find("No module named pytest", 1, true) then
    return "config", with_text(("pytest is not installed for %s: install it (%s -m pip install "
      .. "pytest), or set python or command of the pytest framework to the environment that has it")
      :format(shown, options.python or "python3"))
  elseif text:find('Error importing plugin "' .. M.PLUGIN, 1, true) then
    return "config", with_text(
      ("%s does not look at PYTHONPATH, by which runner's plug-in is found"):format(shown))
  elseif exit.code == 4 and not text:find("while loading conftest", 1, true) then
    return "config",
      with_text(("pytest does not accept how it is called or configured (%s)"):format(shown))
  end
  return "collection", ("pytest %s while it collected the tests"):format(exits.verb(exit))
end

return M
