--- ProxyJump: a byte stream to a host that only another one reaches, by `ssh -W` on one end of a socket pair.

local uv = require("luv")
local errors = require("runner.base.errors")
local task = require("runner.base.task")

local M = {}

local TAIL = 2048 -- of what ssh says
local GRACE = 2 -- s for ssh to end when told to

--- "user@host:port" → what ssh takes as its destination.
local function destination(hop)
  return hop:find("^ssh://") and hop or "ssh://" .. hop
end

--- Starts the jump. The caller owns `fd`, and after `close` calls `reap`, after which all that ssh said is known.
---@param target runner.ssh.Target with `proxy_jump`, several hops separated by commas
---@param config_file string?
---@return { fd: integer, close: fun(), reap: async fun(), said: fun(): string } jump `said`: what ssh complained about
function M.start(target, config_file)
  local hops = {}
  for hop in target.proxy_jump:gmatch("[^,%s]+") do hops[#hops + 1] = hop end
  local last = table.remove(hops)
  local args = { "-T", "-o", "BatchMode=yes", "-o", "ControlPath=none", "-o",
    "ClearAllForwardings=yes",
    "-o", "ConnectTimeout=" .. math.ceil(target.connect_timeout) }
  -- ClearAllForwardings would clear -W too if it came after it.
  local function add(flag, value)
    if value then table.move({ flag, value }, 1, 2, #args + 1, args) end
  end
  add("-F", config_file)
  add("-J", #hops > 0 and table.concat(hops, ",") or nil)
  add("-W", ("[%s]:%d"):format(target.hostname, target.port))
  add("--", destination(last))

  local pair = assert(uv.socketpair("stream", nil, { nonblock = true }, { nonblock = false }))
  local stderr = uv.new_pipe(false)
  local said = ""
  local process, pid
  local gone, silent = task.event(), task.event()
  process, pid = uv.spawn("ssh", {
    args = args, stdio = { pair[2], pair[2], stderr }, detached = true,
  }, function()
    process:close()
    gone:set(true)
  end)
  uv.fs_close(pair[2])
  if not process then
    stderr:close()
    uv.fs_close(pair[1])
    errors.raise("transport", ("cannot start ssh, which %s needs for its ProxyJump: "
      .. "%s"):format(target.where,
      pid), { host = target.where, code = "EUNSUPPORTED" })
  end
  stderr:read_start(function(_, bytes)
    if bytes then
      said = (said .. bytes):sub(-TAIL)
    else
      stderr:close()
      silent:set(true)
    end
  end)
  return {
    fd = pair[1],
    said = function() return (said:gsub("%s+$", "")) end,
    close = function()
      if not process:is_closing() then process:kill("sigterm") end
    end,
    reap = function()
      task.shield(function()
        if not task.deadline(GRACE, function() gone:wait() end) then
          if not process:is_closing() then process:kill("sigkill") end
          gone:wait()
        end
        -- A process of its own (ProxyCommand) may have its stderr for longer.
        task.deadline(GRACE, function() silent:wait() end)
        if not stderr:is_closing() then stderr:close() end
        silent:set(true)
      end)
    end,
  }
end

return M
