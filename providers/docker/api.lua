--- The Engine API of one daemon (Docker's, or podman's that is compatible with it): where it listens, which version
--- both speak, and errors that say what, where and how to mend it.

local cjson = require("cjson.safe")
local uv = require("luv")
local errors = require("runner.base.errors")
local http = require("runner.io.http")

local M = {}

--- The newest version of the API that was tried; older daemons are spoken to in theirs.
local KNOWN = { 1, 47 }
local OLDEST = { 1, 24 }
local ANSWER_TIMEOUT_S = 60 -- of a request that does no long work

---@class docker.Engine
---@field address string "unix:///var/run/docker.sock"
---@field version string of the API, as in paths: "v1.41"
---@field client runner.http.Client
---@field is_local boolean over a unix socket: its clock is ours
local Engine = {}
Engine.__index = Engine
Engine.__name = "docker.engine"

--- The daemon that the environment means.
---@return string address
function M.default_address()
  local host = os.getenv("DOCKER_HOST")
  if host and host ~= "" then return host end
  local runtime = os.getenv("XDG_RUNTIME_DIR")
  local candidates = { "/var/run/docker.sock" }
  if runtime and runtime ~= "" then
    candidates[2], candidates[3] = runtime .. "/docker.sock", runtime .. "/podman/podman.sock"
  end
  candidates[#candidates + 1] = "/run/podman/podman.sock"
  for _, path in ipairs(candidates) do
    if uv.fs_stat(path) then return "unix://" .. path end
  end
  return "unix://" .. candidates[1]
end

local function client_of(address)
  local options = { headers = { ["Content-Type"] = "application/json" } }
  local scheme, rest = address:match("^(%w+)://(.+)$")
  if scheme == "unix" then
    options.unix_socket = rest
  elseif scheme == "tcp" or scheme == "http" then
    if (os.getenv("DOCKER_TLS_VERIFY") or "") ~= "" then
      errors.raise("config", ("provider docker: %s: a daemon behind TLS cannot be used; forward its "
        .. "socket instead: ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST"):format(address))
    end
    local host = rest:gsub("/+$", "")
    options.base_url = "http://" .. (host:find(":%d+$") and host or host .. ":2375")
  elseif scheme == "ssh" then
    errors.raise("config", ("provider docker: %s: forward the socket yourself: "
      .. "ssh -NL /tmp/docker.sock:/var/run/docker.sock %s, then unix:///tmp/docker.sock")
      :format(address, rest))
  else
    errors.raise("config", ("provider docker: %q is no address of a daemon: "
      .. "unix:///path/docker.sock or tcp://host:2375"):format(address))
  end
  return http.client(options)
end

local ADVICE = {
  EACCES = "permission denied; join the group of the socket (usermod -aG docker NAME, then log in "
    .. "again), or run a rootless daemon and set DOCKER_HOST",
  ENOENT = "there is no such socket; start the daemon, or name another in DOCKER_HOST or `hosts`",
  ECONNREFUSED = "nobody listens there; start the daemon, or name another in DOCKER_HOST or `hosts`",
}

--- An unreachable daemon in words that help; other errors unchanged.
local function explain(self, err)
  local code = errors.is(err, "transport") and err.context.code
  local socket = self.client.options.unix_socket
  -- libcurl reports any failure to connect in one way; the file system knows more.
  if code == "ECONNREFUSED" and socket and not uv.fs_access(socket, "W") then code = "EACCES" end
  if not ADVICE[code] then return err end
  return errors.new("provider", ("the Docker daemon at %s: %s"):format(self.address, ADVICE[code]),
    { cause = err, code = code })
end

--- What a body says went wrong: JSON with a message, or text.
---@param body string?
---@return string
function M.message(body)
  local decoded = cjson.decode(body or "")
  local text = type(decoded) == "table" and (decoded.message or decoded.cause) or body or ""
  return (tostring(text):gsub("%s+$", ""))
end

local function newer(a, b)
  return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2])
end

