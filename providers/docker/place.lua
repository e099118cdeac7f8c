--- What the core gets of a container: the stream to its agent, other processes, its end.

local task = require("runner.base.task")

---@class docker.Place
---@field package container docker.Container
---@field package host table engine, image and agent
---@field package options table of the provider
local Place = {}
Place.__index = Place
Place.__name = "docker.place"

local M = {}

---@param fields { container: docker.Container, host: table, options: table, lock: runner.Lock?, forget: fun()?,
---  labels: table, log: function, cwd: string?, sees_project: boolean, id: string }
---@return docker.Place
function M.new(fields)
  local self = setmetatable(fields, Place)
  local options = fields.options
  self.env, self.shell, self.slots = options.env, options.shell, options.slots or 1
  self.describe = ("container %s on %s"):format(self.container.name, self.container.engine.address)
  self.shell_command = self.container:shell_command()
  --- Another process in the container, beside the agent.
  self.connect = function(argv)
    self:run_container()
    return self.container:exec(argv, { cwd = self.cwd, user = options.user })
  end
  return self
end

--- Starts the container, once.
---@async
function Place:run_container()
  if not self.started then
    self.started = task.event()
    local host = self.host
    local ok, err = pcall(function()
      host.agent:ensure(host.engine, host.image, self.container.id, self.labels)
      return self.container:start()
    end)
    if ok then self.stream = err else self.failure = err end
    self.started:set()
  else
    self.started:wait()
  end
  if self.failure then error(self.failure, 0) end
end

--- The stream to an agent: the first is the container's main process, others are started beside it.
---@return docker.Stream
---@async
function Place:connect_agent()
  if self.given then return self.connect({ self.host.agent.path }) end
  self:run_container()
  self.given = true
  return self.stream
end

--- Why the container is gone or never worked.
---@return string?
---@async
function Place:explain()
  if not self.stream then return nil end
  self.explained = true
  return self.container:explain(self.options.memory)
end

--- Says when the kernel killed tests in a container that lives on: the tests themselves only look crashed.
local function tell_lack_of_memory(self)
  if not self.options.memory or self.explained or not self.stream then return end
  local ok, events = pcall(self.container.history, self.container)
  task.checkpoint()
  for _, event in ipairs(ok and events or {}) do
    if event.action == "oom" then -- one kill may be noted several times: their number says nothing
      self.log("warning", "%s: the kernel killed something for want of memory (limit %d MiB)",
        self.id, self.options.memory >> 20)
      return
    end
  end
end

--- Removes the container, or leaves it stopped for the next run.
---@async
function Place:close()
  if self.closed then return end
  self.closed = true
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    if self.stream then self.stream:close() end
    if self.lock then self.lock:close() end
  end })
  if self.options.reuse and self.stream and not self.explained then
    self.container:wait()
  else
    self.container:remove()
    if self.forget then self.forget() end
  end
  tell_lack_of_memory(self) -- after that, for the engine notes events a moment late
end

return M
