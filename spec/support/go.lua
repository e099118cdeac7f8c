--- Small Go projects for specs. RUNNER_SPEC_GO names the go to use, for versions other than that of the PATH.

local cjson = require("cjson.safe")
local example = require("spec.support.example")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local M = {}

M.GO = os.getenv("RUNNER_SPEC_GO") or "go"

M.CONFIG = [[
local go = require "frameworks.go"
return { max_parallel = 2, test_timeout = "%s", grace = "1s", retries = %d, framework = go { go = "%s", %s } }
]]

--- Is Go here? Marks the spec as pending otherwise.
function M.is_here()
  if example.has(M.GO) then return true end
  pending("Go is missing")
  return false
end

--- The text of runner.lua.
---@param options string? Lua source: of the framework
---@param settings { test_timeout: string?, retries: integer? }?
---@return string
function M.config(options, settings)
  settings = settings or {}
  return M.CONFIG:format(settings.test_timeout or "30s", settings.retries or 0, M.GO, options or "")
end

--- A module example.com/m with these files.
---@param files table<string, string>
---@param options string?
---@param settings table?
---@return string dir
function M.project(files, options, settings)
  files["go.mod"] = files["go.mod"] or "module example.com/m\n\ngo 1.19\n"
  files["runner.lua"] = M.config(options, settings)
  return project.new(files)
end

---@return table result of the process
---@return string text all that it printed
function M.run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return result, result.stdout .. result.stderr
end

--- Since Go 1.20 what a test prints cannot be taken for the lines about it.
---@return boolean
function M.is_framed()
  return tonumber(process.run({ M.GO, "version" }).stdout:match("go1%.(%d+)")) >= 20
end

--- What `go test -json ./...` says of a project.
---@param dir string
---@return integer code
---@return table<string, string> verdicts "pass", "fail" or "skip" by IMPORT/PATH.Test; without subtests
function M.own_verdicts(dir)
  local result = process.run({ M.GO, "test", "-json", "-count=1", "./..." }, { cwd = dir })
  local verdicts = {}
  for line in result.stdout:gmatch("[^\n]+") do
    local event = cjson.decode(line)
    local is_end = event and (event.Action == "pass" or event.Action == "fail" or event.Action == "skip")
    if is_end and event.Test and not event.Test:find("/", 1, true) then
      verdicts[event.Package .. "." .. event.Test] = event.Action
    end
  end
  return result.code, verdicts
end

return M
