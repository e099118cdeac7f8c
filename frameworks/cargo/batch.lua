--- Several tests of one binary in one process, one after the other: what they set up once is shared, and nothing
--- protects them from each other but the process' end.

local batch = require("runner.worker.batch")
local process = require("frameworks.cargo.worker")
local stream = require("frameworks.cargo.reader")
local result = require("frameworks.cargo.result")

local M = {}

--- The result of a test that failed in company.
---@param item runner.Item
---@param said string
---@param section string?
---@return table result
local function judge(item, said, section)
  local why = result.failure(item.test.name, section, said)
  return { status = "failed", message = why.message, type = why.type, trace = why.trace }
end

---@param session cargo.Session
---@param slot runner.Slot
---@param report table
---@return table worker
function M.worker(session, slot, report)
  local function alone(test)
    return session:target(test).harness ~= "libtest" -- only libtest is known to take several names
  end
  return batch.worker(session.ctx, slot, report, {
    streams = true,
    fits = function(items, item)
      local first, other = items[1].test, item.test
      return first.binary == other.binary and first.runs_ignored == other.runs_ignored and not alone(first)
    end,
    command = function(items)
      local target = session:target(items[1].test)
      local words_of = process.arguments(target.harness, items[1].test.name, target.ignored)
      if target.harness == "libtest" then
        words_of = { "--exact", "--nocapture", "--test-threads=1", target.ignored and "--ignored" or nil }
        for _, item in ipairs(items) do words_of[#words_of + 1] = item.test.name end
      end
      return {
        argv = { target.binary.program, table.unpack(words_of) }, cwd = target.binary.cwd, env = target.binary.env,
        merge = true, -- else nobody could say which test was running when a line of stderr was written
      }
    end,
    reader = function(items, sink)
      local target = session:target(items[1].test)
      local reader = stream.reader(items, sink, { judge = judge })
      if target.harness == "libtest" then return reader end
      return {
        output = function(name, bytes) sink.output(items[1], name, bytes) end,
        explain = function(exit, tail) return process.result(target.harness, items[1].test.name, exit, tail, tail) end,
      }
    end,
  })
end

return M
