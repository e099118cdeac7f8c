local frame = require("runner.agent.frame")

local function decode(direction, bytes)
  local frames = {}
  local ok, message = frame.decoder(direction):feed(bytes, function(f) frames[#frames + 1] = f end)
  return ok and frames, message
end

local samples = {
  { "to_agent", "hello", 0, { version = 1, run_id = "run" } },
  { "to_agent", "spawn", 7, {
    flags = 5, lane = 2, deadline_ms = 1, grace_ms = 2, memory = 1 << 40, via = 3, tag = "t",
    cwd = "/", argv = { "a", "", "b\nc" }, env = { "K=V", "U" },
  } },
  { "to_agent", "input", 7, { stream = 3, bytes = "\0\1\2" } },
  { "to_agent", "signal", 7, { number = 15 } },
  { "to_agent", "kill", 7, { grace_ms = 10000 } },
  { "to_agent", "credit", 7, { bytes = 65536 } },
  { "to_agent", "put", 8, { mode = 420, path = "/tmp/x", bytes = "content" } },
  { "to_agent", "mkdtemp", 9, { prefix = "p" } },
  { "to_agent", "ping", 10, {} },
  { "to_agent", "sync", 11, { key = "k", folder = "/f", digest = ("d"):rep(32) } },
  { "to_agent", "entries", 11, { bytes = "\0\1" } },
  { "to_agent", "chunk", 11, { index = 3, bytes = "\0\1" } },
  { "to_agent", "list", 12, { folder = "/f", newer_us = 1 << 40, older_us = 2, globs = { "**", "a" } } },
  { "to_agent", "get", 13, { folder = "/f", path = "a/b", most = 1 << 40 } },
  { "to_agent", "stop", 13, {} },
  { "to_host", "hello", 0, {
    version = 1, arch = "x86_64", cpus = 2, memory = 1 << 33, hostname = "h", cwd = "/",
  } },
  { "to_host", "started", 7, { pid = 123, realtime_us = 1700000000000000 } },
  { "to_host", "out", 7, { stream = 1, bytes = ("x"):rep(65536) } },
  { "to_host", "input_credit", 7, { stream = 0, bytes = 9 } },
  { "to_host", "exit", 7, {
    kind = 1, code = 9, flags = 3, wall_us = 1, user_us = 2, system_us = 3, memory = 4,
    message = "m",
    leaks = { { pid = 5, command = "sleep 1", test = "" }, { pid = 6, command = "c", test = "t" } },
  } },
  { "to_host", "done", 8, { errno = 2, message = "no" } },
  { "to_host", "pong", 10, {} },
  { "to_host", "error", 0, { message = "because" } },
  { "to_host", "need", 11, { what = 1, bytes = "\0\0\0\0" } },
  { "to_host", "taken", 11, { bytes = 65536 } },
  { "to_host", "found", 12, { bytes = "\0" } },
  { "to_host", "data", 13, { bytes = "\0" } },
}

local function expected(sample)
  local copy = { type = sample[2], id = sample[3] }
  for key, value in pairs(sample[4]) do copy[key] = value end
  return copy
end

describe("frame", function()
  for _, sample in ipairs(samples) do
    it(("brings %s back, %s"):format(sample[2], sample[1]), function()
      local direction = frame[sample[1]]
      local bytes = assert(frame.encode(direction, sample[2], sample[3], sample[4]))
      assert.are.same({ expected(sample) }, decode(direction, bytes))
    end)
  end

  it("takes bytes in pieces of any size", function()
    local all, want = {}, {}
    for _, sample in ipairs(samples) do
      if sample[1] == "to_host" then
        all[#all + 1] = frame.encode(frame.to_host, sample[2], sample[3], sample[4])
        want[#want + 1] = expected(sample)
      end
    end
    local bytes = table.concat(all)
    for _, size in ipairs({ 1, 2, 3, 5, 8, 1000, 65536, #bytes }) do
      local got = {}
      local decoder = frame.decoder(frame.to_host)
      for at = 1, #bytes, size do
        assert(decoder:feed(bytes:sub(at, at + size - 1), function(f) got[#got + 1] = f end))
      end
      assert.are.same(want, got)
    end
  end)

  it("delivers what came before a malformed frame", function()
    local got = {}
    local good = frame.encode(frame.to_host, "pong", 3)
    local ok, message = frame.decoder(frame.to_host):feed(good .. "\255\255\255\255", function(f)
      got[#got + 1] = f
    end)
    assert.is_nil(ok)
    assert.matches("impossible length", message)
    assert.are.equal(1, #got)
  end)

  describe("refuses", function()
    local function raw(code, payload)
      return string.pack("<I4BI4", #payload + 5, code, 1) .. payload
    end

    local cases = {
      { "a length below the header's", string.pack("<I4", 4), "impossible length" },
      { "a length above the limit", string.pack("<I4", (1 << 20) + 6), "impossible length" },
      { "an unknown type", raw(200, ""), "unknown type 200" },
      { "a frame of the other direction", frame.encode(frame.to_agent, "ping", 1), "unknown type" },
      { "a frame cut short", raw(66, "\1\0\0\0"), "malformed STARTED: data string too short" },
      { "bytes too many", raw(71, "x"), "malformed PONG: 1 bytes too many" },
      { "a string longer than its frame", raw(72, "\255\255\255\255x"), "malformed ERROR" },
      { "a number above 2^63", raw(66, "\1\0\0\0" .. ("\255"):rep(8)), "beyond all measure" },
      { "a list longer than its frame", raw(69, ("\0"):rep(42) .. "\9\0\0\0"), "malformed EXIT" },
      { "a list of billions", raw(69, ("\0"):rep(42) .. ("\255"):rep(4)), "a list of 4294967295" },
    }
    for _, case in ipairs(cases) do
      it(case[1], function()
        local frames, message = decode(frame.to_host, case[2])
        assert.is_nil(frames)
        assert.matches(case[3], message, 1, true)
      end)
    end
  end)

  it("does not encode what no frame can hold", function()
    local bytes, message = frame.encode(frame.to_agent, "put", 1, {
      path = "x", bytes = ("x"):rep(1024 * 1024),
    })
    assert.is_nil(bytes)
    assert.matches("do not fit", message)
  end)

  it("survives random bytes, and random damage to good frames", function()
    local seed = tonumber(os.getenv("RUNNER_SPEC_SEED") or os.time())
    math.randomseed(seed)
    local good = {}
    for _, sample in ipairs(samples) do
      if #tostring(sample[4].bytes) < 1000 then
        good[#good + 1] = frame.encode(frame[sample[1]], sample[2], sample[3], sample[4])
      end
    end
    for round = 1, 5000 do
      local bytes
      if round % 2 == 0 then
        local list = {}
        for i = 1, math.random(0, 60) do list[i] = string.char(math.random(0, 255)) end
        bytes = table.concat(list)
        if math.random() < 0.7 then
          bytes = string.pack("<I4BI4", #bytes + 5, math.random(60, 75), 1) .. bytes
        end
      else
        bytes = good[math.random(#good)]
        local at = math.random(#bytes)
        bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
      end
      for _, direction in ipairs({ frame.to_host, frame.to_agent }) do
        local decoder = frame.decoder(direction)
        local ok, result, message = pcall(decoder.feed, decoder, bytes, function() end)
        local fine = ok and (result == true or type(message) == "string")
        assert(fine, ("seed %d, round %d: %s"):format(seed, round, tostring(result)))
      end
    end
  end)
end)
