--- The file of a history: that nothing that is found in its place ends a run or makes it worse, and merging.

local uv = require("luv")
local async = require("spec.support.async")
local files = require("runner.base.files")
local format = require("runner.history.format")
local history = require("runner.history")
local past_run = require("spec.support.past_run")
local process = require("runner.io.process")
local project = require("spec.support.project")
local store = require("runner.history.store")

describe("the history", function()
  local path

  before_each(function() path = project.new({}) .. "/history.jsonl" end)
  after_each(project.remove_all)

  local function known()
    local opened, warnings = history.open(path)
    assert.are.same({}, warnings)
    return opened
  end

  local function test(id, group)
    return { id = id, group = group or "unit", file = id:match("^(.-)::") }
  end

  describe("meets a file that", function()
    local function write(bytes)
      local file = assert(io.open(path, "wb"))
      file:write(bytes)
      file:close()
    end

    local function sound()
      past_run(path, { a = { "passed", 1 }, b = { "passed", 2 } })
      return project.read(path)
    end

    local function backups()
      local list, scan = {}, uv.fs_scandir(path:match("^(.*)/"))
      for name in uv.fs_scandir_next, scan do
        if name:find(".damaged-", 1, true) then list[#list + 1] = project.read(path:match("^(.*)/") .. "/" .. name) end
      end
      return list
    end

    --- It is told, and nothing changes it.
    local function is_left_alone(pattern)
      local before = uv.fs_stat(path).type == "file" and project.read(path)
      local opened, warnings = history.open(path)
      assert.are.equal(1, #warnings)
      assert.matches(pattern, warnings[1])
      assert.are.equal(1, (opened:estimate(test("nobody"))))
      assert.are.same({ "not recorded" }, past_run(path, { c = { "passed", 1 } }))
      local ok, problem = store.update(path, function() error("must not be called") end)
      assert.is_nil(ok)
      assert.matches(pattern, problem)
      if before then assert.are.equal(before, project.read(path)) end
      assert.are.same({}, backups())
    end

    it("was being written when its writer was killed, and tidies up", async(function()
      local before = sound()
      local folder = path:match("^(.*)/")
      local script = project.new({ ["write.lua"] = ([[
        local uv, path = require("luv"), %q
        uv.fs_fsync = function() uv.kill(uv.os_getpid(), "sigkill") end
        require("runner.history.store").update(path, function() end)
      ]]):format(path) }) .. "/write.lua"
      assert.are.equal(9, process.run({ uv.exepath(), "lua", script }, { cwd = uv.cwd() }).signal)
      local left = files.names(folder)
      assert.are.equal(2, #left)
      assert.matches("^%.history%.jsonl%.runner%-%w+$", left[1])
      assert.are.equal(before, project.read(path))
      local others = { [".history.jsonl.runner-notes"] = "x", ["history.jsonl.runner-abcdef"] = "x" }
      project.write(folder, others)
      past_run(path, { c = { "passed", 1 } })
      assert.are.same({ ".history.jsonl.runner-notes", "history.jsonl", "history.jsonl.runner-abcdef" },
        files.names(folder))
      assert.are.equal(1, known():duration(test("a")))
      assert.are.equal(1, known():duration(test("c")))
    end))

    it("has costs that nobody asks for any more", function()
      local lines = { '{"cost":["module","unit","a.py"],"s":0.2,"samples":["1Tjk3x0ab1",0.2]}',
        '{"cost":["worker","f","unit"],"s":1,"samples":["1Tjk3x0ab1",1]}' }
      write(sound():gsub("\n", "\n" .. table.concat(lines, "\n") .. "\n", 1))
      assert.are.equal(2, known():duration(test("b")))
      past_run(path, { c = { "passed", 1 } })
      assert.are.equal(2, known():duration(test("b")))
      assert.are.same({}, backups())
    end)

    it("is of a newer version, and leaves it alone", function()
      write('{"runner_history":2,"samples":10}\n{"new":1}\n')
      is_left_alone("version 2")
    end)

    it("is something else, and leaves it alone", function()
      write("precious notes\n")
      is_left_alone("no history")
      write("\0\1\2")
      is_left_alone("no history")
      write("{}")
      is_left_alone("no history")
    end)

    it("is a folder, and leaves it alone", function()
      uv.fs_mkdir(path, 493)
      is_left_alone("folder")
    end)

    it("has 500 MB, and does not even read it", function()
      write("")
      local fd = assert(uv.fs_open(path, "r+", 420))
      uv.fs_ftruncate(fd, 500 << 20)
      uv.fs_close(fd)
      local _, warnings = history.open(path)
      assert.matches("500 MB", warnings[1])
      assert.are.same({ "not recorded" }, past_run(path, { c = { "passed", 1 } }))
      assert.are.equal(500 << 20, uv.fs_stat(path).size)
    end)

    it("has conflict markers: both sides are used, nothing is written", function()
      local text = sound()
      local ours = text:match('({"test":%["unit","a"%].-\n)')
      local theirs = ours:gsub('"unit","a"', '"unit","other"')
      write((text:gsub('{"test":%["unit","a"%].-\n', function(line)
        return "<<<<<<< HEAD\n" .. line .. "=======\n" .. theirs .. ">>>>>>> branch\n"
      end)))
      local before = project.read(path)
      local opened, warnings = history.open(path)
      assert.matches("conflict markers", warnings[1])
      assert.are.equal(1, opened:duration(test("a")))
      assert.are.equal(1, opened:duration(test("other")))
      assert.are.equal(2, opened:duration(test("b")))
      assert.are.same({ "not recorded" }, past_run(path, { c = { "passed", 1 } }))
      assert.are.equal(before, project.read(path))
    end)

    it("is half written: the rest is used, and a copy kept before it is written", function()
      local text = sound()
      write(text:sub(1, -20))
      local opened, warnings = history.open(path)
      assert.matches("1 of its lines is damaged", warnings[1])
      assert.are.equal(1, opened:duration(test("a")))
      assert.is_nil(opened:duration(test("b")))
      local told = past_run(path, { b = { "passed", 5 } })
      assert.matches("damaged", told[1])
      assert.are.same({ text:sub(1, -20) }, backups())
      assert.are.equal(5, known():duration(test("b")))
    end)

    it("is empty, has no line end, other line ends, another JSON style, or lines twice", function()
      write("")
      assert.are.equal(0, #known():runs())
      local text = sound()
      write(text:sub(1, -2))
      assert.are.equal(2, known():duration(test("b")))
      write((text:gsub("\n", "\r\n")))
      assert.are.equal(2, known():duration(test("b")))
      write((text:gsub('":%[', '": [ '):gsub(",", " , ")))
      assert.are.equal(2, known():duration(test("b")))
      past_run(path, { b = { "passed", 2 } })
      assert.are.equal(2, known():entry(test("b")).n[1])
      write(text .. text)
      assert.are.equal(2, known():duration(test("b")))
      past_run(path, { b = { "passed", 4 } })
      assert.are.same({}, backups())
      assert.are.equal(2, #known():entry(test("b")).samples.passed / 2)
    end)

    it("says of a test's file what cannot be", function()
      past_run(path, { ["f::a"] = { "passed", 1 } })
      write((project.read(path):gsub('"file":%d+', '"file":99999999999999999999')))
      assert.are.equal(1, (history.open(path):estimate(test("f::new"))))
    end)

    it("cannot be written: it is told", function()
      local where = project.new({ file = "" }) .. "/file/history.jsonl" -- below a file, there is no folder
      local told = past_run(where, { a = { "passed", 1 } })
      assert.are.equal(1, #told)
      assert.matches("could not be written", told[1])
      assert.are.equal(1, #past_run("/sys/history.jsonl", { a = { "passed", 1 } }))
    end)

    it("was damaged in any way: nothing is raised, what can be read is used, nothing is lost", function()
      local seed = tonumber(os.getenv("RUNNER_SPEC_SEED")) or os.time()
      print("seed " .. seed)
      math.randomseed(seed)
      for i = 1, 30 do
        past_run(path, { ["f::" .. i % 9] = { { "failed", i }, { "passed", i } }, ["g::" .. i] = { "passed", 1 },
          ["h|x" .. i % 3] = { "timed_out", i } }, { host = "h" .. i % 3, whole = i % 2 == 0 })
      end
      local whole = project.read(path)
      local lines = {}
      for line in whole:gmatch("[^\n]*\n") do lines[#lines + 1] = line end
      local function damage(text)
        local at, length = math.random(#text), math.random(0, 40)
        local kind = math.random(7)
        if kind == 1 then return text:sub(1, at) end
        if kind == 2 then return text:sub(1, at) .. string.char(math.random(0, 255)) .. text:sub(at + 2) end
        if kind == 3 then return text:sub(1, at) .. text:sub(at + length) end
        if kind == 4 then return text:sub(1, at) .. text:sub(at - length, at) .. text:sub(at + 1) end
        if kind == 5 then return text:sub(1, at) .. ("\0"):rep(length) .. text:sub(at + length) end
        if kind == 6 then return (text:gsub("%d+", function() return "-1e999" end, math.random(3))) end
        return text:sub(1, at) .. lines[math.random(#lines)] .. text:sub(at + 1)
      end
      local damaged, kept = 0, 0
      for _ = 1, 120 do
        local text = whole
        for _ = 1, math.random(4) do text = damage(text .. " ") end
        write(text)
        local opened, warnings = history.open(path)
        for _, one in ipairs({ test("f::1"), test("g::4"), test("x1", "h"), test("nothing") }) do
          local seconds = opened:estimate(one)
          assert.is_true(format.is_duration(seconds))
          opened:entry(one)
          opened:is_flaky(one)
          opened:failure_rate(one)
          opened:p95(one)
        end
        opened:speed("local", "h1")
        opened:cost("batch", "f", "unit")
        for one in opened:tests() do opened:entry(one) end
        local told = past_run(path, { ["f::1"] = { "passed", 1 }, new = { "passed", 1 } })
        if told[1] == "not recorded" then
          assert.are.equal(1, #warnings)
          assert.are.equal(text, project.read(path))
        else
          local copies = backups()
          if #warnings > 0 then assert.are.same({ text }, copies) end
          damaged, kept = damaged + #warnings, kept + #copies
          assert.are.equal(1, known():duration(test("new")))
        end
        for name in uv.fs_scandir_next, uv.fs_scandir(path:match("^(.*)/")) do
          if name:find(".damaged-", 1, true) then os.remove(path:match("^(.*)/") .. "/" .. name) end
        end
      end
      assert.is_true(damaged > 20 and kept >= damaged, ("%d damaged, %d kept"):format(damaged, kept))
    end)
  end)

  describe("merges", function()
    local function text_of(...)
      local file = project.new({}) .. "/h.jsonl"
      for _, run in ipairs({ ... }) do past_run(file, run[1], run[2]) end
      return project.read(file)
    end

    local function merged(base, ours, theirs)
      local result = store.unite(store.parse(base), store.parse(ours), store.parse(theirs))
      local file = assert(io.open(path, "wb"))
      file:write(store.render(result))
      file:close()
      return known()
    end

    it("what both sides have learned since", function()
      local start = { { a = { "passed", 1 }, b = { "passed", 1 } }, { run = "0", time = 1700000000 } }
      local left = { { a = { "passed", 3 }, l = { "passed", 5 } }, { run = "1", time = 1700000100 } }
      local right = { { a = { { "failed", 5 }, { "passed", 5 } } }, { run = "2", time = 1700000200 } }
      local opened = merged(text_of(start), text_of(start, left), text_of(start, right))
      local entry = opened:entry(test("a"))
      assert.are.same({ 3, 1 }, entry.n)
      assert.are.same({ 1, 3, 5 }, { entry.samples.passed[2], entry.samples.passed[4], entry.samples.passed[6] })
      assert.are.equal("flaky", opened:entry(test("a")).last[2])
      assert.are.equal(5, opened:duration(test("l")))
      assert.are.equal(1, opened:duration(test("b")))
      assert.are.equal(3, #opened:runs())
      local other = store.render(store.unite(store.parse(text_of(start)), store.parse(text_of(start, right)),
        store.parse(text_of(start, left))))
      assert.are.equal(other, project.read(path), "whichever side is whose")
    end)

    it("what one side has forgotten", function()
      local start = { { a = { "passed", 1 }, b = { "passed", 1 } }, { run = "0", time = 1700000000 } }
      local base = text_of(start)
      local pruned = base:gsub('{"test":%["unit","a"%].-\n', "")
      assert.is_nil(merged(base, pruned, base):duration(test("a")))
      assert.is_nil(merged(base, base, pruned):duration(test("a")))
      local more = text_of(start, { { a = { "passed", 9 } }, { run = "1", time = 1700000100 } })
      assert.is_number(merged(base, pruned, more):duration(test("a")))
    end)

    it("histories without a common past", function()
      local opened = merged("", text_of({ { a = { "passed", 1 } }, { run = "1" } }),
        text_of({ { a = { "passed", 2 }, b = { "passed", 2 } }, { run = "2" } }))
      assert.are.equal(2, #opened:entry(test("a")).samples.passed / 2)
      assert.are.same({ 2, 0 }, opened:entry(test("a")).n, "no fewer than there are samples")
      assert.are.equal(2, opened:duration(test("b")))
    end)
  end)
end)
