--- Connections taken over from HTTP: what Docker's attach and exec turn into after the head of the response.
---
--- This speaks HTTP by itself, over luv. libcurl can hand over a connection (CURLOPT_CONNECT_ONLY), but that leaves
--- the head to us all the same, it cannot close the sending half alone, which is how a command's stdin ends, and it
--- may drop such a connection as idle while it looks after others. The price: no TLS here.

local uv = require("luv")
local head = require("runner.io.http.head")
local defer = require("runner.base.defer")
local task = require("runner.base.task")
local url = require("runner.io.http.url")

local M = {}

local HEAD_LIMIT = 256 * 1024
local BODY_LIMIT = 1024 * 1024 -- of a response that is not an upgrade: an error's explanation

---@class runner.http.Upgraded: runner.Stream
---@field package handle uv_stream_t
---@field package early string bytes that came with the head
---@field package timer uv_timer_t?
local Upgraded = {}
Upgraded.__index = Upgraded
Upgraded.__name = "runner.http.upgraded"

local function close(handle)
  if handle and not handle:is_closing() then handle:close() end
end

--- Begins to read. Nothing is read before, and `on_bytes` is never called from inside `start`.
---@param on_bytes fun(bytes: string?, err: string?) nil bytes: the end, once; with an error: a broken connection
function Upgraded:start(on_bytes)
  local handle = self.handle
  local function read()
    handle:read_start(function(err, bytes)
      if not bytes then handle:read_stop() end
      on_bytes(bytes, err)
    end)
  end
  if self.early == "" then return read() end
  self.timer = defer(function()
    on_bytes(self.early)
    if not handle:is_closing() then read() end
  end)
end

-- Failures of writing are not looked at: a broken connection shows in reading, behind the bytes that still came.

---@param bytes string
function Upgraded:write(bytes)
  if self.handle:is_closing() then return end
  self.handle:write(bytes)
end

--- Closes the sending half, after what was written: the end of the other side's input.
function Upgraded:shutdown()
  if self.handle:is_closing() then return end
  self.handle:shutdown()
end

--- Closes the connection; `on_bytes` is not called any more.
function Upgraded:close()
  close(self.timer)
  close(self.handle)
end

Upgraded.__close = Upgraded.close

--- A handle that is closed when its scope ends, unless released.
local function guard(handle)
  return setmetatable({
    value = handle,
    release = function(self)
      self.value = nil
      return handle
    end,
  }, { __close = function(self) close(self.value) end })
end

--- The next bytes of a connection; nil and perhaps an error at its end.
---@async
local function read(handle)
  local err, bytes = task.await(function(resume)
    handle:read_start(function(err, bytes)
      handle:read_stop()
      resume(err, bytes)
    end)
    return function() handle:read_stop() end
  end)
  return bytes, err
end

--- Awaits one luv operation `begin(callback)`; returns what its callback got. What it works on is closed by the caller.
---@async
local function outcome(begin)
  return task.await(function(resume)
    local request, err = begin(resume)
    if not request then resume(err) end
  end)
end

--- An open connection to one of the server's addresses, or the last error.
---@async
local function connect_tcp(where)
  local err, found = outcome(function(callback)
    return uv.getaddrinfo(where.host, tostring(where.port), { socktype = "stream" }, callback)
  end)
  for _, entry in ipairs(found or {}) do
    local handle <close> = guard(uv.new_tcp())
    err = outcome(function(callback)
      return handle.value:connect(entry.addr, where.port, callback)
    end)
    if not err then
      handle.value:nodelay(true)
      return handle:release()
    end
  end
  return nil, err or "no address"
end

---@async
local function connect_unix(path)
  if #path > 107 then return nil, "ENAMETOOLONG: the path is too long" end -- luv would cut it
  local handle <close> = guard(uv.new_pipe(false))
  local err = outcome(function(callback)
    handle.value:connect(path, callback)
    return true
  end)
  if err then return nil, err end
  return handle:release()
end

local words = {
  EACCES = "Permission denied",
  ECONNREFUSED = "Connection refused",
  ECONNRESET = "Connection reset by peer",
  ENOENT = "No such file or directory",
}

--- luv's "ECONNREFUSED" or "EMFILE: too many open files" → message, code
local function split_error(err)
  local code, text = (tostring(err) .. ": "):match("^([%u%d_]+): (.-):? ?$")
  if not code then return tostring(err), "EIO" end
  return words[code] or (text ~= "" and text or code), code
