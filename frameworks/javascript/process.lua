--- How our JavaScript is started, and what it means when that fails.

local cjson = require("cjson.safe")
local outcome = require("runner.framework.outcome")
local paths = require("runner.path")

local M = {}

--- The arguments before those of our script.
---@param options table of the framework
---@return string[]
function M.node(options)
  local node = options.node or "node"
  return type(node) == "table" and table.move(node, 1, #node, 1, {}) or { node }
end

--- The folder that the framework is started in; nil: that of the sandbox.
---@param options table
---@param ctx table of the framework
---@return string?
function M.folder(options, ctx)
  local folder, cwd = options.working_dir, ctx.sandbox.cwd
  if not folder or not cwd then return folder end
  return paths.absolute(folder, cwd)
end

--- Environment of a run inside a run: the outer one's names are not ours.
---@param options table
---@return table<string, string|false>
function M.environment(options)
  local env = { RUNNER_TEST_ID = false, RUNNER_ATTEMPT = false, RUNNER_WORKER = false, RUNNER_RESTARTED = false }
  for name, value in pairs(options.env or {}) do env[name] = value end
  return env
end

--- What the script is told about itself.
---@param options table
---@param place table see worker/main.cjs
---@return string
function M.about(options, place)
  return assert(cjson.encode({
    options = { config = options.config, projects = options.projects, paths = options.paths, args = options.args },
    place = place,
  }))
end

--- Why a process ended before it had done what it was to do.
---@param name string of the framework
---@param options table
---@param exit runner.Exit
---@param fatal table? what it said itself
---@param text string the end of what it printed
---@return string message
function M.diagnose(name, options, exit, fatal, text)
  text = text:gsub("%s+$", "")
  local with_text = text ~= "" and "\n" .. text or ""
  if fatal then return fatal.message .. (fatal.text ~= "" and "\n" .. fatal.text or with_text) end
  local node = table.concat(M.node(options), " ")
  if exit.kind == "failed" or exit.kind == "exited" and (exit.code == 127 or exit.code == 126) then
    return ("cannot run %s for %s (%s): install Node.js where the tests run, in the sandbox's image or by "
      .. "init_command, or set node = \"…\" of the framework%s")
      :format(node, name, outcome.describe(exit), with_text)
  end
  return ("%s ended before it had told its tests: %s%s"):format(name, outcome.describe(exit), with_text)
end

return M
