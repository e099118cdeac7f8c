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
  describe("request", function()
    it("gives status, headers and body", async(function()
      local s <close> = server.start(function(_, connection)
        local headers = "Set-Cookie: a\r\nset-cookie: b\r\nContent-Type: x/y\r\n"
        connection:respond(201, "h\0llo\xff", headers)
      end)
      local client <close> = http.client({ base_url = s.url })
      local response = client:request({ path = "/" })
      assert.are.equal(201, response.status)
      assert.are.equal("h\0llo\xff", response.body)
      assert.are.equal("b", response.headers["set-cookie"])
      assert.are.equal("x/y", response.headers["content-type"])
      assert.are.same({ "Set-Cookie", "a" }, response.header_list[1])
    end))

    it("sends method, query, headers and body as they were given", async(function()
      local seen
      local s <close> = server.start(function(request, connection)
        seen = request
        connection:respond(200)
      end)
      local client <close> = http.client({
        base_url = s.url .. "/v1/", headers = { ["X-One"] = 1, ["X-Two"] = "two" },
      })
      client:request({
        method = "PUT", path = "/things", query = { all = true, name = "a b&c" },
        headers = { ["x-two"] = false, ["X-Empty"] = "", ["Content-Type"] = "x/y" },
        body = "\0\xfe\n",
      })
      assert.are.equal("PUT", seen.method)
      assert.are.equal("/v1/things?all=true&name=a%20b%26c", seen.target)
      assert.are.equal("\0\xfe\n", seen.body)
      assert.are.equal("1", seen.headers["x-one"])
      assert.is_nil(seen.headers["x-two"])
      assert.are.equal("", seen.headers["x-empty"])
      assert.are.equal("x/y", seen.headers["content-type"])
      assert.matches("^runner/", seen.headers["user-agent"])
    end))

    it("adds no type and no expectation of its own", async(function()
      local seen
      local s <close> = server.start(function(request, connection)
        seen = request
        connection:respond(200)
      end)
      local client <close> = http.client({ base_url = s.url })
      client:request({ method = "POST", body = ("x"):rep(2 * 1024 * 1024) })
      assert.are.equal(2 * 1024 * 1024, #seen.body)
      assert.is_nil(seen.headers["content-type"])
      assert.is_nil(seen.headers.expect)
      client:request({ method = "POST" })
      assert.are.equal("0", seen.headers["content-length"])
      client:request({ method = "DELETE" })
      assert.are.equal("DELETE", seen.method)
      assert.is_nil(seen.headers["content-length"])
    end))

    it("sends the pieces a function gives, which may wait", async(function()
      local s <close> = server.start(echo)
      local client <close> = http.client({ base_url = s.url })
      local pieces, n = {}, 0
      local response = client:request({
        method = "PUT",
        body = function()
          n = n + 1
          if n % 10 == 0 then task.sleep(0.001) end
          if n > 50 then return nil end
          pieces[n] = n == 7 and "" or (string.char(n)):rep(n * 4096)
          return pieces[n]
        end,
      })
      assert.are.equal("PUT", response.headers["x-method"])
      assert.is_true(response.body == table.concat(pieces))
    end))

    it("passes on the error of a function that gives the body", async(function()
      local s <close> = server.start(echo)
      local client <close> = http.client({ base_url = s.url })
      local mine = errors.new("config", "mine")
      assert.are.equal(mine, failure(client.request, client, {
        method = "PUT", body = function() error(mine) end,
      }))
      wait_until(function() return next(s.open) == nil end)
    end))

    it("takes an answer that comes before the body is sent", async(function()
      local s <close> = server.start(function() error("no whole request comes") end)
      local client <close> = http.client({ base_url = s.url })
      local n = 0
      local response = client:request({
        method = "POST",
        body = function()
          n = n + 1
          if n == 2 then
            wait_until(function() return next(s.open) end)
            next(s.open):respond(413, "too much", "Connection: close\r\n")
          end
          if n > 2 then task.sleep(0.005) end
          return n < 1000 and "piece" or nil
        end,
      })
      assert.are.equal(413, response.status)
      assert.are.equal("too much", response.body)
      assert.is_true(n < 1000)
    end))

    it("waits for no body after HEAD, 204 and 304", async(function()
      local s <close> = server.start(function(request, connection)
        local status = tonumber(request.target:match("%d+"))
        connection:write(("HTTP/1.1 %d X\r\n%s\r\n"):format(
          status, status == 200 and "Content-Length: 1000\r\n" or ""))
      end)
      local client <close> = http.client({ base_url = s.url, timeout = 20 })
      local response = client:request({ method = "HEAD", path = "/200" })
      assert.are.equal("1000", response.headers["content-length"])
      assert.are.equal("", response.body)
      assert.are.equal(204, client:request({ path = "/204" }).status)
      assert.are.equal(304, client:request({ path = "/304" }).status)
      assert.are.equal(1, s.connections)
      assert.is_false(pcall(client.request, client, { method = "HEAD", body = "x" }))
    end))

    it("reads chunks and trailers, bodies without a length, what follows a 1xx", async(function()
      local answers = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          .. "4\r\nWiki\r\n5;x=y\r\npedia\r\n0\r\nX-T: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nWikipedia",
        "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
          .. "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nWikipedia",
      }
      for _, answer in ipairs(answers) do
        local s <close> = server.start(sends(answer))
        local client <close> = http.client({ base_url = s.url })
        local response = client:request({})
        assert.are.equal(200, response.status)
        assert.are.equal("Wikipedia", response.body)
        assert.is_nil(response.headers["x-early"])
        assert.is_nil(response.headers["x-t"])
      end
    end))

    it("does not follow redirects", async(function()
      local s <close> = server.start(function(_, connection)
        connection:respond(302, "", "Location: /elsewhere\r\n")
      end)
      local client <close> = http.client({ base_url = s.url })
      local response = client:request({})
      assert.are.equal(302, response.status)
      assert.are.equal("/elsewhere", response.headers.location)
      assert.are.equal(1, s.requests)
    end))

    it("limits a body that is collected", async(function()
      local s <close> = server.start(function(_, connection)
        connection:respond(200, ("x"):rep(1000))
      end)
      local client <close> = http.client({ base_url = s.url, max_body = 999 })
      local err = failure(client.request, client, {})
      assert.is_true(errors.is(err, "transport"))
      assert.matches("exceeds 999 bytes", err.message)
      assert.are.equal("EMSGSIZE", err.context.code)
      assert.are.equal(1000, #client:request({ max_body = 1000 }).body)
    end))

    it("goes over a unix socket, whatever proxy the environment names", async(function()
      local dir <close> = folder()
      local s <close> = server.start(echo, dir.path .. "/s")
      uv.os_setenv("http_proxy", "http://user:pw@127.0.0.1:1")
      local client <close> = http.client({ unix_socket = s.path })
      local ok, response = pcall(client.request, client, { path = "/v1.41/info" })
      uv.os_unsetenv("http_proxy")
      assert.is_true(ok, tostring(response))
      assert.are.equal("/v1.41/info", response.headers["x-target"])
    end))
  end)

  describe("connections", function()
    it("are kept and used again", async(function()
      local s <close> = server.start(echo)
      local client <close> = http.client({ base_url = s.url })
      for i = 1, 20 do
        assert.are.equal(tostring(i), client:request({ method = "POST", body = tostring(i) }).body)
      end
      assert.are.equal(1, s.connections)
    end))

    it("are replaced when the server has closed them", async(function()
      local s <close> = server.start(function(request, connection)
        echo(request, connection)
        connection:finish() -- without having announced it
      end)
      local client <close> = http.client({ base_url = s.url })
      for i = 1, 20 do
        assert.are.equal(tostring(i), client:request({ method = "POST", body = tostring(i) }).body)
        wait_until(function() return next(s.open) == nil end)
      end
      assert.are.equal(20, s.connections)
    end))

    for _, kind in ipairs({ "tcp", "unix" }) do
      it("serve 1,000 requests at once, half closed by the server: " .. kind, async(function()
        local dir <close> = folder()
        local s <close> = server.start(function(request, connection)
          local n = tonumber(request.target:match("%d+"))
          if n % 2 == 0 then return echo(request, connection) end
          connection:respond(200, request.body, "Connection: close\r\n")
          connection:finish()
        end, kind == "unix" and dir.path .. "/s" or nil)
        local client <close> = http.client({ base_url = s.url, unix_socket = s.path })
        local right = 0
        for _ = 1, 2 do
          task.scope(function(scope)
            for n = 1, 500 do
              scope:spawn(function()
                local body = ("%d "):format(n):rep(n)
                local response = client:request({ method = "POST", path = "/" .. n, body = body })
                if response.body == body then right = right + 1 end
              end)
            end
          end)
        end
        task.scope(function(scope)
          for n = 1, 1000 do
            scope:spawn(function()
              local response = client:request({ method = "POST", path = "/" .. n, body = "b" .. n })
              if response.body == "b" .. n then right = right + 1 end
            end)
          end
        end)
        assert.are.equal(2000, right)
      end))
    end

    it("are not inherited by processes", async(function()
      local s <close> = server.start(function(_, connection)
        connection:write("HTTP/1.1 200 OK\r\n\r\nx")
      end)
      local script = "readlink /proc/$$/fd/* | grep -c -e socket: -e anon_inode: ; :"
      local before = process.run({ "/bin/sh", "-c", script }).stdout
      local client <close> = http.client({ base_url = s.url })
      local stream <close> = client:stream({})
      assert.are.equal("x", stream:read())
      assert.are.equal(before, process.run({ "/bin/sh", "-c", script }).stdout)
    end))
  end)
end)
