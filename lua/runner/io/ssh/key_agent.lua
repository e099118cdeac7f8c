--- A client of the SSH key agent (ssh-agent): lists its keys and has it sign. Non-blocking, where libssh2's own waits.
--- The protocol is draft-miller-ssh-agent: u32 length, u8 type, payload.

local uv = require("luv")
local fingerprint = require("runner.io.ssh.fingerprint")
local task = require("runner.base.task")

local M = {}

local REQUEST_IDENTITIES, IDENTITIES, SIGN_REQUEST, SIGNATURE = 11, 12, 13, 14
local LIMIT = 256 * 1024 -- as in ssh-agent
local TIMEOUT = 10 -- s; a sign request may wait for a person's confirmation, but not for ever

---@class runner.ssh.KeyAgent
---@field package pipe userdata
local Agent = {}
Agent.__index = Agent
Agent.__name = "runner.io.ssh.key_agent"

--- One request and its answer.
local function ask(self, request)
  local ok, kind, payload = task.deadline(TIMEOUT, function()
    return task.await(function(resume)
      local data = ""
      self.pipe:read_start(function(err, bytes)
        if not bytes then return resume(nil, err or "it closed the connection") end
        data = data .. bytes
        if #data < 5 then return end
        local length = (">I4"):unpack(data)
        if length < 1 or length > LIMIT then return resume(nil, "it sent nonsense") end
        if #data < 4 + length then return end
        self.pipe:read_stop()
        resume(data:byte(5), data:sub(6, 4 + length))
      end)
      self.pipe:write((">s4"):pack(request))
      return function() self.pipe:read_stop() end
    end)
  end)
  if not ok then return nil, "it does not answer" end
  return kind, payload
end

--- Connects to the agent's socket.
---@param path string
---@return runner.ssh.KeyAgent?
---@return string? message
---@async
function M.open(path)
  local pipe = uv.new_pipe(false)
  local ok, err = pcall(task.await, function(resume)
    pipe:connect(path, function(connect_error) resume(connect_error) end)
  end)
  if ok and not err then return setmetatable({ pipe = pipe }, Agent) end
  pipe:close()
  if not ok then error(err, 0) end
  return nil, err
end

--- The keys it holds, in its order.
---@return { public: string, comment: string, type: string }[]?
---@return string? message
---@async
function Agent:identities()
  local kind, payload = ask(self, string.char(REQUEST_IDENTITIES))
  if kind ~= IDENTITIES then return nil, kind and "it refused to list its keys" or payload end
  local list = {}
  local ok = pcall(function()
    local count, at = (">I4"):unpack(payload)
    for i = 1, count do
      local public, comment
      public, comment, at = (">s4s4"):unpack(payload, at)
      list[i] = { public = public, comment = comment, type = fingerprint.type(public) or "?" }
    end
  end)
  if not ok then return nil, "it sent nonsense" end
  return list
end

-- Which hash an RSA key is to sign with, by the algorithm that the request names.
local sign_flags = { ["rsa-sha2-256"] = 2, ["rsa-sha2-512"] = 4 }

--- Signs an authentication request. → the signature without its type
---@param public string
---@param data string
---@return string? signature
---@return string? message
---@async
function Agent:sign(public, data)
  -- session id, u8 50, user, service, "publickey", true, algorithm
  local ok, _, _, _, _, _, algorithm = pcall(string.unpack, ">s4Bs4s4s4xs4", data)
  local flags = ok and sign_flags[algorithm] or 0
  local kind, payload = ask(self, (">Bs4s4I4"):pack(SIGN_REQUEST, public, data, flags))
  if kind ~= SIGNATURE then return nil, kind and "it refused to sign" or payload end
  local parsed, blob = pcall(string.unpack, ">s4", payload)
  local fine, _, signature = pcall(string.unpack, ">s4s4", parsed and blob or "")
  if not fine then return nil, "it sent nonsense" end
  return signature
end

function Agent:close()
  if not self.pipe:is_closing() then self.pipe:close() end
end

Agent.__close = Agent.close

return M
