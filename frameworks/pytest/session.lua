--- The session of one sandbox and group: the pytest process that collects, and from which slots are forked.

local uv = require("luv")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local host = require("runner.core.host")
local command = require("frameworks.pytest.command")
local lines = require("frameworks.pytest.lines")
local protocol = require("frameworks.pytest.protocol")
local task = require("runner.base.task")
local text = require("runner.base.text")

local TAIL = 64 * 1024
local MODULES = {
  "__init__", "collect", "control", "coverage", "exits", "fork", "forkable", "item", "node", "output", "plugin",
  "results", "slot", "stacks", "terminal", "text", "zygote",
}
local PATIENCE_S = 25 -- for the end of the process, which may write a coverage report

local M = {}

---@class pytest.Session
---@field zygote runner.Command
---@field gone boolean? the zygote has ended
---@field templated boolean? the zygote has told what follows; from then on workers are processes of their own
---@field workerinput table? for workers that are no forks
---@field basetemp string?
---@field failed integer tests that failed, for pytest-cov's --no-cov-on-fail
local Session = {}
Session.__index = Session

local on_message = {}

function on_message.tests(self, message)
  for _, row in ipairs(message.tests) do
    self.tests[#self.tests + 1] = {
      id = row[1], nodeid = row[1], name = row[2],
      file = row[3] ~= "" and row[3] or nil, line = row[4] > 0 and row[4] or nil,
      tags = #row[5] > 0 and row[5] or nil,
    }
  end
end

function on_message.problem(self, message)
  local list = self.about and self.closing_problems or self.problems
  list[#list + 1] = message.problem
end

function on_message.log(self, message)
  self.ctx.log(message.log[1], "%s", message.log[2])
end

function on_message.ready(self, message)
  self.about = message.ready
  self.collected:set()
end

local function answer_waiting(self)
  local waiting = self.waiting
  self.waiting = {}
  for _, resume in ipairs(waiting) do resume() end
end

function on_message.workerinput(self, message)
  self.workerinput, self.basetemp = message.workerinput, message.basetemp
  self.templated = true
  if message.refused then
    self.ctx.log("warning", "%s: each worker collects for itself, in a process of its own",
      message.refused)
  end
  answer_waiting(self)
end

function on_message.coverage(self, message)
  if message.coverage ~= "" then self.ctx.log("info", "%s", message.coverage) end
  if message.short then
    self.closing_problems[#self.closing_problems + 1] =
      { kind = "teardown", message = "the test coverage that pytest-cov requires was not reached" }
  end
end

function on_message.bye(self)
  self.bye = true
end

--- Ends a collecting process that says what none of ours says: something that it imported has.
local function accuse(self, why)
  if self.accused or self.gone then return end
  self.accused = "what came over its control channel is nothing that it says: " .. why
  self.zygote:kill(0)
end

local function reader(self)
  return lines.reader(protocol.ZYGOTE, function(kind, message)
    if self.accused then return end
    if self.about and (kind == "tests" or kind == "ready") then return accuse(self, "more tests") end
    on_message[kind](self, message)
  end, function(why) accuse(self, why) end)
end

local function on_exit(self, exit)
  self.gone, self.exit = true, exit
  exit.message = self.accused or exit.message
  self.collected:set()
  self.ended:set()
  if not self.closing and self.about and exit.kind ~= "lost" then
    self.ctx.log("warning", "the collecting process %s: each further worker collects for itself",
      exit_text.verb(exit))
  end
  answer_waiting(self)
end

-- All files at once: one round trip.
local function put_package(ctx, folder)
  task.scope(function(scope)
    for _, name in ipairs(MODULES) do
      local source = host.resource(("frameworks/pytest/worker/%s.py"):format(name))
      scope:spawn(ctx.put, ("%s/%s/%s.py"):format(folder, command.PACKAGE, name), source)
    end
  end)
end

--- Starts to collect; does not wait for it.
---@param options table
---@param ctx table
---@return pytest.Session
---@async
function M.open(options, ctx)
  local self = setmetatable({
    options = options, ctx = ctx, tests = {}, problems = {}, closing_problems = {},
    collected = task.event(), ended = task.event(), waiting = {}, tail = "", failed = 0, peers = 0,
  }, Session)
  self.folder = ctx.tmpdir()
  put_package(ctx, self.folder)
  local read = reader(self)
  self.zygote = ctx.spawn({
    argv = command.argv(options, self.folder),
    env = command.environment(options),
    control = true,
    forkserver = true,
    on_output = function(_, stream, bytes)
      if stream == "control" then return read(bytes) end
      self.tail = (self.tail .. bytes):sub(-TAIL)
    end,
    on_exit = function(_, exit) on_exit(self, exit) end,
  })
  self.zygote:write(lines.encode({ zygote = true }))
  return self
end

--- Waits for the collection.
---@return table[] tests
---@return table[] problems
---@async
function Session:discover()
  self.collected:wait()
  if self.about then return self.tests, self.problems end
  local exit = self.exit
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  local kind, message = command.diagnose(self.options, exit, self.tail)
  if self.accused then kind, message = "collection", "the collecting process was ended: " .. self.accused end
  if kind == "config" then errors.raise("config", message) end
  self.problems[#self.problems + 1] = { kind = "collection", message = message, text = self.tail }
  return {}, self.problems
end

---@return boolean whether a slot may be asked of the zygote
function Session:can_fork()
  return not self.gone and not self.templated and not self.closing
end

--- Asks what a worker that is no fork has to know, `workerinput` and `basetemp`; calls back, perhaps at once, when it
--- is there or when the zygote cannot tell any more.
---@param resume fun()
function Session:with_template(resume)
  if self.templated or self.gone then return resume() end
  self.waiting[#self.waiting + 1] = resume
  if #self.waiting == 1 then self.zygote:write(lines.encode({ template = true })) end
end

--- What a worker process must know of itself. Its tag is told to it because a fork keeps the zygote's environment.
---@param slot runner.Slot
---@return table
function Session:describe_slot(slot)
  self.peers = self.peers + 1
  return {
    index = slot.index, count = self.ctx.settings.max_parallel, run = self.ctx.run_id,
    isolation = self.options.isolation == "test" and "test" or "worker",
    nonce = text.hex(uv.random(16)),
    tag = ("%s/%s/%d"):format(self.ctx.run_id, self.zygote.id, self.peers),
  }
end

--- Ends the zygote, whose session finishes and which combines coverage data.
---@return table[] problems
---@async
function Session:close()
  if self.gone then return self.closing_problems end
  self.closing = true
  if not self.about then -- it collects and does not listen; nobody wants to know any more
    self.zygote:kill(self.ctx.settings.grace)
    self.ended:wait()
    return self.closing_problems
  end
  self.zygote:write(lines.encode({ close = true, failed = self.failed }))
  local ok = task.deadline(PATIENCE_S, function() self.ended:wait() end)
  if not ok then self.zygote:kill(self.ctx.settings.grace) end
  if not self.bye then
    self.closing_problems[#self.closing_problems + 1] = {
      kind = "teardown", text = self.tail,
      message = "the collecting process "
        .. (ok and exit_text.verb(self.exit) .. " at its end" or "did not end"),
    }
  end
  return self.closing_problems
end

return M
