local async = require("spec.support.async")
local errors = require("runner.base.errors")
local http = require("runner.io.http")
local server = require("spec.support.http_server")
local support = require("spec.support.http")
local task = require("runner.base.task")
local uv = require("luv")

local failure, folder, wait_until = support.failure, support.folder, support.wait_until

local TYPE = "Content-Type: application/vnd.docker.raw-stream\r\n"
local SWITCH = "HTTP/1.1 101 UPGRADED\r\n" .. TYPE .. "Connection: Upgrade\r\n\r\n"
local STREAM = "HTTP/1.1 200 OK\r\n" .. TYPE .. "\r\n"

--- Reads an upgraded stream to its end, or until `enough(bytes)`.
local function read_all(stream, enough)
  return task.await(function(resume)
    local bytes = ""
    stream:start(function(more, err)
      bytes = bytes .. (more or "")
      if not more or (enough and enough(bytes)) then resume(bytes, not more, err) end
    end)
    return function() stream:close() end
  end)
end

--- Takes the connection over and sends back what comes, in capitals; its end ends ours.
local function shouts(head)
  return function(_, connection)
    connection.raw = function(bytes)
      if not bytes then return connection:finish() end
      connection:write(bytes:upper())
    end
    connection:write(head)
  end
end

local function with_server(kind, handler, fn)
  return async(function()
    local dir <close> = folder()
    local s <close> = server.start(handler, kind == "unix" and dir.path .. "/s" or nil)
    local client <close> = http.client({
      base_url = s.url, unix_socket = s.path, timeout = 20, headers = { Authorization = "s3cret" },
    })
    fn(client, s)
  end)
end

