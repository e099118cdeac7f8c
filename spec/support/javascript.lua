--- JavaScript projects for the specs, with runners that `./dev setup --all` has installed.

local uv = require("luv")
local cjson = require("cjson.safe")
local assert = require("luassert")
local example = require("spec.support.example")
local names_in = require("runner.base.files").names
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local M = {}

local CACHE = (os.getenv("XDG_CACHE_HOME") or (os.getenv("HOME") or "") .. "/.cache") .. "/runner-dev/npm/"

--- Versions to test with, and the oldest Node.js that they run on; the first is the one for most specs.
local VERSIONS = {
  vitest = { { "4", 20 }, { "3", 18 } },
  jest = { { "30", 18 }, { "29", 18 } },
  mocha = { { "12", 20 }, { "11", 18 }, { "10", 18 } },
}

local node_version

local function node()
  if not node_version then
    local pipe = assert(io.popen("node --version 2>/dev/null"))
    node_version = tonumber(pipe:read("a"):match("^v(%d+)")) or 0
    pipe:close()
  end
  return node_version
end

--- The versions of a runner that this Node.js takes.
---@param name string
---@return string[]
function M.versions(name)
  local list = {}
  for _, row in ipairs(VERSIONS[name]) do
    if node() >= row[2] then list[#list + 1] = row[1] end
  end
  return list
end

--- Makes the test pending where the framework is not there.
---@param pending function busted's: it gives that to spec files only
---@param name string
---@param version string? default: the newest
---@return string modules the folder node_modules that holds it
function M.need(pending, name, version)
  version = version or M.versions(name)[1]
  local folder = version and ("%s%s-%s/node_modules"):format(CACHE, name, version)
  if folder and uv.fs_stat(folder .. "/" .. name) then return folder end
  return pending(node() == 0 and "Node.js is missing" or ("%s is missing"):format(name))
end

--- What files of each framework begin with, so that what follows can be the same in all three: it, describe, beforeAll
--- and afterAll, spawn, and log, which appends a line to the file that LOG names.
local HEADS = {
  vitest = [[
    import { afterAll, beforeAll, describe, it } from 'vitest'
    import { appendFileSync } from 'node:fs'
    import { spawn } from 'node:child_process'
  ]],
  jest = [[
    const { appendFileSync } = require('node:fs')
    const { spawn } = require('node:child_process')
  ]],
  mocha = [[
    const { appendFileSync } = require('node:fs')
    const { spawn } = require('node:child_process')
    const [beforeAll, afterAll] = [before, after]
  ]],
}

M.FRAMEWORKS = { "vitest", "jest", "mocha" }

--- The path of a test file of that name.
function M.path(name, file) return ("test/%s.test.%s"):format(file, name == "vitest" and "mjs" or "js") end

--- Test files by path.
---@param name string of the framework
---@param files table<string, string> what follows the head, by name
---@return table<string, string>
function M.files(name, files)
  local all = {}
  for file, text in pairs(files) do
    all[M.path(name, file)] = ("%s const log = (line) => appendFileSync(process.env.LOG, line + '\\n')\n%s")
      :format(HEADS[name], text)
  end
  return all
end

local function link(dir, modules)
  assert(uv.fs_symlink(modules, dir .. "/node_modules"))
end

--- A copy of an example, with the runner in it.
---@async
function M.example(name, modules)
  local dir = example.copy(name)
  project.remove(dir .. "/node_modules")
  link(dir, modules)
  return dir
end

--- A project with the runner in it.
---@param name string of the framework
---@param modules string
---@param files table<string, string>
---@param options string? of the framework, Lua source
---@param settings string? of the configuration, Lua source
---@return string dir
function M.new(name, modules, files, options, settings)
  local all = { ["package.json"] = '{ "private": true }' }
  for path, text in pairs(files) do all[path] = text end
  local dir = project.new(all)
  if modules then link(dir, modules) end
  M.configure(name, dir, options, settings)
  return dir
end

--- Writes its runner.lua.
function M.configure(name, dir, options, settings)
  project.write(dir, { ["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 2
    settings.framework = require "frameworks.%s" { %s }
    return settings
  ]]):format(settings or "{}", name, options or "") })
end

--- Runs `runner run`.
---@return runner.ProcessResult result
---@return string text all that it printed
---@async
function M.run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return result, result.stdout .. result.stderr
end

--- Runs a program of the project's node_modules/.bin, and returns what it wrote as JSON into the file that stands for
--- {json} in its arguments.
---@return table? report nil when it wrote none
---@async
function M.native(dir, ...)
  local file = dir .. "/native.json"
  local argv = { ... }
  for i, word in ipairs(argv) do argv[i] = word:gsub("{json}", function() return file end) end
  argv[1] = dir .. "/node_modules/.bin/" .. argv[1]
  process.run(argv, { cwd = dir })
  local text = project.read(file)
  os.remove(file)
  return text and assert(cjson.decode(text)) or nil
end

--- States by id, of a report as jest and vitest write it.
---@param report table
---@param dir string
---@return table<string, string>
function M.states(report, dir)
  local states = {}
  local words = { passed = "passed", failed = "failed", skipped = "skipped", pending = "skipped", todo = "skipped" }
  for _, file in ipairs(report.testResults) do
    local path = file.name:sub(#uv.fs_realpath(dir) + 2)
    for _, one in ipairs(file.assertionResults) do
      local titles = { path, table.unpack(one.ancestorTitles) }
      titles[#titles + 1] = one.title
      local id = table.concat(titles, " > ")
      states[states[id] and id .. " #2" or id] = words[one.status]
    end
  end
  return states
end

--- A file outside of the project, named by LOG to what is started from here; undone by `reset`.
---@return string path
function M.log()
  local path = project.new() .. "/log"
  uv.os_setenv("LOG", path)
  return path
end

function M.reset()
  uv.os_unsetenv("LOG")
  project.remove_all()
end

--- The lines of a file.
---@return string[]
function M.lines(path)
  local list = {}
  for line in (project.read(path) or ""):gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

--- Processes that run in a folder.
---@return string[]
---@async
function M.left_running(dir)
  local found = {}
  for _, name in ipairs(names_in("/proc")) do
    local cwd = name:find("^%d+$") and uv.fs_readlink("/proc/" .. name .. "/cwd")
    if cwd and cwd:sub(1, #dir) == dir then found[#found + 1] = project.read("/proc/" .. name .. "/cmdline") end
  end
  return found
end

return M
