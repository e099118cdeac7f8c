local async = require("spec.support.async")
local errors = require("runner.base.errors")
local http = require("runner.io.http")
local process = require("runner.io.process")
local server = require("spec.support.http_server")
local support = require("spec.support.http")
local task = require("runner.base.task")
local uv = require("luv")

local echo, sends = support.echo, support.sends
local failure, folder, wait_until = support.failure, support.folder, support.wait_until

describe("http", function()
  describe("failures", function()
    it("name the URL without credentials and query, and never a header", async(function()
      local s <close> = server.start(sends(""))
      local client <close> = http.client({
        base_url = s.url:gsub("//", "//user:s3cret@"),
        headers = { Authorization = "Bearer s3cret" },
      })
      local request = { path = "/x?key=s3cret", query = { token = "s3cret" } }
      local err = failure(client.request, client, request)
      assert.is_true(errors.is(err, "transport"))
      assert.matches("GET http://127.0.0.1:%d+/x%?…: ", err.message)
      assert.are.equal("EOF", err.context.code)
      for _, text in pairs(err.context) do assert.not_matches("s3cret", text) end
      assert.not_matches("s3cret", errors.describe(err))
    end))

    it("a refused connection", async(function()
      local s = server.start(echo)
      s:close()
      local client <close> = http.client({ base_url = s.url })
      local err = failure(client.request, client, { path = "/x" })
      assert.is_true(errors.is(err, "transport"))
      assert.matches("cannot connect: Connection refused", err.message)
      assert.are.equal("ECONNREFUSED", err.context.code)
    end))

    it("a name that does not exist", async(function()
      local client <close> = http.client({ base_url = "http://name.invalid" })
      local err = failure(client.request, client, {})
      assert.is_true(errors.is(err, "transport"))
      assert.matches("name.invalid", err.message, 1, true)
      assert.are.equal("EAI_NONAME", err.context.code)
    end))

    it("a unix socket that is missing, or that nobody listens on", async(function()
      local dir <close> = folder()
      local path = dir.path .. "/missing.sock"
      local client <close> = http.client({ unix_socket = path })
      local err = failure(client.request, client, { path = "/info" })
      assert.is_true(errors.is(err, "transport"))
      local words = "on unix socket " .. path .. ": cannot connect: No such file"
      assert.is_truthy(err.message:find(words, 1, true))
      assert.are.equal("ENOENT", err.context.code)
      assert.is_string(err.context.hint)
      local holder = assert(io.open(path, "w"))
      holder:close()
      assert.are.equal("ECONNREFUSED", failure(client.request, client, {}).context.code)
    end))

    it("a unix socket that this user may not use", async(function()
      local dir <close> = folder()
      local s <close> = server.start(echo, dir.path .. "/s")
      assert(uv.fs_chmod(s.path, 0))
      local binary, root = uv.exepath(), os.getenv("RUNNER_ROOT") or ""
      local script = dir.path .. "/ask.lua"
      local file = assert(io.open(script, "w"))
      file:write(([[
        local ok, err = pcall(require("runner.base.task").main, function()
          local client <close> = require("runner.io.http").client({ unix_socket = %q })
          client:request({})
        end)
        print(err.context.code, err.message, err.context.hint)
      ]]):format(s.path))
      file:close()
      assert(uv.fs_chmod(dir.path, tonumber("755", 8)))
      -- root may use every socket: then another user asks
      local argv = { binary, "lua", script }
      if uv.getuid() == 0 then
        local drop = {
          "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
          "env", "RUNNER_ROOT=" .. root,
        }
        argv = table.move(argv, 1, #argv, #drop + 1, drop)
      end
      local result = process.run(argv)
      assert.matches("^EACCES", result.stdout, 1, false, result.stderr)
      assert.is_truthy(result.stdout:find(s.path .. ": cannot connect: Permission denied", 1, true))
    end))

    it("a server that closes inside the body, whole or chunked", async(function()
      for _, answer in ipairs({
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        "HTTP/1.1 200 OK\r\nContent-Le",
      }) do
        local s <close> = server.start(sends(answer))
        local client <close> = http.client({ base_url = s.url })
        assert.is_true(errors.is(failure(client.request, client, {}), "transport"))
      end
      local s <close> = server.start(sends("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
      local client <close> = http.client({ base_url = s.url })
      local stream <close> = client:stream({})
      assert.are.equal("half", stream:read())
      assert.are.equal("EOF", failure(stream.read, stream).context.code)
    end))

    it("an answer that is not HTTP", async(function()
      local answers = { "SSH-2.0-OpenSSH_9.2\r\n", ("\0\1\2"):rep(1000), "HTTP/1.1 xyz\r\n\r\n" }
      for _, answer in ipairs(answers) do
        local s <close> = server.start(sends(answer))
        local client <close> = http.client({ base_url = s.url, timeout = 20 })
        local err = failure(client.request, client, {})
        assert.is_true(errors.is(err, "transport"))
        assert.are.equal("EPROTO", err.context.code, err.message)
      end
    end))

    it("headers without end, or one that is huge", async(function()
      local many = ("X-A: " .. ("a"):rep(1000) .. "\r\n"):rep(1000)
      for _, header in ipairs({ many, "X-B: " .. ("b"):rep(1000000) }) do
        local s <close> = server.start(function(_, connection)
          connection:write("HTTP/1.1 200 OK\r\n" .. header)
        end)
        local client <close> = http.client({ base_url = s.url, timeout = 20 })
        local err = failure(client.request, client, {})
        assert.is_true(errors.is(err, "transport"))
        assert.are.equal("EMSGSIZE", err.context.code, err.message)
      end
    end))

    it("mistakes of the caller, before anything is sent", async(function()
      local client <close> = http.client({ base_url = "http://127.0.0.1:1" })
      assert.is_false(pcall(client.request, client, { headers = { A = "b\nc" } }))
      assert.is_false(pcall(client.request, client, { method = "GET / HTTP/1.1\r\nX:" }))
      for _, request in ipairs({ { url = "file:///etc/passwd" }, { path = "/a b" } }) do
        assert.are.equal("EINVAL", failure(client.request, client, request).context.code)
      end
    end))
  end)

  describe("time", function()
    it("ends a request that gets no answer, and its connection", async(function()
      local s <close> = server.start(function() end)
      local client <close> = http.client({ base_url = s.url, timeout = 0.05 })
      local err = failure(client.request, client, { path = "/slow?key=s3cret" })
      assert.is_true(errors.is(err, "timeout"))
      assert.matches("/slow%?…: no answer within 0.05 s", err.message)
      wait_until(function() return next(s.open) == nil end)
    end))

    it("ends a request whose body drips", async(function()
      local timer = uv.new_timer()
      local s <close> = server.start(function(_, connection)
        connection:write("HTTP/1.1 200 OK\r\n\r\n")
        timer:start(0, 5, function() connection:write("x") end)
      end)
      local client <close> = http.client({ base_url = s.url })
      local err = failure(client.request, client, { timeout = 0.1 })
      timer:close()
      assert.is_true(errors.is(err, "timeout"))
    end))

    it("of a stream is for its head only", async(function()
      local connection
      local s <close> = server.start(function(_, c)
        connection = c
        c:write("HTTP/1.1 200 OK\r\n\r\n")
      end)
      local client <close> = http.client({ base_url = s.url, timeout = 0.2 })
      local stream <close> = client:stream({})
      task.sleep(0.3)
      assert.is_nil((task.deadline(0.02, function() return stream:read() end)))
      connection:write("late")
      assert.are.equal("late", stream:read())
      assert.is_true(errors.is(failure(function()
        s.handler = function() end
        client:stream({})
      end), "timeout"))
    end))

    it("cancelled: the transfer is gone at once, the others go on", async(function()
      local held = {}
      local s <close> = server.start(function(request, connection)
        held[request.target] = connection
      end)
      local client <close> = http.client({ base_url = s.url })
      task.scope(function(scope)
        local body
        local one = scope:spawn(function() client:request({ path = "/one" }) end)
        scope:spawn(function() body = client:request({ path = "/two" }).body end)
        wait_until(function() return held["/one"] and held["/two"] end)
        one:cancel()
        wait_until(function() return not s.open[held["/one"]] end)
        assert.is_true(s.open[held["/two"]])
        held["/two"]:respond(200, "two")
        wait_until(function() return body == "two" end)
      end)
    end))

    it("a client that is closed ends its requests", async(function()
      local s <close> = server.start(function(request, connection)
        if request.target == "/stream" then connection:write("HTTP/1.1 200 OK\r\n\r\n") end
      end)
      local client = http.client({ base_url = s.url })
      local ends = {}
      local stream = client:stream({ path = "/stream" })
      task.scope(function(scope)
        scope:spawn(function() ends[1] = failure(client.request, client, {}) end)
        scope:spawn(function() ends[2] = failure(stream.read, stream) end)
        wait_until(function() return s.requests == 2 end)
        client:close()
      end)
      for i = 1, 2 do assert.are.equal("ECANCELED", ends[i].context.code) end
      stream:close()
      client:close()
      assert.are.equal("ECANCELED", failure(client.request, client, {}).context.code)
      wait_until(function() return next(s.open) == nil end)
    end))

    it("a stream closed by another task wakes the reader", async(function()
      local s <close> = server.start(function(_, connection)
        connection:write("HTTP/1.1 200 OK\r\n\r\n")
      end)
      local client <close> = http.client({ base_url = s.url })
      local stream = client:stream({})
      local err
      task.scope(function(scope)
        scope:spawn(function() err = failure(stream.read, stream) end)
        stream:close()
      end)
      assert.are.equal("ECANCELED", err.context.code)
    end))
  end)
end)
