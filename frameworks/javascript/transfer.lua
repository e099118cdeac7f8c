--- Our JavaScript: what of it a framework needs, and how it gets into a sandbox.

local cjson = require("cjson.safe")
local host = require("runner.core.host")
local task = require("runner.base.task")

local M = {}

local SHARED = { "main.cjs", "channel.cjs", "capture.cjs", "names.cjs", "folder.cjs", "locate.cjs", "reads.cjs" }
local OWN = {
  vitest = { "vitest.cjs", "vitest_setup.mjs" },
  jest = { "jest.cjs" },
  mocha = { "mocha.cjs" },
}

--- Where files do not last from one command to the next, each command brings them: this process writes them, waits for
--- the one that uses them, removes them, and ends as that did.
local BRING = [[
const fs = require('fs'), path = require('path'), [files, ...argv] = process.argv.slice(1)
const folder = fs.mkdtempSync(path.join(require('os').tmpdir(), 'runner-'))
for (const [name, text] of Object.entries(JSON.parse(files))) fs.writeFileSync(path.join(folder, name), text)
process.on('SIGTERM', () => {})
const main = path.join(folder, 'main.cjs')
const child = require('child_process').spawn(process.execPath, [main, ...argv], { stdio: 'inherit' })
child.on('exit', (code, signal) => {
  fs.rmSync(folder, { recursive: true, force: true })
  if (!signal) process.exit(code)
  process.removeAllListeners('SIGTERM')
  process.kill(process.pid, signal)
})
]]

local function names(framework)
  local list = table.move(SHARED, 1, #SHARED, 1, {})
  return table.move(OWN[framework], 1, #OWN[framework], #list + 1, list)
end

local function source(name)
  return host.resource("frameworks/javascript/worker/" .. name)
end

--- Writes the files into a folder of the sandbox, in one round trip.
---@param ctx table of the framework
---@param framework string
---@param folder string
---@async
function M.put(ctx, framework, folder)
  task.scope(function(scope)
    for _, name in ipairs(names(framework)) do scope:spawn(ctx.put, folder .. "/" .. name, source(name)) end
  end)
end

--- Arguments for Node that bring the files along: `node …, FRAMEWORK, …`.
---@param framework string
---@return string[]
function M.carried(framework)
  local files = {}
  for _, name in ipairs(names(framework)) do
    -- Comments are for those who read the files where they are.
    files[name] = (source(name):gsub("%f[^\n\0][ ]*//[^\n]*\n", ""):gsub("\n%s+", "\n"))
  end
  return { "-e", BRING, assert(cjson.encode(files)) }
end

return M
