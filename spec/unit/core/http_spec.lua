
describe("http", function()
  describe("the primitive", function()
    local core = require("runner.core.http")

    it("is what loads libcurl: a start without it is half as long", function()
      local script = [[
        local function maps() return io.open("/proc/self/maps"):read("a"):find("libcurl", 1, true) ~= nil end
        local before = maps()
        require("runner.core.http").multi():close()
        print(before, maps())
      ]]
      local path = os.tmpname()
      local file <close> = assert(io.open(path, "w"))
      file:write(script):flush()
      local said = assert(io.popen(("'%s' lua '%s'"):format(require("luv").exepath(), path)))
      assert.are.equal("false\ttrue\n", said:read("a"))
      said:close()
      os.remove(path)
    end)

    it("never waits, and says so", function()
      local multi <close> = core.multi()
      local transfer = assert(multi:add({ url = "http://127.0.0.1:1/" }))
      assert.are.same({ nil, "no response yet", "EAGAIN" }, { transfer:head() })
      assert.are.same({ nil, "no bytes yet", "EAGAIN" }, { transfer:read() })
      assert.is_nil(multi:ready())
      assert.is_true(multi:action())
      assert.is_false(transfer:wants())
    end)

    it("can be closed in any order, and more than once", function()
      for _ = 1, 3 do
        local multi = core.multi()
        local one = assert(multi:add({ url = "http://127.0.0.1:1/" }))
        local two = assert(multi:add({ url = "http://127.0.0.1:1/" }))
        multi:action()
        one:close()
        one:close()
        multi:close()
        multi:close()
        assert.are.equal("ECANCELED", select(3, two:head()))
        assert.are.equal("ECANCELED", select(3, multi:action()))
        assert.are.equal("ECANCELED", select(3, multi:add({ url = "http://127.0.0.1:1/" })))
        assert.is_false(pcall(multi.fd, multi))
        assert.is_nil(multi:ready())
        two:close()
        assert.is_false(pcall(two.head, two))
      end
    end)

    it("lets go of transfers that are dropped", function()
      local multi <close> = core.multi()
      local seen = setmetatable({}, { __mode = "k" })
      for _ = 1, 100 do
        local options = { url = "http://127.0.0.1:1/", body = ("x"):rep(100000) }
        seen[assert(multi:add(options))] = true
      end
      multi:action()
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(seen))
      multi:action()
      assert.is_nil(multi:ready())
    end)

    it("checks its arguments", function()
      local multi <close> = core.multi()
      assert.has_error(function() multi:add({}) end)
      assert.has_error(function() multi:add({ url = 1 }) end)
      assert.has_error(function() multi:add({ url = "http://h/", headers = { {} } }) end)
      assert.has_error(function() multi:add({ url = "http://h/", headers = "A: b" }) end)
      local transfer <close> = assert(multi:add({ url = "http://h/" }))
      assert.has_error(function() transfer:write("x") end)
      assert.has_error(function() transfer.read(multi) end)
    end)
  end)
end)
