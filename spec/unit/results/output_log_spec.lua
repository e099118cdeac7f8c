local uv = require("luv")
local output_log = require("runner.results.output_log")
local project = require("spec.support.project")

local read = project.read

describe("attempt_log", function()
  local dir, warnings
  local warn = output_log.warn

  before_each(function()
    dir, warnings = project.new(), {}
    output_log.warn = function(message) warnings[#warnings + 1] = message end
  end)

  after_each(function()
    output_log.warn = warn
    project.remove_all()
  end)

  it("keeps every byte in the file, both streams in order of arrival", function()
    local log = output_log.open(dir, { id = "a" }, 1)
    log:write("stdout", "one\n")
    log:write("stderr", "two\0\xff\n")
    log:write("stdout", "three")
    local summary = log:close()
    assert.are.equal("one\ntwo\0\xff\nthree", read(dir .. "/" .. summary.path))
    assert.are.same({ head = "one\nthree" }, summary.stdout)
    assert.are.same({ head = "two\0\xff\n" }, summary.stderr)
    assert.are.same({}, warnings)
  end)

  it("makes no file for an attempt without output", function()
    local log = output_log.open(dir, { id = "silent" }, 2)
    log:write("stdout", "")
    assert.are.same({}, log:close())
    assert.is_nil(uv.fs_stat(dir .. "/logs"))
  end)

  it("keeps beginning and end of much output, cut between characters", function()
    for _, chunk in ipairs({ 1, 7, 8191, 8192, 8193, 50000 }) do
      local log = output_log.open(dir, { id = "big" .. chunk }, 1)
      local whole = ("x日本"):rep(20000)
      for from = 1, #whole, chunk do log:write("stdout", whole:sub(from, from + chunk - 1)) end
      local summary = log:close()
      local out = summary.stdout
      assert.are.equal(whole, read(dir .. "/" .. summary.path))
      assert.are.equal(#whole, #out.head + out.dropped + #out.tail)
      assert.is_true(#out.head > 8192 - 4 and #out.head <= 8192)
      assert.is_true(#out.tail > 8192 - 4 and #out.tail <= 8192)
      assert.are.equal(whole:sub(1, #out.head), out.head)
      assert.are.equal(whole:sub(-#out.tail), out.tail)
      assert.is_truthy(utf8.len(out.head) and utf8.len(out.tail))
    end
  end)

  it("drops nothing of output that just fits", function()
    local log = output_log.open(dir, { id = "fits" }, 1)
    log:write("stdout", ("a"):rep(8192) .. ("b"):rep(8192))
    assert.are.same({ head = ("a"):rep(8192) .. ("b"):rep(8192) }, log:close().stdout)
  end)

  it("holds little memory while a test prints without end", function()
    local log = output_log.open("/dev/null/nowhere", { id = "endless" }, 1)
    collectgarbage()
    local before = collectgarbage("count")
    local chunk = ("x"):rep(65536)
    for _ = 1, 2000 do log:write("stdout", chunk) end
    collectgarbage()
    assert.is_true(collectgarbage("count") - before < 200)
    assert.are.equal(2000 * 65536 - 16384, log:close().stdout.dropped)
  end)

  it("names files safely, shortly and apart", function()
    local seen = {}
    for _, id in ipairs({ "", ".", "..", "../../etc/passwd", "a/b.py::t[x y]", "a/b.py::t[x\ny]",
      "-rf", "é", "A", "a",
      ("p"):rep(10000), ("p"):rep(9999), "\0\xff", "CON" }) do
      local name = output_log.file_name(id, 1)
      assert.matches("^[%w_][%w_.-]*%.attempt1%.log$", name)
      assert.is_true(#name <= 80 + 1 + 16 + #".attempt1.log")
      assert.is_nil(seen[name:lower()], name)
      seen[name:lower()] = true
      assert.is_true(output_log.is_log(name))
    end
    assert.is_false(output_log.is_log("notes.log"))
  end)

  it("tells a disk error once and goes on", function()
    local file = assert(io.open(dir .. "/logs", "wb")) -- no folder can be made here
    file:close()
    for i = 1, 3 do
      local log = output_log.open(dir, { id = "t" .. i }, 1)
      log:write("stdout", "kept in memory")
      log:write("stdout", " all the same")
      assert.are.same({ stdout = { head = "kept in memory all the same" } }, log:close()) -- and no path
    end
    assert.are.equal(1, #warnings)
    assert.matches("the run goes on", warnings[1])
  end)

  it("leaves no descriptor open", function()
    local function descriptors()
      local n, scan = 0, uv.fs_scandir("/proc/self/fd")
      while scan and uv.fs_scandir_next(scan) do n = n + 1 end
      return n
    end
    local before = descriptors()
    for i = 1, 20 do
      local log = output_log.open(dir, { id = "t" .. i }, 1)
      log:write("stdout", "x")
      log:close()
    end
    assert.are.equal(before, descriptors())
  end)

  it("writes kept output as one text", function()
    assert.are.equal("", output_log.text(nil))
    assert.are.equal("ab", output_log.text({ head = "a", tail = "b" }))
    assert.are.equal("a\n[3 bytes left out; whole output: logs/x]\nb",
      output_log.text({ head = "a", tail = "b", dropped = 3 }, "logs/x"))
  end)
end)
