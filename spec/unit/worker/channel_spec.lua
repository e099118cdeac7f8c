--- Messages of our own processes, cut anywhere and between whatever else they print.

local channel = require("runner.worker.channel")

--- Feeds bytes in pieces of each size.
local function in_pieces(make, text, sizes)
  local all = {}
  for _, size in ipairs(sizes) do
    local got = { messages = {}, output = "" }
    local feed = make(got)
    for at = 1, #text, size do feed(text:sub(at, at + size - 1)) end
    all[#all + 1] = got
  end
  return all
end

describe("the lines of a control channel", function()
  local function reader(got)
    return channel.reader(function(message) got.messages[#got.messages + 1] = message end)
  end

  it("are read however they are cut; what is no message is dropped", function()
    local text = channel.encode({ a = 1 }) .. 'nonsense\n"a string"\n\n{"b":\n' .. channel.encode({ c = "ü\n" })
    for _, got in ipairs(in_pieces(reader, text, { 1, 2, 7, #text })) do
      assert.are.same({ { a = 1 }, { c = "ü\n" } }, got.messages)
    end
  end)

  it("come in pieces that others' lines may stand between", function()
    local long = channel.encode({ text = ("x"):rep(50) }):sub(1, -2)
    local text = "+1.0.1 " .. long:sub(1, 20) .. "\n" .. channel.encode({ short = 1 }) .. "+2.0.1 {\"other\"\n"
      .. "+1.0.1 " .. long:sub(21, 30) .. "\n=2.0.1 :2}\n=1.0.1 " .. long:sub(31) .. "\n=9.9.9 {\"whole\":3}\n"
    for _, got in ipairs(in_pieces(reader, text, { 1, 11, #text })) do
      assert.are.same({ { short = 1 }, { other = 2 }, { text = ("x"):rep(50) }, { whole = 3 } }, got.messages)
    end
  end)
end)

describe("messages behind a border", function()
  local function bordered(got)
    return channel.bordered("b0rd3r", function(message) got.messages[#got.messages + 1] = message end,
      function(bytes) got.output = got.output .. bytes end)
  end

  it("are taken out of the output, which stays as it was", function()
    local text = "before\n\nb0rd3r{\"a\":1}\nno line end\nb0rd3r+1 {\"b\"\n\nb0rd3r=1 :2}\n\nb0rd\nb0rd3x\n"
      .. "b0rd3r no message\n"
    for _, got in ipairs(in_pieces(bordered, text, { 1, 2, 3, 5, 9, #text })) do
      assert.are.same({ { a = 1 }, { b = 2 } }, got.messages)
      assert.are.equal("before\nno line end\nb0rd\nb0rd3x", got.output)
    end
  end)
end)
