--- Tests of binaries that cargo builds: built once in each sandbox, or once on this machine for those that cannot see
--- it; listed; run one process each, or several in one.

local uv = require("luv")
local client = require("runner.agent.client")
local build = require("frameworks.cargo.build")
local call = require("runner.agent.call")
local command = require("frameworks.cargo.command")
local errors = require("runner.base.errors")
local discovery = require("frameworks.cargo.discovery")
local worker = require("frameworks.cargo.worker")
local transfer = require("frameworks.cargo.transfer")
local task = require("runner.base.task")
local batch = require("frameworks.cargo.batch")

local M = {}

--- What builds on this machine, by the options of the group: once for all of its sandboxes.
local builds_here = setmetatable({}, { __mode = "k" })

--- A command on this machine instead of in the sandbox; an agent sees to it that nothing of it is left when it is
--- broken off.
local function run_here(ctx, spec)
  local stream = ctx.process.stream({ uv.exepath(), "agent" })
  local here = client.connect(stream, { run_id = ctx.run_id })
  local ok, called = pcall(call.run, { spawn = function(what) return here:spawn(what) end }, spec)
  task.shield(function()
    task.await(function(resume) here:close(resume) end)
    stream:reap()
  end)
  if not ok then error(called, 0) end
  return called
end

--- One build on this machine, and what of it has to be sent.
local function build_here(options, ctx)
  local built, problems = build.build(options, function(spec)
    local env = {}
    for _, variables in ipairs({ ctx.env, spec.env or {} }) do
      for name, value in pairs(variables) do env[name] = value end
    end
    spec.cwd, spec.env = command.folder(ctx.settings.working_dir, options), env
    return run_here(ctx, spec)
  end)
  return built, problems, built and #built.binaries > 0 and transfer.pack(built) or nil
end

local function build_there(options, ctx)
  local cwd = command.folder(ctx.sandbox.cwd, options)
  return build.build(options, function(spec)
    spec.cwd = cwd
    return call.run(ctx, spec)
  end, ctx)
end

---@class cargo.Session
---@field ctx table
---@field options table
---@field build async fun(self: cargo.Session): cargo.Binary[]?, table[] once
---@field binaries table<string, cargo.Binary> by id, as they are in this sandbox
local Session = {}
Session.__index = Session

--- The binaries of this sandbox.
---@param self cargo.Session
---@return cargo.Binary[]? binaries nil: they do not compile
---@return table[] problems
---@async
local function bring(self)
  local options, ctx = self.options, self.ctx
  local binaries, problems
  if ctx.sandbox.project and options.build ~= "sandbox" then
    local built, luggage
    builds_here[options] = builds_here[options] or task.once(build_here)
    built, problems, luggage = builds_here[options](options, ctx)
    binaries = built and (luggage and transfer.send(ctx, built, luggage) or {})
  else
    local built
    built, problems = build_there(options, ctx)
    binaries = built and built.binaries
  end
  for _, binary in ipairs(binaries or {}) do self.binaries[binary.id] = binary end
  return binaries, problems
end

--- How a test is run here.
---@param test table
---@return { binary: cargo.Binary, harness: string, ignored: boolean }
function Session:target(test)
  -- Another machine's build may lack a binary (cfg!): starting it fails by this name.
  local binary = self.binaries[test.binary] or { program = "/not-built-in-this-sandbox/" .. test.binary, env = {} }
  return { binary = binary, harness = test.harness, ignored = test.runs_ignored }
end

local function add_tests(tests, binary, listing, options, warn)
  if listing.harness == "none" then
    warn("%s has a harness of its own that lists no tests: the whole binary is one test", binary.id)
    tests[#tests + 1] = {
      id = binary.id, name = binary.id, file = binary.file, tags = { binary.kind }, binary = binary.id,
      harness = "none",
    }
  end
  local seen = {}
  for _, name in ipairs(listing.names) do
    if not seen[name] then
      seen[name] = true
      local ignored = listing.ignored[name]
      tests[#tests + 1] = {
        id = ("%s$%s"):format(binary.id, name), name = name, file = binary.file, tags = { binary.kind },
        ignored = ignored and not options.include_ignored and "#[ignore]" or nil,
        binary = binary.id, harness = listing.harness, runs_ignored = ignored or false,
      }
    else
      warn("%s lists %s twice: it is one test", binary.id, name)
    end
  end
end

---@async
function Session:discover()
  local binaries, problems = self:build()
  if not binaries then return {}, problems end
  local listings
  listings, problems = discovery.all(self.ctx, binaries, self.options)
  local tests = {}
  local function warn(...) self.ctx.log("warning", ...) end
  for i, binary in ipairs(binaries) do
    if listings[i] then add_tests(tests, binary, listings[i], self.options, warn) end
  end
  return tests, problems
end

---@async
function Session:worker(slot, report)
  local binaries, problems = self:build()
  if not binaries then errors.raise("provider", problems[1].message) end
  local kind = self.options.isolation == "binary" and batch or worker
  return kind.worker(self, slot, report)
end

function Session:close() end

---@param options table of the framework
---@param ctx table
---@return cargo.Session
function M.open(options, ctx)
  return setmetatable({ options = options, ctx = ctx, binaries = {}, build = task.once(bring) }, Session)
end

return M
