--- vitest, jest and mocha where no agent can run: one command for each batch, which brings our scripts along and tells
--- on its standard output, in marked lines, what it would tell over a control channel.

local cjson = require("cjson.safe")
local batch = require("runner.worker.batch")
local call = require("runner.agent.call")
local channel = require("runner.worker.channel")
local errors = require("runner.base.errors")
local discovery = require("frameworks.javascript.discovery")
local marker = require("runner.base.marker")
local process = require("frameworks.javascript.command")
local transfer = require("frameworks.javascript.transfer")
local unit = require("runner.worker.file_run")

local M = {}

local LIST_TIMEOUT_S = 1800
local TAIL = 64 * 1024
local REQUEST_BYTES = 24 * 1024 -- of one command, beside the scripts

local function command(self, place, requests, border)
  local options = self.options
  local argv = process.node(options)
  local function add(...) for _, argument in ipairs({ ... }) do argv[#argv + 1] = argument end end
  add(table.unpack(transfer.carried(self.name)))
  add(self.name, process.about(options, place), assert(cjson.encode({ border = border, requests = requests })))
  return { argv = argv, env = process.environment(options), cwd = process.folder(options, self.ctx) }
end

--- The border, never whole in the command line: some shells print that.
local function new_border()
  local first, second = marker.half(), marker.half()
  return first .. second, { first, second }
end

local function discover(self)
  local whole, border = new_border()
  local found, text, fatal = discovery.new(), {}, nil
  local spec = command(self, { workers = 1 }, { { list = { skip = {} } }, { close = true } }, border)
  spec.timeout = self.options.list_timeout or LIST_TIMEOUT_S
  local called = call.run(self.ctx, spec)
  local read = channel.bordered(whole, function(message)
    fatal = fatal or message.fatal
    found:take(message)
  end, function(bytes) text[#text + 1] = bytes end)
  read(called.stdout)
  local exit = called.exit
  if exit.kind == "lost" then errors.raise("transport", exit.message or "the sandbox was lost") end
  if called.too_much or exit.timed_out then call.check(called, "listing the tests by " .. self.name) end
  if not found.done then
    local said = table.concat(text):sub(-TAIL) .. called.stderr
    errors.raise("config", process.diagnose(self.ctx, self.name, self.options, exit, fatal, said))
  end
  found:check()
  return discovery.tests(found, self.options.working_dir)
end

-- One batch ---------------------------------------------------------------------------------------------------------

--- Items of each file, in the order of the batch.
local function by_unit(items)
  local units, index = {}, {}
  for _, item in ipairs(items) do
    local list = index[item.test.unit]
    if not list then
      list = {}
      index[item.test.unit] = list
      units[#units + 1] = list
    end
    list[#list + 1] = item
  end
  return units
end

local function reader(self, border, items, sink)
  local units, tokens, fatal = by_unit(items), 0, nil
  for i, list in ipairs(units) do
    units[i] = unit.new(list, sink)
    for _, item in ipairs(list) do
      tokens = tokens + 1
      units[i].by_token[tokens] = item
    end
  end
  local at = 1 -- the unit that runs
  local on = {}
  function on.ran(message)
    local run, death = units[at], message.died
    if not run or message.ran ~= at then return end
    if death then
      run:died(function(where) return unit.crash(death, where) end)
    else
      run:ended(message)
    end
    at = at + 1
  end
  function on.fatal(message) fatal = message.fatal end
  function on.set_up(message)
    local error = message.set_up.error
    for _, item in ipairs(error and items or {}) do
      sink.finished(item, {
        status = "failed", trace = error.trace, message = "the global setup failed: " .. error.message,
      })
    end
  end
  local said = ""
  local function output(stream, bytes)
    said = (said .. bytes):sub(-TAIL)
    local item = units[at] and units[at]:current()
    if item then sink.output(item, stream, bytes) end
  end
  local read = channel.bordered(border, function(message)
    for kind in pairs(message) do
      if on[kind] then return on[kind](message) end
      if units[at] then units[at]:take(kind, message) end
    end
  end, function(bytes) output("stdout", bytes) end)
  return {
    output = function(stream, bytes)
      if stream == "stdout" then read(bytes) else output(stream, bytes) end
    end,
    suspects = function() return units[at] and units[at].ledger:running() or {} end,
    tail = function() return said end,
    explain = function(exit)
      if fatal then
        return { status = "failed", message = process.diagnose(self.ctx, self.name, self.options, exit, fatal, said) }
      elseif exit.kind ~= "exited" and exit.kind ~= "signaled" or exit.timed_out then
        return nil
      end
      local runs = units[at] and #units[at].ledger:running() > 0
      return unit.crash({ code = exit.code, signal = exit.signal, trace = said },
        runs and "this test ran" or "it loaded the file, or ran what surrounds its tests")
    end,
  }
end

local function worker(self, slot, report)
  local borders = setmetatable({}, { __mode = "k" })
  local function border_of(items)
    borders[items] = borders[items] or table.pack(new_border())
    return borders[items]
  end
  return batch.worker(self.ctx, slot, report, {
    streams = true,
    fits = function(items, item)
      local bytes = #item.test.key + #item.id
      for _, one in ipairs(items) do bytes = bytes + #one.test.key + #one.id + 40 end
      return bytes < REQUEST_BYTES
    end,
    reader = function(items, sink) return reader(self, border_of(items)[1], items, sink) end,
    command = function(items)
      local requests = { { slot = { worker = slot.index, stride = self.ctx.settings.max_parallel or 1 } } }
      if items[1].test.needs_setup then requests[2] = { set_up = true } end
      local tokens = 0
      for number, list in ipairs(by_unit(items)) do
        local request = discovery.request(list, function()
          tokens = tokens + 1
          return tokens
        end)
        request.unit = number
        requests[#requests + 1] = { run = request }
      end
      requests[#requests + 1] = { close = true }
      return command(self, { workers = 1, slot = true }, requests, border_of(items)[2])
    end,
  })
end

---@param name string
---@param options table
---@param ctx table
---@return table session
function M.open(name, options, ctx)
  local self = { name = name, options = options, ctx = ctx }
  function self.discover() return discover(self) end
  function self.worker(_, slot, report) return worker(self, slot, report) end
  function self.close() end
  return self
end

return M
