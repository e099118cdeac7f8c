--- HTTP/1.1 for tasks, over TCP, TLS or a unix socket: whole responses, streamed ones, and connections taken over from
--- HTTP (Docker's attach and exec). Redirects are never followed. A status is never an error: errors of kind
--- "transport" mean that there was no whole response, "timeout" that it did not come in time. They name the method, the
--- URL without credentials and query, and the socket; headers never appear in them.
---
--- A client keeps up to 32 idle connections and has no limit on those in use, so that long streams cannot starve
--- other requests. It holds no luv handle while no request runs.

local driver = require("runner.io.http.driver")
local errors = require("runner.base.errors")
local head = require("runner.io.http.head")
local task = require("runner.base.task")
local upgrade = require("runner.io.http.upgrade")
local url = require("runner.io.http.url")
local version = require("runner.version")

local M = {}

local MAX_BODY = 64 * 1024 * 1024 -- of a response that is collected in memory
local CONNECT_TIMEOUT_S = 30

---@class runner.http.Client
---@field package driver runner.http.Driver
---@field package options runner.http.ClientOptions
local Client = {}
Client.__index = Client
Client.__name = "runner.http.client"

---@class runner.http.ClientOptions
---@field unix_socket string? path; every request goes there
---@field base_url string? what paths are relative to; with a unix socket "http://localhost"
---@field timeout number? seconds for a whole request, of a stream or an upgrade for its head; default none
---@field connect_timeout number? seconds, default 30
---@field max_body integer? bytes of a collected body, default 64 MiB
---@field headers table<string, string|number|false>? of every request
---@field tls { ca: string?, cert: string?, key: string?, verify: boolean? }? paths of PEM files

---@class runner.http.Request
---@field method string? default "GET"
---@field path string? relative to the client's base_url
---@field url string? instead of `path`
---@field query table<string, string|number|boolean|table>? added to the URL, encoded
---@field headers table<string, string|number|false>? over the client's; `false` removes one
---@field body string|(async fun(): string?)? a function gives pieces until nil; they are sent chunked
---@field on_body (async fun(chunk: string))? takes the response's body instead of collecting it; may wait
---@field timeout number? seconds
---@field max_body integer? bytes

---@class runner.http.Response
---@field status integer
---@field headers runner.http.Headers lower-case names; of several with one name the last
---@field header_list { [1]: string, [2]: string }[] every header in order, names as received
---@field body string? nil when `on_body` took it

---@class runner.http.Stream: runner.http.Response
---@field package exchange runner.http.Exchange
---@field package count integer bytes read
---@field package limit integer?
local Stream = {}
Stream.__index = Stream
Stream.__name = "runner.http.stream"

--- A client. It may be closed with `close` or `<close>`, which ends its requests and connections.
---@param options runner.http.ClientOptions?
---@return runner.http.Client
function M.client(options)
  return setmetatable({ driver = driver.new(), options = options or {} }, Client)
end

--- The URL of a request, and how its errors name it.
local function address(client, request)
  local options = client.options
  local base = options.base_url or (options.unix_socket and "http://localhost")
  local target, message = url.join(base, request.url or request.path or "/", request.query)
  if not target then errors.raise("transport", message, { code = "EINVAL" }) end
  local method = request.method or "GET"
  if not method:find("^%u+$") then error("not an HTTP method: " .. method, 0) end
  local shown = url.redact(target)
  local label = method .. " " .. shown
  if options.unix_socket then label = label .. " on unix socket " .. options.unix_socket end
  return method, target, label, { method = method, url = shown, unix_socket = options.unix_socket }
end

local takes_body = { POST = true, PUT = true, PATCH = true }

local function begin(client, request)
  local options = client.options
  local method, target, label, context = address(client, request)
  local body, reader = request.body, nil
  if type(body) == "function" then
    body, reader = nil, body
  elseif body == nil and takes_body[method] then
    body = "" -- so that a length is sent
  end
  if method == "HEAD" and (body or reader) then error("a HEAD request has no body", 0) end
  local lines = {}
  -- libcurl would name a form's type, and wait a second for leave to send a long body.
  local defaults = { ["Content-Type"] = false, Expect = false }
  for i, header in ipairs(head.merge(defaults, options.headers, request.headers)) do
    local name, value = header[1], header[2]
    lines[i] = not value and name .. ":" or value == "" and name .. ";" or name .. ": " .. value
  end
  local tls = options.tls or {}
  return client.driver:exchange({
    url = target, method = method, headers = lines, body = body,
    unix_socket = options.unix_socket,
    user_agent = "runner/" .. version,
    connect_timeout_ms = math.ceil((options.connect_timeout or CONNECT_TIMEOUT_S) * 1000),
    ca = tls.ca, cert = tls.cert, key = tls.key, verify = tls.verify,
  }, label, context, reader)
end

--- Runs `fn` for at most the request's time.
---@async
local function in_time(client, request, label, fn)
  local seconds = request.timeout or client.options.timeout
  if not seconds then return fn() end
  local results = table.pack(task.deadline(seconds, fn))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = ("%s: no answer within %g s"):format(label, seconds)
  errors.raise("timeout", message, { code = "ETIMEDOUT" })
end

local function open_stream(exchange, limit)
  local stream = exchange:head()
  stream.exchange, stream.count, stream.limit = exchange, 0, limit
  return setmetatable(stream, Stream)
end

--- The next bytes of the body, as many as there are; nil at its end. libcurl stops reading the socket while 256 KiB
--- wait to be read.
---@return string?
---@async
function Stream:read()
  local chunk = self.exchange:read()
  if not chunk then return nil end
  self.count = self.count + #chunk
  if self.limit and self.count > self.limit then
    self.exchange:fail(("the body exceeds %d bytes"):format(self.limit), "EMSGSIZE")
  end
  return chunk
end

--- Ends the exchange. The connection is kept when the body was read to its end.
function Stream:close()
  self.exchange:close()
end

Stream.__close = Stream.close

--- A request and its whole response.
---@param request runner.http.Request
---@return runner.http.Response
---@async
function Client:request(request)
  local exchange <close> = begin(self, request)
  return in_time(self, request, exchange.label, function()
    local on_body = request.on_body
    local limit = request.max_body or self.options.max_body or (not on_body and MAX_BODY or nil)
    local stream = open_stream(exchange, limit)
    local chunks = {}
    for chunk in stream.read, stream do
      if on_body then on_body(chunk) else chunks[#chunks + 1] = chunk end
    end
    return {
      status = stream.status,
      headers = stream.headers,
      header_list = stream.header_list,
      body = not on_body and table.concat(chunks) or nil,
    }
  end)
end

--- A request whose response's body is read piece by piece. The stream must be closed: `local s <close> = …`.
---@param request runner.http.Request
---@return runner.http.Stream
---@async
function Client:stream(request)
  local exchange = begin(self, request)
  local _ <close> = setmetatable({}, {
    __close = function(_, err)
      if err then exchange:close() end
    end,
  })
  return in_time(self, request, exchange.label, function()
    return open_stream(exchange, request.max_body or self.options.max_body)
  end)
end

--- Takes a connection over from HTTP: after a 101, or a 2xx whose body has no length, the connection is a raw two-way
--- stream. Any other status: no stream, and the response with its body.
---@param request runner.http.Request `body`: a string; `Connection: Upgrade` and `Upgrade: tcp` unless given
---@return runner.http.Upgraded? stream
---@return runner.http.Response response
---@async
function Client:upgrade(request)
  local method, target, label, context = address(self, request)
  if type(request.body) == "function" then error("the body of an upgrade is a string", 0) end
  local defaults = {
    ["User-Agent"] = "runner/" .. version, Connection = "Upgrade", Upgrade = "tcp",
    ["Content-Length"] = #(request.body or ""),
  }
  return in_time(self, request, label, function()
    return upgrade.open({
      method = method,
      url = target,
      headers = head.merge(defaults, self.options.headers, request.headers),
      body = request.body or "",
      unix_socket = self.options.unix_socket,
      fail = function(message, code)
        driver.fail(label, context, message, code)
      end,
    })
  end)
end

--- Ends the client's requests, which raise errors, and its connections. Upgraded streams are their holders' to close.
function Client:close()
  self.driver:close()
end

Client.__close = Client.close

return M
