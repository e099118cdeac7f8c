--- What can be known of a private key file without its passphrase: its type, its public half, whether it is encrypted.

local uv = require("luv")
local base64 = require("runner.base.base64")
local fingerprint = require("runner.io.ssh.fingerprint")

local M = {}

---@class runner.ssh.KeyFile
---@field path string
---@field type string? "ssh-ed25519"; nil: cannot be told
---@field public string? the public key as it is on the wire
---@field encrypted boolean
---@field certificate boolean a certificate lies beside it

local function read(path)
  local file, message, number = io.open(path, "rb")
  if not file then return nil, message, number end
  local text, read_error = file:read(1 << 16)
  file:close()
  if not text then return nil, read_error or "the file is empty" end
  return text
end

local function public_beside(path)
  local text = read(path .. ".pub")
  local body = text and text:match("^%S+%s+(%S+)")
  return body and base64.decode(body)
end

-- The header words of the older formats.
local pem_types = {
  ["RSA PRIVATE KEY"] = "ssh-rsa", ["EC PRIVATE KEY"] = "ecdsa", ["DSA PRIVATE KEY"] = "ssh-dss",
}

--- OpenSSH's own format: magic, cipher, kdf, kdf options, the number of keys, the public key, and then what is secret.
local function openssh_format(body)
  local bytes = base64.decode(body)
  if not bytes then return nil end
  local ok, cipher, _, _, count, public =
    pcall(string.unpack, ">xxxxxxxxxxxxxxxs4s4s4I4s4", bytes)
  if not ok or bytes:sub(1, 15) ~= "openssh-key-v1\0" or count ~= 1 then return nil end
  return public, cipher ~= "none"
end

--- Reads the outside of a private key file.
---@param path string
---@return runner.ssh.KeyFile? nil when it cannot be used
---@return string? message
---@return "EKEYMISSING"|"EKEYPERM"|"EKEYFILE"? code
function M.inspect(path)
  local stat, message, name = uv.fs_stat(path)
  if not stat then
    return nil, message, name == "ENOENT" and "EKEYMISSING" or "EKEYFILE"
  end
  local private = path:match("^(.+)%.pub$")
  if private then return nil, ("%s is a public key: name %s"):format(path, private), "EKEYFILE" end
  if stat.uid == uv.getuid() and stat.mode & 63 ~= 0 then -- 077, the rule of OpenSSH
    return nil, ("%s may be read by others (its mode is %04o)"):format(path, stat.mode & 511),
      "EKEYPERM"
  end
  local text, read_message, number = read(path)
  if not text then return nil, read_message, number == 13 and "EKEYPERM" or "EKEYFILE" end
  local kind, body = text:match("%-%-%-%-%-BEGIN ([%u ]+)%-%-%-%-%-\r?\n(.-)%-%-%-%-%-END")
  if not kind then return nil, path .. " holds no private key", "EKEYFILE" end
  local key = { path = path, encrypted = kind == "ENCRYPTED PRIVATE KEY" }
  key.certificate = uv.fs_stat(path .. "-cert.pub") ~= nil
  if kind == "OPENSSH PRIVATE KEY" then
    key.public, key.encrypted = openssh_format((body:gsub("%s", "")))
    if not key.public then return nil, path .. " holds no private key that OpenSSH made",
      "EKEYFILE" end
  else
    key.encrypted = key.encrypted or body:find("ENCRYPTED", 1, true) ~= nil
    key.public = public_beside(path)
  end
  key.type = key.public and fingerprint.type(key.public) or pem_types[kind]
  return key
end

return M