describe("http upgrade", function()
  for _, kind in ipairs({ "tcp", "unix" }) do
    for name, head in pairs({ ["101"] = SWITCH, ["200 without a length"] = STREAM }) do
      local title = ("makes a two-way stream over %s after a %s"):format(kind, name)
      it(title, with_server(kind, shouts(head), function(client)
        local request = { method = "POST", path = "/exec/1/start", body = "{}" }
        local stream <close>, response = client:upgrade(request)
        assert.are.equal(tonumber(name:match("%d+")), response.status)
        assert.are.equal("application/vnd.docker.raw-stream", response.headers["content-type"])
        stream:write("hello ")
        stream:write("world\xff\0")
        stream:shutdown()
        local bytes, ended, err = read_all(stream)
        assert.are.equal("HELLO WORLD\xff\0", bytes)
        assert.is_true(ended)
        assert.is_nil(err)
      end))
    end
  end

  it("sends what was asked for", function()
    local seen
    with_server("unix", function(request, connection)
      seen = request
      shouts(SWITCH)(request, connection)
    end, function(client)
      local stream = client:upgrade({
        method = "POST", path = "/attach", query = { stdin = 1 }, body = "b\0dy",
        headers = { Upgrade = "ws", ["X-Y"] = "z" },
      })
      stream:close()
      assert.are.equal("/attach?stdin=1", seen.target)
      assert.are.equal("b\0dy", seen.body)
      assert.are.equal("Upgrade", seen.headers.connection)
      assert.are.equal("ws", seen.headers.upgrade)
      assert.are.equal("z", seen.headers["x-y"])
      assert.are.equal("s3cret", seen.headers.authorization)
      assert.are.equal("localhost", seen.headers.host)
    end)()
  end)

  it("gives early bytes first, outside of start", with_server("tcp", function(_, connection)
    connection.raw = function(bytes) if bytes then connection:write("late") end end
    connection:write("HTTP/1.1 100 Continue\r\n\r\n" .. SWITCH .. "early ")
  end, function(client)
    local stream <close> = client:upgrade({ method = "POST", path = "/" })
    task.sleep(0.01)
    local inside, within = true, false
    local bytes
    stream:start(function(more)
      within = within or inside
      bytes = (bytes or "") .. (more or "")
    end)
    inside = false
    stream:write("go")
    wait_until(function() return bytes == "early late" end)
    assert.is_false(within)
  end))

  it("reads a head that comes byte by byte", with_server("tcp", function(_, connection)
    local bytes, at = SWITCH .. "!", 0
    local timer = uv.new_timer()
    timer:start(0, 1, function()
      at = at + 1
      connection:write(bytes:sub(at, at))
      if at < #bytes then return end
      timer:close()
      connection:finish()
    end)
  end, function(client)
    local stream <close>, response = client:upgrade({ method = "POST", path = "/" })
    assert.are.equal("Upgrade", response.headers.connection)
    assert.are.equal("!", (read_all(stream)))
  end))

  it("calls nothing once closed, even with early bytes", with_server("tcp", function(_, connection)
    connection.raw = function() end
    connection:write(SWITCH .. "early")
  end, function(client)
    local stream = client:upgrade({ method = "POST", path = "/" })
    local called = false
    stream:start(function() called = true end)
    stream:close()
    stream:close()
    stream:write("x")
    stream:shutdown()
    task.sleep(0.01)
    assert.is_false(called)
  end))

  it("carries 20 MB each way", with_server("unix", shouts(SWITCH), function(client)
    local stream <close> = client:upgrade({ method = "POST", path = "/" })
    local piece = ("abcdefgh"):rep(8192)
    for _ = 1, 320 do stream:write(piece) end
    stream:shutdown()
    local count, right = 0, true
    task.await(function(resume)
      stream:start(function(bytes)
        if not bytes then return resume() end
        right = right and not bytes:find("[^A-H]")
        count = count + #bytes
      end)
      return function() end
    end)
    assert.are.equal(320 * #piece, count)
    assert.is_true(right)
  end))

  describe("refused by the server gives the response", function()
    local answers = {
      ["with a length"] = "Content-Length: 4\r\n\r\ngone",
      ["chunked"] = "Transfer-Encoding: chunked\r\n\r\n2\r\ngo\r\n2\r\nne\r\n0\r\n\r\n",
      ["until the end"] = "\r\ngone",
    }
    for name, answer in pairs(answers) do
      it(name, with_server("tcp", function(_, connection)
        connection:write("HTTP/1.1 404 Not Found\r\n" .. answer)
        if name == "until the end" then connection:finish() end
      end, function(client)
        local stream, response = client:upgrade({ method = "POST", path = "/" })
        assert.is_nil(stream)
        assert.are.equal(404, response.status)
        assert.are.equal("gone", response.body)
      end))
    end

    it("a 200 with a length is no stream", with_server("tcp", function(_, connection)
      connection:respond(200, "plain")
    end, function(client)
      local stream, response = client:upgrade({ method = "POST", path = "/" })
      assert.is_nil(stream)
      assert.are.equal("plain", response.body)
    end))
  end)

  describe("fails", function()
    it("when the socket is missing, and names it", async(function()
      local path = "/nonexistent/x.sock"
      local headers = { Authorization = "s3cret" }
      local client <close> = http.client({ unix_socket = path, headers = headers })
      local err = failure(client.upgrade, client, { method = "POST", path = "/a?key=s3cret" })
      assert.is_true(errors.is(err, "transport"))
      local words = "on unix socket " .. path .. ": cannot connect: No such file or directory"
      assert.is_truthy(err.message:find(words, 1, true))
      assert.are.equal("ENOENT", err.context.code)
      assert.not_matches("s3cret", errors.describe(err))
      local long <close> = http.client({ unix_socket = "/" .. ("x"):rep(200) })
      assert.are.equal("ENAMETOOLONG", failure(long.upgrade, long, { path = "/" }).context.code)
    end))

    it("when the connection is refused", async(function()
      local s = server.start(function() end)
      s:close()
      local client <close> = http.client({ base_url = s.url })
      assert.are.equal("ECONNREFUSED", failure(client.upgrade, client, { path = "/" }).context.code)
    end))

    it("when the name is unknown", async(function()
      local client <close> = http.client({ base_url = "http://name.invalid" })
      assert.is_true(errors.is(failure(client.upgrade, client, { path = "/" }), "transport"))
    end))

    it("under TLS and with credentials in the URL, in words", async(function()
      local client <close> = http.client()
      local function message(url) return failure(client.upgrade, client, { url = url }).message end
      assert.matches("TLS", message("https://h/"))
      assert.matches("Authorization", message("http://u:p@h/"))
    end))

    for name, answer in pairs({
      EPROTO = "SSH-2.0-x\r\n",
      EOF = "HTTP/1.1 101 Sw",
      EMSGSIZE = "HTTP/1.1 101 X\r\nA: " .. ("a"):rep(300000),
    }) do
      it("when the head is broken: " .. name, with_server("tcp", function(_, connection)
        connection:write(answer)
        if name == "EOF" then connection:finish() end
      end, function(client, s)
        assert.are.equal(name, failure(client.upgrade, client, { path = "/" }).context.code)
        wait_until(function() return next(s.open) == nil end)
      end))
    end

    it("in time", with_server("tcp", function() end, function(client, s)
      local err = failure(client.upgrade, client, { path = "/", timeout = 0.05 })
      assert.is_true(errors.is(err, "timeout"))
      wait_until(function() return next(s.open) == nil end)
    end))
  end)
end)