--- Speaks to a daemon. Raises when it does not answer.
---@param address string
---@return docker.Engine
---@async
function M.connect(address)
  local self = setmetatable({ address = address, is_local = address:find("^unix:") ~= nil }, Engine)
  self.client = client_of(address)
  local ok, answer = pcall(self.client.request, self.client, { path = "/_ping", timeout = ANSWER_TIMEOUT_S })
  if not ok then
    self.client:close()
    error(explain(self, answer), 0)
  end
  local major, minor = (answer.headers["api-version"] or ""):match("^(%d+)%.(%d+)$")
  local version = major and { tonumber(major), tonumber(minor) }
  if answer.status ~= 200 or not version or newer(OLDEST, version) then
    self.client:close()
    errors.raise("provider", ("%s: no Docker daemon that could be used answers there (status %d, "
      .. "version of its API: %s)"):format(address, answer.status, major and major .. "." .. minor or "none"))
  end
  if newer(version, KNOWN) then version = KNOWN end
  self.version = ("v%d.%d"):format(version[1], version[2])
  return self
end

---@class docker.Request
---@field query table?
---@field json table? body
---@field body string|(async fun(): string?)? other body
---@field type string? of that body
---@field headers table<string, string>?
---@field on_body fun(chunk: string)?
---@field timeout number|false? default 60 s; false: none
---@field accept "any"|table<integer, true>? statuses besides 2xx that are answers, not errors

local function http_request(self, method, path, request)
  local body = request.body
  if request.json then body = assert(cjson.encode(request.json)) end
  local timeout, headers = request.timeout, {}
  for name, value in pairs(request.headers or {}) do headers[name] = value end
  headers["Content-Type"] = request.type
  if timeout == nil then timeout = ANSWER_TIMEOUT_S end
  return {
    method = method, path = "/" .. self.version .. path, query = request.query, body = body,
    headers = headers,
    on_body = request.on_body, timeout = timeout or nil,
  }
end

local function refuse(self, method, path, status, body)
  local message = M.message(body)
  errors.raise("provider", ("the Docker daemon at %s refused %s %s (status %d): %s"):format(
    self.address, method, path, status, message), { status = status, said = message })
end

--- One request. Any status but 2xx and those in `accept` is an error of kind "provider".
---@param method string
---@param path string without the version
---@param request docker.Request?
---@return runner.http.Response
---@return any json the decoded body, if it is JSON
---@async
function Engine:request(method, path, request)
  request = request or {}
  local ok, answer = pcall(self.client.request, self.client, http_request(self, method, path, request))
  if not ok then error(explain(self, answer), 0) end
  local accept = request.accept
  local accepted = accept == "any" or (accept and accept[answer.status])
  if answer.status // 100 ~= 2 and not accepted then
    refuse(self, method, path, answer.status, answer.body)
  end
  return answer, answer.body and cjson.decode(answer.body) or nil
end

--- A request whose connection becomes a two-way stream.
---@return runner.http.Upgraded
---@async
function Engine:upgrade(method, path, request)
  local ok, stream, answer = pcall(self.client.upgrade, self.client,
    http_request(self, method, path, request or {}))
  if not ok then error(explain(self, stream), 0) end
  if not stream then refuse(self, method, path, answer.status, answer.body) end
  return stream
end

--- The daemon's clock, in seconds.
---@return number
---@async
function Engine:time()
  if self.is_local then
    local seconds, microseconds = uv.gettimeofday()
    return seconds + microseconds / 1e6
  end
  local _, info = self:request("GET", "/info")
  local year, month, day, hour, min, sec = tostring(info and info.SystemTime)
    :match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z")
  if not year then return os.time() end
  local whole = os.time({ year = year, month = month, day = day, hour = hour, min = min, sec = 0 })
  local here = os.time() -- os.time takes local time: shift by this machine's zone
  return whole + os.difftime(here, os.time(os.date("!*t", here))) + tonumber(sec)
end

function Engine:close()
  self.client:close()
end

return M
