local uv = require("luv")
local cjson = require("cjson")
local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local json_array = require("runner.results.trace.json_array")
local process = require("runner.io.process")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

-- Adds values as fast as it can until the array cannot grow any more, or for ever.
local WRITER = [[
local uv = require("luv")
local array = require("runner.results.trace.json_array").create(arg[1])
local value, n = ('{"name":"%s","n":%%d}'):format(("x"):rep(1000)), 0
repeat
  for _ = 1, 64 do
    n = n + 1
    array:add(value:format(n))
  end
  array:flush()
until array.failure
array:close()
print(array.failure)
]]

describe("a file that is a JSON array", function()
  local dir, path

  before_each(function()
    dir = project.new({ ["writer.lua"] = WRITER })
    path = dir .. "/sub/array.json"
  end)

  after_each(function()
    runner.kill_all()
    project.remove_all()
  end)

  local function values()
    return cjson.decode(project.read(path))
  end

  local function names()
    local list = {}
    for name in uv.fs_scandir_next, assert(uv.fs_scandir(dir .. "/sub")) do list[#list + 1] = name end
    table.sort(list)
    return list
  end

  it("is whole after each step", async(function()
    local array = json_array.create(path)
    assert.are.same({}, values())
    local expected = {}
    for i = 1, 20 do
      for j = 1, i do
        array:add(("[%d,%d]"):format(i, j))
        expected[#expected + 1] = { i, j }
      end
      array:flush()
      assert.are.same(expected, values())
    end
    array:add('"last"')
    array:close()
    expected[#expected + 1] = "last"
    assert.are.same(expected, values())
    assert.are.same({ "array.json" }, names())
    assert.is_nil(array.failure)
  end))

  it("shows what waits soon, without being asked", async(function()
    local array = json_array.create(path)
    array:add("1")
    eventually(function() return #values() == 1 end)
    array:add(cjson.encode(("x"):rep(300000)))
    assert.are.equal(2, #values()) -- too much to keep in memory
    array:close()
  end))

  it("takes the place of an older file, and of what a killed writer left", async(function()
    project.write(dir, { ["sub/array.json"] = "older", ["sub/array.json.tmp"] = "torn" })
    assert(uv.fs_link(path, path .. ".old"))
    local array = json_array.create(path)
    assert.are.same({}, values())
    array:add("1")
    array:close()
    assert.are.same({ 1 }, values())
    assert.are.same({ "array.json" }, names())
  end))

  it("is whole when its writer is killed in the midst of a write", async(function()
    local seed = tonumber(os.getenv("SPEC_SEED")) or os.time()
    math.randomseed(seed)
    local most = 0
    for _ = 1, 40 do
      local size = math.random(10, 1500) * 1000
      uv.fs_unlink(path)
      local pid, done = runner.start(dir, "lua", dir .. "/writer.lua", path)
      eventually(function()
        local stat = uv.fs_stat(path)
        return stat and stat.size > size
      end)
      uv.kill(pid, "sigkill")
      done:wait()
      local ok, list = pcall(values)
      assert(ok, ("seed %d: %s"):format(seed, tostring(list)))
      for i, value in ipairs(list) do assert(value.n == i) end
      most = math.max(most, #list)
    end
    assert.is_true(most > 100)
  end))

  it("keeps what it holds when the disk is full", async(function()
    local result = process.run({ "/bin/sh", "-c", 'trap "" XFSZ; ulimit -f 1000; exec "$0" "$@"', uv.exepath(), "lua",
      dir .. "/writer.lua", path }, { cwd = dir })
    assert.matches("EFBIG", result.stdout .. result.stderr)
    assert.is_true(#values() > 64)
    assert.are.same({ "array.json" }, names())
  end))

  it("appears at the end where there are no hard links", async(function()
    local link = uv.fs_link
    uv.fs_link = function() return nil, "EPERM: operation not permitted" end -- luacheck: ignore 122
    local array = json_array.create(path)
    for i = 1, 3 do
      array:add(tostring(i))
      array:flush()
      uv.fs_link = i == 1 and link or uv.fs_link -- luacheck: ignore 122
      assert.are.same({}, values())
    end
    array:close()
    uv.fs_link = link -- luacheck: ignore 122
    assert.are.same({ 1, 2, 3 }, values())
    assert.are.same({ "array.json" }, names())
  end))

  it("cannot be made where a folder has its name", async(function()
    assert(require("runner.base.files").make_folder(path))
    local ok, message = pcall(json_array.create, path)
    assert.is_false(ok)
    assert.matches("EISDIR", message)
    assert.are.same({ "array.json" }, names())
  end))
end)
