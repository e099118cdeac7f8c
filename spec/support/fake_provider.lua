--- A provider whose sandboxes live in this process: its "agent" speaks the real protocol over an in-memory stream and
--- misbehaves on demand. What a command does is its first argument:
---   pass · fail · crash · flaky (fails on attempt 1) · hang (until it is killed)
--- Faults, each a probability: refuse (open fails) · drop (the link ends) · truncate (it ends inside a frame) · garbage
--- (bytes that are no frame) · duplicate (a frame comes twice) · mute (nothing comes any more) · latency (seconds, most).

local uv = require("luv")
local errors = require("runner.errors")
local frame = require("runner.frame")
local plugin = require("runner.plugin")

local M = {}

local function chance(rng, probability)
  return probability and rng() < probability
end

--- The stream to one fake agent.
local function stream(faults, rng)
  local self = { queue = {}, lanes = {}, running = {}, decoder = frame.decoder(frame.to_agent) }
  local timer = uv.new_timer()

  local function finish(bytes, err)
    if self.over then return end
    self.over = true
    timer:close()
    if bytes then self.on_bytes(bytes) end
    self.on_bytes(nil, err)
  end

  local function deliver()
    if self.over then return end
    local frames = self.queue
    self.queue, self.armed = {}, false
    for _, bytes in ipairs(frames) do
      if self.mute then return end
      if chance(rng, faults.drop) then return finish() end
      if chance(rng, faults.truncate) then return finish(bytes:sub(1, math.max(1, #bytes // 2)), "reset") end
      if chance(rng, faults.garbage) then return finish(("\255"):rep(9)) end
      if chance(rng, faults.mute) then self.mute = true return end
      self.on_bytes(bytes)
      if self.over then return end
      if chance(rng, faults.duplicate) then self.on_bytes(bytes) end
      if self.over then return end
    end
  end

  local function send(name, id, fields)
    if self.over then return end
    self.queue[#self.queue + 1] = assert(frame.encode(frame.to_host, name, id, fields))
    if not self.armed then
      self.armed = true
      timer:start(math.floor(rng() * (faults.latency or 0) * 1000), 0, deliver)
    end
  end

  local start

  local function exit(command, kind, code, flags)
    self.running[command.id] = nil
    send("exit", command.id, { kind = kind, code = code, flags = flags or 0 })
    local lane = self.lanes[command.lane]
    if lane and lane[1] == command then
      table.remove(lane, 1)
      if lane[1] then start(lane[1]) end
    end
  end

  function start(command)
    self.running[command.id] = command
    send("started", command.id, { pid = command.id })
    local what = command.argv[1]
    send("out", command.id, { stream = frame.streams.stdout, bytes = what .. "\n" })
    if what == "hang" then return end
    local attempt
    for _, pair in ipairs(command.env) do attempt = attempt or pair:match("^RUNNER_ATTEMPT=(%d+)$") end
    if what == "crash" then return exit(command, 1, 11) end
    exit(command, 0, (what == "fail" or what == "flaky" and attempt == "1") and 1 or 0)
  end

  local handlers = {}
  function handlers.spawn(command)
    if command.lane == 0 then return start(command) end
    local lane = self.lanes[command.lane] or {}
    self.lanes[command.lane] = lane
    lane[#lane + 1] = command
    if #lane == 1 then start(command) end
  end
  function handlers.kill(request)
    local command = self.running[request.id]
    if command then
      if request.grace_ms ~= 0xFFFFFFFF then exit(command, 1, 15, frame.exit_flags.killed) end
      return
    end
    for _, lane in pairs(self.lanes) do
      for i, waiting in ipairs(lane) do
        if waiting.id == request.id then
          table.remove(lane, i)
          return send("exit", request.id, { kind = 3 })
        end
      end
    end
  end
  function handlers.ping(request) send("pong", request.id) end

  function self:start(on_bytes)
    self.on_bytes = on_bytes
    send("hello", 0, { version = frame.VERSION, arch = "fake", cpus = 2, hostname = "fake", cwd = "/" })
  end
  function self:write(bytes)
    if self.over then return end
    assert(self.decoder:feed(bytes, function(request)
      local handler = handlers[request.type]
      if handler then handler(request) end
    end))
  end
  function self:shutdown() finish() end
  function self:close()
    if not self.over then
      self.over = true
      timer:close()
    end
  end

  return self
end

--- A bound provider.
---@param faults table see above
---@param rng fun(): number in [0, 1)
---@param slots integer of each sandbox
function M.new(faults, rng, slots)
  return plugin.provider({
    name = "fake",
    api = 1,
    options = {},
    slots = function() return slots end,
    open = function()
      if chance(rng, faults.refuse) then errors.raise("provider", "refused") end
      return {
        agent = "host", sees_project = true, cwd = "/", slots = slots,
        connect = function() return stream(faults, rng) end,
        close = function() end,
      }
    end,
  })({})
end

return M
