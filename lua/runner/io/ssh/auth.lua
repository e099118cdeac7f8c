--- Proves to the host who we are, with the keys that libssh2 can use: those of the key agent first, then key files, as
--- ssh does. What it cannot use is an error of code EUNSUPPORTED, for which another transport is the answer.

local core = require("runner.core.ssh")
local errors = require("runner.base.errors")
local key_agent = require("runner.io.ssh.key_agent")
local key_file = require("runner.io.ssh.key")

local M = {}

local PASSPHRASE_TRIES = 3

local function fail(target, code, format, ...)
  errors.raise("transport", format:format(...), { host = target.where, user = target.user,
    code = code })
end

--- Why libssh2 cannot use a key of this type; nil when it can.
---@param kind string?
---@return string?
local function unsupported(kind)
  if kind == "ssh-rsa" and not core.rsa_sha2 then
    return ("libssh2 %s cannot use RSA keys with today's OpenSSH (that needs libssh2 1.11)"):format(
      core.version)
  elseif kind and kind:find("^sk%-") then
    return "libssh2 cannot use hardware keys"
  elseif kind and kind:find("%-cert%-v01@") then
    return "libssh2 cannot use certificates"
  elseif kind == "ssh-dss" then
    return "DSA keys are no longer accepted"
  end
end

--- The key the caller named. Raises what is wrong with it, whatever the transport.
---@param path string
---@param target runner.ssh.Target
---@return runner.ssh.KeyFile
function M.explicit(path, target)
  local key, message, code = key_file.inspect(path)
  if key then return key end
  local format = "cannot log in to %s with key %s: %s"
  if code == "EKEYMISSING" then
    fail(target, code, "%s: there is no such key; name one with key_path",
      format:format(target.where, path,
      "no such file"))
  elseif code == "EKEYPERM" then
    fail(target, code, "%s; chmod 600 %s", format:format(target.where, path, message), path)
  end
  return fail(target, code, format, target.where, path, message)
end

--- Raises EUNSUPPORTED when libssh2 cannot use the key the caller named.
---@param key runner.ssh.KeyFile
---@param target runner.ssh.Target
function M.check_supported(key, target)
  local why = key.certificate and "libssh2 cannot use the certificate beside it"
    or unsupported(key.type)
  if why then fail(target, "EUNSUPPORTED", "key %s of %s: %s", key.path, target.where, why) end
end

--- Asks the caller for the passphrase of a key.
---@param key runner.ssh.KeyFile
---@param target runner.ssh.Target
---@param passphrase (fun(path: string, try: integer): string?)?
---@param try integer
---@return string
---@async
function M.passphrase(key, target, passphrase, try)
  local given = passphrase and passphrase(key.path, try)
  if given then return given end
  fail(target, "EPASSPHRASE", "key %s of %s needs its passphrase, and there is no terminal to "
    .. "ask on: "
    .. "add it to the key agent first: ssh-add %s", key.path, target.where, key.path)
end

-- Candidates: { name, public?, sign? } for a key of the agent, { name, file } for one on disk.

--- The keys of the agent, and why there are none.
local function agent_keys(agent)
  local list, message = agent:identities()
  if not list then return {}, ("the key agent cannot be used: %s"):format(message) end
  if #list == 0 then return {}, "the key agent holds no keys" end
  return list
end

