--- The known_hosts files: which keys a host may have, and whether the key it showed is one of them. The format is that
--- of sshd(8).

local base64 = require("runner.base.base64")
local core = require("runner.core.ssh")
local errors = require("runner.base.errors")
local fingerprint = require("runner.io.ssh.fingerprint")

local M = {}

---@class runner.ssh.KnownKey
---@field type string "ssh-ed25519"
---@field key string as on the wire
---@field marker "@revoked"|"@cert-authority"|nil
---@field file string
---@field line integer

--- One pattern of a plain host list: "*" and "?" are wild.
local function wild_match(pattern, name)
  pattern = pattern:lower():gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
  return name:find("^" .. pattern .. "$") ~= nil
end

local function names_match(names, name)
  if names:sub(1, 1) == "|" then return core.matches_hashed(names, name) end
  local found = false
  for pattern in names:gmatch("[^,]+") do
    local negated, rest = pattern:match("^(!?)(.*)$")
    if wild_match(rest, name) then
      if negated ~= "" then return false end
      found = true
    end
  end
  return found
end

--- All keys that the files know for a host. Files that do not exist know none.
---@param files string[]
---@param name string "host" or "[host]:port", lower case
---@return runner.ssh.KnownKey[]
function M.lookup(files, name)
  local known = {}
  for _, path in ipairs(files) do
    local file = io.open(path, "r")
    local number = 0
    for line in file and file:lines() or function() end do
      number = number + 1
      local marker, rest = line:match("^%s*(@%S+)%s+(.*)$")
      local names, kind, body = (rest or line):match("^%s*([^#%s]%S*)%s+(%S+)%s+(%S+)")
      local key = body and names_match(names, name) and base64.decode(body)
      if key then
        known[#known + 1] = { type = kind, key = key, marker = marker, file = path, line = number }
      end
    end
    if file then file:close() end
  end
  return known
end

-- Best first; RSA's are names of signatures, the type of the key is ssh-rsa for all of them.
local PREFERENCE = {
  "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
  "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa",
}

--- The host key algorithms to ask for, those whose keys are known first: else a host that has several keys shows one
--- that nobody knows.
---@param known runner.ssh.KnownKey[]
---@return string[] algorithms
---@return boolean usable false: the host is known, but by no key that libssh2 can check
function M.algorithms(known)
  local types, any = {}, false
  for _, entry in ipairs(known) do
    if not entry.marker then types[entry.type], any = true, true end
  end
  local first, rest, usable = {}, {}, false
  for _, algorithm in ipairs(PREFERENCE) do
    local rsa = algorithm:find("rsa", 1, true) ~= nil
    local is_known = types[rsa and "ssh-rsa" or algorithm]
    usable = usable or is_known and (not rsa or core.rsa_sha2)
    table.insert(is_known and first or rest, algorithm)
  end
  return table.move(rest, 1, #rest, #first + 1, first), usable or not any
end

local function verdict(known, key)
  local kind = fingerprint.type(key)
  local other, authority
  for _, entry in ipairs(known) do
    local same = entry.key == key
    if entry.marker == "@revoked" then
      if same then return "revoked", entry end
    elseif entry.marker == "@cert-authority" then
      authority = entry
    elseif not entry.marker then
      if same then return "known", entry end
      if not other or other.type ~= kind and entry.type == kind then other = entry end
    end
  end
  if other then return "changed", other end
  if authority then return "authority", authority end
  return "unknown"
end

local function describe(key)
  return ("%s (%s)"):format(fingerprint.of(key), fingerprint.type(key) or "unknown type")
end

local function remember(target, key)
  local path = target.user_known_hosts[1]
  local file, message = io.open(path, "a")
  if not file then return message end
  file:write(("%s %s %s\n"):format(target.host_key_name, fingerprint.type(key), base64.encode(key)))
  file:close()
end

--- Is this the host we know? Raises an error of kind transport when it is not.
---@param target runner.ssh.Target
---@param known runner.ssh.KnownKey[]
---@param key string what the host showed
---@param log fun(level: string, format: string, ...)
function M.check(target, known, key, log)
  local result, entry = verdict(known, key)
  local function refuse(code, format, ...)
    errors.raise("transport", format:format(...), { host = target.where, code = code })
  end
  if result == "known" then return end
  if result == "revoked" then
    refuse("EHOSTKEYREVOKED", "the host key of %s is revoked by %s:%d: %s", target.where,
      entry.file,
      entry.line, describe(key))
  elseif result == "authority" then
    refuse("EUNSUPPORTED", "%s is known by a certificate authority (%s:%d), which libssh2 cannot "
      .. "check",
      target.where, entry.file, entry.line)
  elseif result == "changed" then
    refuse("EHOSTKEYCHANGED", "the host key of %s has changed: it showed %s, but %s:%d has %s. "
      .. "Somebody may be "
      .. "listening in. If the change is known to be right, remove the old key: ssh-keygen -f %s "
        .. "-R '%s'",
      target.where, describe(key), entry.file, entry.line, describe(entry.key), entry.file,
      target.host_key_name)
  elseif target.checking == "accept-new" then
    local message = remember(target, key)
    log("warn", "the host key of %s is new and was accepted: %s%s", target.where, describe(key),
      message and (" (it could not be stored: %s)"):format(message) or "")
  else
    refuse("EHOSTKEYUNKNOWN", "the host key of %s is not known: it showed %s. If that is right, "
      .. "add it to %s: "
      .. "ssh-keyscan -p %d %s >> %s", target.where, describe(key),
      target.user_known_hosts[1] or "~/.ssh/known_hosts", target.port, target.hostname,
      target.user_known_hosts[1] or "~/.ssh/known_hosts")
  end
end

return M
