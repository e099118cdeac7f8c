--- How our JavaScript is started, and what it means when that fails.

local cjson = require("cjson.safe")
local exits = require("runner.io.exit_text")
local path = require("runner.base.path")
local missing_tool = require("runner.worker.missing_tool")

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
  return path.absolute(folder, cwd)
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
---@param ctx table of the framework
---@param name string of the framework
---@param options table
---@param exit runner.Exit
---@param fatal table? what it said itself
---@param text string the end of what it printed
---@return string message
function M.diagnose(ctx, name, options, exit, fatal, text)
  text = text:gsub("%s+$", "")
  local with_text = text ~= "" and "\n" .. text or ""
  if fatal and fatal.absent then
    local is_here = ctx.sandbox.is_host and not ctx.sandbox.project
    return fatal.message .. (is_here and ': install it ("npm ci", or as the project does)'
      or '. Install it where the tests run: node_modules is not sent to sandboxes when git ignores it, so it belongs '
        .. 'into their image or into init_command ("npm ci")')
  end
  if fatal then return fatal.message .. (fatal.text ~= "" and "\n" .. fatal.text or with_text) end
  local node = table.concat(M.node(options), " ")
  if missing_tool.is_missing(exit) then
    return missing_tool.missing(ctx, exit, {
      program = node, install = "Node.js", set = ('node = "…" of the %s framework'):format(name),
    }, text)
  end
  return ("%s ended before it had told its tests: %s%s"):format(name, exits.describe(exit), with_text)
end

return M
