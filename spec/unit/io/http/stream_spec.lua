local async = require("spec.support.async")
local http = require("runner.io.http")
local server = require("spec.support.http_server")
local support = require("spec.support.http")
local task = require("runner.base.task")
local uv = require("luv")

local echo = support.echo
local under_asan = os.getenv("ASAN_OPTIONS") ~= nil

describe("http", function()
  describe("streams", function()
    --- Sends `total` bytes, each piece once the last one left; `sent` counts.
    local function flood(total)
      local piece = ("0123456789abcdef"):rep(4096)
      local state = { sent = 0 }
      state.handler = function(_, connection)
        connection:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(total))
        local function more(err)
          if err or state.sent >= total then return end
          state.sent = state.sent + #piece
          connection:write(piece, more)
        end
        more()
      end
      return state
    end

    it("hold 100 MB in little memory", async(function()
      local total = 100 * 1024 * 1024
      local s <close> = server.start(flood(total).handler)
      local client <close> = http.client({ base_url = s.url })
      local received, largest = 0, 0
      collectgarbage()
      local before, most = uv.resident_set_memory(), 0
      client:request({
        on_body = function(chunk)
          received = received + #chunk
          largest = math.max(largest, #chunk)
          if received % 1024 < 16 then most = math.max(most, uv.resident_set_memory()) end
        end,
      })
      most = math.max(most, uv.resident_set_memory())
      assert.are.equal(total, received)
      assert.is_true(largest <= 512 * 1024, "a chunk of " .. largest)
      if not under_asan then -- its quarantine keeps what was freed
        local more = (most - before) / 1024 / 1024
        assert.is_true(more < 24, ("%.1f MB more"):format(more))
      end
    end))

    it("make the server wait for a slow reader", async(function()
      local total = 64 * 1024 * 1024
      local state = flood(total)
      local s <close> = server.start(state.handler)
      local client <close> = http.client({ base_url = s.url })
      local stream <close> = client:stream({})
      assert.are.equal(200, stream.status)
      -- Nobody reads: the server comes to a stand-still once the kernel's buffers and ours are full.
      local last = -1
      while state.sent ~= last do
        last = state.sent
        task.sleep(0.1)
      end
      assert.is_true(state.sent < 32 * 1024 * 1024, state.sent)
      local received = 0
      for chunk in stream.read, stream do received = received + #chunk end
      assert.are.equal(total, received)
      assert.is_nil(stream:read())
    end))

    it("closed early: the server notices, the client goes on", async(function()
      local state = flood(1 << 30)
      local s <close> = server.start(state.handler)
      local client <close> = http.client({ base_url = s.url })
      do
        local stream <close> = client:stream({})
        assert.is_string(stream:read())
      end
      s.handler = echo
      assert.are.equal("again", client:request({ method = "POST", body = "again" }).body)
    end))

    it("give bytes as they come", async(function()
      local connection
      local s <close> = server.start(function(_, c)
        connection = c
        c:write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      end)
      local client <close> = http.client({ base_url = s.url })
      local stream <close> = client:stream({})
      for _, word in ipairs({ "one", "two" }) do
        connection:write("3\r\n" .. word .. "\r\n")
        assert.are.equal(word, stream:read())
      end
      connection:write("0\r\n\r\n")
      assert.is_nil(stream:read())
    end))
  end)
end)
