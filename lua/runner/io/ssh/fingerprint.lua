--- What an SSH key is called: its type, and the SHA-256 fingerprint that OpenSSH prints.

local base64 = require("runner.base.base64")
local hash = require("runner.core.hash")

local M = {}

--- The type of a public key as it is on the wire.
---@param key string
---@return string? "ssh-ed25519"
function M.type(key)
  local ok, name = pcall(string.unpack, ">s4", key)
  return ok and name or nil
end

---@param key string as on the wire
---@return string "SHA256:…"
function M.of(key)
  return "SHA256:" .. (base64.encode(hash.sha256(key)):gsub("=+$", ""))
end

return M