--- Everything worth trying. → candidates, what was passed over and why, whether that could have worked elsewhere
local function candidates(target, explicit, agent)
  local list, notes, could = {}, {}, false
  local held = {}
  local identities, why = {}, target.agent and "" or "no key agent is running"
  if agent then identities, why = agent_keys(agent) end
  local files = {}
  if explicit then
    files[1] = explicit
  else
    for _, path in ipairs(target.identity_files) do
      local key, message, code = key_file.inspect(path)
      if key then
        files[#files + 1] = key
      elseif code ~= "EKEYMISSING" then
        notes[#notes + 1] = message
      end
    end
  end
  local wanted = {}
  for _, key in ipairs(files) do
    if key.public then wanted[key.public] = true end
  end
  for _, identity in ipairs(identities) do
    held[identity.public] = true
    local problem = unsupported(identity.type)
    local name = ("%s of the key agent"):format(identity.comment)
    local asked_for = not (explicit or target.identities_only) or wanted[identity.public]
    if asked_for and problem then
      notes[#notes + 1], could = ("%s: %s"):format(name, problem), true
    elseif asked_for then
      list[#list + 1] = { name = name, public = identity.public }
    end
  end
  for _, key in ipairs(files) do
    local problem = key.certificate and "libssh2 cannot use its certificate"
      or unsupported(key.type)
    if problem then
      notes[#notes + 1], could = ("%s: %s"):format(key.path, problem), true
    elseif not (key.public and held[key.public]) then
      list[#list + 1] = { name = key.path, file = key }
    end
  end
  if why and why ~= "" and not explicit then notes[#notes + 1] = why end
  return list, notes, could
end

local function try_agent(link, target, candidate, agent)
  local session = link.session
  local function step(signature)
    return link:call(function() return session:auth_key(target.user, candidate.public,
      signature) end)
  end
  local ok, message, code = step(nil)
  if code ~= "ESIGN" then return ok, message, code end
  local signature, why = agent:sign(candidate.public, session:to_sign())
  ok, message, code = step(signature or false)
  return ok, why or message, code
end

local function try_file(link, target, key, passphrase, timely)
  local tries = key.encrypted and PASSPHRASE_TRIES or 1
  for try = 1, tries do
    local words = ""
    if key.encrypted then words = M.passphrase(key, target, passphrase, try) end
    local ok, message, code = timely(function()
      return link:call(function() return link.session:auth_file(target.user, key.path, words) end)
    end)
    if code ~= "EKEYFILE" then return ok, message, code end
    if try == tries then
      if key.encrypted then
        fail(target, "EPASSPHRASE", "the passphrase of key %s is wrong (%d tries)", key.path, tries)
      end
      return ok, message, code
    end
  end
end

--- What the host takes: "publickey,password", or true when it wants nothing. Raises when keys are not among it.
local function methods_of(link, target, timely)
  local methods, message, code = timely(function()
    return link:call(function() return link.session:auth_methods(target.user) end)
  end)
  if not methods then fail(target, code, "%s", message) end
  if methods ~= true and not (","..methods..","):find(",publickey,", 1, true) then
    fail(target, "EUNSUPPORTED", "%s takes no keys from user %s, only: %s", target.where, target.user, methods)
  end
  return methods
end

--- Logs in. The caller's passphrase function is not under the time to connect: it may wait for a person.
---
--- The first key is offered unasked: sshd takes its time (5 to 9 ms) for everything that does not let us in, the
--- question what it takes among it.
---@param link runner.ssh.Link
---@param target runner.ssh.Target
---@param explicit runner.ssh.KeyFile?
---@param passphrase (fun(path: string, try: integer): string?)?
---@param timely fun(fn: async fun(): ...): ... runs what talks to the host, for as long as connecting may take
---@async
function M.log_in(link, target, explicit, passphrase, timely)
  local agent <close> = target.agent and key_agent.open(target.agent) or nil
  local list, notes, could = candidates(target, explicit, agent)
  if target.agent and not agent and not explicit then
    notes[#notes + 1] = ("the key agent at %s cannot be reached"):format(target.agent)
  end
  local tried, methods = {}, nil
  for i, candidate in ipairs(list) do
    local encrypted = candidate.file and candidate.file.encrypted
    if not methods and (i > 1 or encrypted) then
      methods = methods_of(link, target, timely)
      if methods == true then return end
    end
    local ok, message, code
    if candidate.public then
      ok, message, code = timely(function()
        return try_agent(link, target, candidate, agent)
      end)
    elseif encrypted and not passphrase and not explicit then
      notes[#notes + 1] = candidate.name .. " needs its passphrase (ssh-add it)"
      goto continue
    else
      ok, message, code = try_file(link, target, candidate.file, passphrase, timely)
    end
    if ok then return end
    tried[#tried + 1] = candidate.name
    if link.closed then
      fail(target, code, "%s, while it was offered: %s", message, table.concat(tried, ", "))
    end
    if code ~= "EAUTH" then notes[#notes + 1] = ("%s: %s"):format(candidate.name, message) end
    ::continue::
  end

  methods = methods or methods_of(link, target, timely)
  if methods == true then return end
  local noted = #notes > 0 and (" (%s)"):format(table.concat(notes, "; ")) or ""
  if could or methods:find("gssapi", 1, true) then
    fail(target, "EUNSUPPORTED", "%s took none of the keys that libssh2 can use%s", target.where,
      could and noted or " and offers GSSAPI, which libssh2 lacks")
  elseif #tried == 0 then
    fail(target, "ENOKEYS", "there is no key to log in to %s with%s; name one with key_path",
      target.where,
      noted)
  end
  fail(target, "EAUTH", "%s refused user %s with %s%s: is the user right, and the key in its "
    .. "~/.ssh/authorized_keys there?", target.where, target.user, table.concat(tried, ", "), noted)
end

return M
