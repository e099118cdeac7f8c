--- An HTTP server inside the spec's own process and loop, with full control over what goes over the wire. Callbacks,
--- no tasks: it serves while the spec's tasks wait. Close it, or the spec fails for open handles.

local uv = require("luv")

local M = {}

---@class spec.Connection
---@field raw fun(bytes: string?)? set by a handler: takes everything after the current request; nil: the end
local Connection = {}
Connection.__index = Connection

---@param bytes string
---@param on_written fun(err: string?)?
function Connection:write(bytes, on_written)
  if not self.handle:is_closing() then self.handle:write(bytes, on_written) end
end

--- A whole response with a length.
---@param status integer
---@param body string?
---@param headers string? complete lines, each ending in "\r\n"
function Connection:respond(status, body, headers)
  body = body or ""
  local head = "HTTP/1.1 %d Spec\r\n%sContent-Length: %d\r\n\r\n"
  self:write(head:format(status, headers or "", #body) .. body)
end

--- Sends what was written, then the end.
function Connection:finish()
  if self.handle:is_closing() then return end
  self.handle:shutdown(function() self:close() end)
end

function Connection:close()
  self.server.open[self] = nil
  if not self.handle:is_closing() then self.handle:close() end
end

--- A whole request taken off the front of `bytes`, and the rest; nil while it is not all there.
local function take_request(bytes)
  local head_end = select(2, bytes:find("\r\n\r\n", 1, true))
  if not head_end then return nil end
  local head = bytes:sub(1, head_end)
  local method, target = head:match("^(%u+) (%S+) HTTP/1.1\r\n")
  local headers = {}
  for name, value in head:gmatch("\r\n([^:\r\n]+): *([^\r\n]*)") do
    headers[name:lower()] = value
  end
  local request = { method = method, target = target, headers = headers, head = head }
  if headers["transfer-encoding"] ~= "chunked" then
    local length = tonumber(headers["content-length"]) or 0
    if #bytes < head_end + length then return nil end
    request.body = bytes:sub(head_end + 1, head_end + length)
    return request, bytes:sub(head_end + length + 1)
  end
  local parts, at = {}, head_end + 1
  while true do
    local digits, first = bytes:match("^(%x+)\r\n()", at)
    local size = digits and tonumber(digits, 16)
    if not size or #bytes < first + size + 1 then return nil end
    at = first + size + 2
    if size == 0 then break end
    parts[#parts + 1] = bytes:sub(first, first + size - 1)
  end
  request.body = table.concat(parts)
  return request, bytes:sub(at)
end

local function serve(server, connection)
  local pending = ""
  connection.handle:read_start(function(_, bytes)
    if connection.raw then
      if not bytes then connection.handle:read_stop() end
      return connection.raw(bytes)
    end
    if not bytes then return connection:close() end
    pending = pending .. bytes
    while not connection.raw do
      local request, rest = take_request(pending)
      if not request then return end
      pending = rest
      server.requests = server.requests + 1
      server.handler(request, connection)
    end
    if pending ~= "" then connection.raw(pending) end
  end)
end

---@class spec.HttpServer
---@field url string
---@field path string? of its unix socket
---@field connections integer accepted so far
---@field requests integer received so far

--- Starts a server on a free port or a unix socket.
---@param handler fun(request: table, connection: spec.Connection) request: method, target, headers, body, head
---@param path string? of a unix socket
---@return spec.HttpServer
function M.start(handler, path)
  local server = {
    handler = handler, path = path, url = "http://localhost",
    connections = 0, requests = 0, open = {},
  }
  local listener = path and uv.new_pipe(false) or uv.new_tcp()
  assert(listener:bind(path or "127.0.0.1", 0))
  assert(listener:listen(2048, function(err)
    assert(not err, err)
    local handle = path and uv.new_pipe(false) or uv.new_tcp()
    assert(listener:accept(handle))
    server.connections = server.connections + 1
    local connection = setmetatable({ handle = handle, server = server }, Connection)
    server.open[connection] = true
    serve(server, connection)
  end))
  if not path then server.url = "http://127.0.0.1:" .. listener:getsockname().port end
  function server:close()
    if not listener:is_closing() then listener:close() end
    for connection in pairs(self.open) do connection:close() end
  end
  return setmetatable(server, { __close = server.close })
end

return M