end

--- Takes chunked framing off; nil while the last chunk is not there.
local function dechunk(bytes)
  local parts, at = {}, 1
  while true do
    local digits, first = bytes:match("^(%x+)[^\n]*\n()", at)
    if not digits then return nil end
    local size = tonumber(digits, 16)
    if size == 0 then return table.concat(parts) end
    if size < 0 or #digits > 8 or #bytes < first + size + 1 then return nil end
    parts[#parts + 1] = bytes:sub(first, first + size - 1)
    at = first + size + 2
  end
end

--- The body of a response that is not an upgrade.
---@async
local function read_body(handle, response, bytes, fail)
  if response.status == 204 or response.status == 304 then return "" end
  local headers = response.headers
  local chunked = (headers["transfer-encoding"] or ""):lower():find("chunked", 1, true)
  local length = not chunked and tonumber(headers["content-length"])
  while true do
    if length and #bytes >= length then return bytes:sub(1, length) end
    local whole = chunked and dechunk(bytes)
    if whole then return whole end
    if #bytes > BODY_LIMIT then
      fail(("the body exceeds %d bytes"):format(BODY_LIMIT), "EMSGSIZE")
    end
    local more, err = read(handle)
    if err then fail(split_error(err)) end
    if not more then
      if length or chunked then fail("the connection ended inside the body", "EOF") end
      return bytes
    end
    bytes = bytes .. more
  end
end

--- The head of the final response, and what came behind it.
---@async
local function read_head(handle, fail)
  local bytes = ""
  while true do
    local last = select(2, bytes:find("\r?\n\r?\n"))
    if last then
      local status, headers, list = head.parse(bytes:sub(1, last))
      if not status then fail("the answer is not HTTP", "EPROTO") end
      bytes = bytes:sub(last + 1)
      if status >= 200 or status == 101 then
        return { status = status, headers = headers, header_list = list }, bytes
      end
    else
      if #bytes > HEAD_LIMIT then
        fail(("the response's headers exceed %d bytes"):format(HEAD_LIMIT), "EMSGSIZE")
      end
      local start = bytes:sub(1, 5)
      if start ~= ("HTTP/"):sub(1, #start) then fail("the answer is not HTTP", "EPROTO") end
      local more, err = read(handle)
      if err then fail(split_error(err)) end
      if not more then fail("the connection ended before a response", "EOF") end
      bytes = bytes .. more
    end
  end
end

---@class runner.http.UpgradeRequest
---@field method string
---@field url string
---@field headers { [1]: string, [2]: string|false }[]
---@field body string
---@field unix_socket string?
---@field fail fun(message: string, code: string) raises

--- Sends the request, waits for the head of the response and takes the connection over.
---@param request runner.http.UpgradeRequest
---@return runner.http.Upgraded? stream
---@return runner.http.Response response
---@async
function M.open(request)
  local fail = request.fail
  local where, message = url.split(request.url)
  if not where then fail(message, "EINVAL") end
  if where.scheme == "https" then fail("a connection under TLS cannot be taken over", "ENOTSUP") end
  if where.has_credentials then
    fail("credentials in the URL are not sent here: give an Authorization header", "EINVAL")
  end

  local socket, err
  if request.unix_socket then
    socket, err = connect_unix(request.unix_socket)
  else
    socket, err = connect_tcp(where)
  end
  if not socket then
    local text, code = split_error(err)
    fail("cannot connect: " .. text, code)
  end
  local held <close> = guard(socket)

  local lines = { ("%s %s HTTP/1.1"):format(request.method, where.target) }
  lines[2] = "Host: " .. where.authority
  for _, header in ipairs(request.headers) do
    if header[2] then lines[#lines + 1] = header[1] .. ": " .. header[2] end
  end
  local sent = table.concat(lines, "\r\n") .. "\r\n\r\n" .. request.body
  socket:write(sent) -- a failure shows when the response is read

  local response, rest = read_head(socket, fail)
  local headers = response.headers
  local endless = not (headers["content-length"] or headers["transfer-encoding"])
  local status = response.status
  if status == 101 or (status // 100 == 2 and status ~= 204 and endless) then
    return setmetatable({ handle = held:release(), early = rest }, Upgraded), response
  end
  response.body = read_body(socket, response, rest, fail)
  return nil, response
end

return M
