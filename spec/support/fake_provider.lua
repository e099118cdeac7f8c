--- A provider whose sandboxes live in this process: its "agent" speaks the real protocol over an in-memory stream and
--- misbehaves on demand. What a command does is its first argument:
---   pass · fail · crash · flaky (fails on attempt 1) · hang (until it is killed)
--- Faults, each a probability: refuse (open fails) · drop (the link ends) · truncate (it ends inside a frame) ·
--- garbage (bytes that are no frame) · duplicate (a frame comes twice) · mute (nothing comes any more); and latency,
--- the most seconds that a frame takes.
--- on_spawn is called for each command before it starts.

local uv = require("luv")
local errors = require("runner.base.errors")
local frame = require("runner.agent.frame")
local plugin = require("runner.plugin")

local M = {}

local function chance(rng, probability)
  return probability and rng() < probability
end

--- The stream to one fake agent.
local function stream(faults, rng)
  local link = { queue = {}, lanes = {}, running = {}, decoder = frame.decoder(frame.to_agent) }
  local timer = uv.new_timer()

  local function finish(bytes, err)
    if link.over then return end
    link.over = true
    timer:close()
    if bytes then link.on_bytes(bytes) end
    link.on_bytes(nil, err)
  end

  local function deliver()
    if link.over then return end
    local frames = link.queue
    link.queue, link.armed = {}, false
    for _, bytes in ipairs(frames) do
      if link.mute then return end
      if chance(rng, faults.drop) then return finish() end
      if chance(rng, faults.truncate) then return finish(bytes:sub(1, math.max(1, #bytes // 2)), "reset") end
      if chance(rng, faults.garbage) then return finish(("\255"):rep(9)) end
      if chance(rng, faults.mute) then link.mute = true return end
      link.on_bytes(bytes)
      if link.over then return end
      if chance(rng, faults.duplicate) then link.on_bytes(bytes) end
      if link.over then return end
    end
  end

  local function send(name, id, fields)
    if link.over then return end
    link.queue[#link.queue + 1] = assert(frame.encode(frame.to_host, name, id, fields))
    if not link.armed then
      link.armed = true
      timer:start(math.floor(rng() * (faults.latency or 0) * 1000), 0, deliver)
    end
  end

  local start

  local function exit(command, kind, code, flags)
    link.running[command.id] = nil
    send("exit", command.id, { kind = kind, code = code, flags = flags or 0 })
    local lane = link.lanes[command.lane]
    if lane and lane[1] == command then
      table.remove(lane, 1)
      if lane[1] then start(lane[1]) end
    end
  end

  function start(command)
    link.running[command.id] = command
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
    if faults.on_spawn then faults.on_spawn() end
    if command.lane == 0 then return start(command) end
    local lane = link.lanes[command.lane] or {}
    link.lanes[command.lane] = lane
    lane[#lane + 1] = command
    if #lane == 1 then start(command) end
  end
  function handlers.kill(request)
    local command = link.running[request.id]
    if command then
      if request.grace_ms ~= frame.KILL_NEVER then exit(command, 1, 15, frame.exit_flags.killed) end
      return
    end
    for _, lane in pairs(link.lanes) do
      for i, waiting in ipairs(lane) do
        if waiting.id == request.id then
          table.remove(lane, i)
          return send("exit", request.id, { kind = 3 })
        end
      end
    end
  end
  function handlers.ping(request) send("pong", request.id) end

  function link:start(on_bytes)
    link.on_bytes = on_bytes
    send("hello", 0, { version = frame.VERSION, arch = "fake", cpus = 2, hostname = "fake", cwd = "/" })
  end
  function link:write(bytes)
    if link.over then return end
    assert(link.decoder:feed(bytes, function(request)
      local handler = handlers[request.type]
      if handler then handler(request) end
    end))
  end
  function link:shutdown() finish() end
  function link:close()
    if not link.over then
      link.over = true
      timer:close()
    end
  end

  return link
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
