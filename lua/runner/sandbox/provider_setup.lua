--- What providers do once a run: `prepare` before the first sandbox, for all of them to share, and `finish` at the end,
--- whatever happened.

local errors = require("runner.base.errors")
local plugin_context = require("runner.plugin.context")
local task = require("runner.base.task")

local M = {}

local FINISH_TIMEOUT_S = 300 -- a script of the user's may have a cloud to tidy up

---@class runner.Preparation
---@field package run runner.Run
---@field package entries table<table, { get: fun(): any, value: any }> by bound provider
local Preparation = {}
Preparation.__index = Preparation

---@param run runner.Run
---@return runner.Preparation
function M.new(run)
  return setmetatable({ run = run, entries = {}, order = {} }, Preparation)
end

local function context(run)
  return plugin_context.new({ run_id = run.id, dir = run.settings.dir, settings = run.settings, log = run.log })
end

--- What the provider's `prepare` returned. The first sandbox that asks prepares, the others wait for it. A failure is
--- raised to all who waited; who comes later tries again, unless the error says that this is no use.
---@param provider runner.Bound
---@return any
---@async
function Preparation:of(provider)
  local entry = self.entries[provider]
  if not entry then
    entry = {}
    entry.get = task.once(function()
      local prepare = provider.plugin.prepare
      entry.value = prepare and prepare(provider.options, context(self.run))
      return entry.value
    end, function(err) return errors.is(err) and err.context.permanent end)
    self.entries[provider] = entry
    self.order[#self.order + 1] = provider
  end
  return entry.get()
end

--- Calls `finish` of every provider that began to prepare. Bounded; what goes wrong is said, not raised.
---@async
function Preparation:finish()
  task.shield(function()
    for _, provider in ipairs(self.order) do
      local finish = provider.plugin.finish
      if finish then
        local entry = self.entries[provider]
        local ok, met, err = pcall(task.deadline, FINISH_TIMEOUT_S, function()
          finish(provider.options, context(self.run), entry.value)
        end)
        if not (ok and met) then
          local why = ok and err or met
          if not errors.is(why, "cancelled") then
            self.run.log("warning", "provider %s: finish: %s", provider.name, tostring(why))
          end
        end
      end
    end
  end)
end

return M
