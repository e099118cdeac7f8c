--- The agent's side of a sync, spoken to frame by frame: what hostile or broken hosts may try, and what is left behind
--- by one that goes away in the middle. spec/unit/files/sync_spec.lua has the rest.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local frame = require("runner.agent.frame")
local hash = require("runner.core.hash")
local project = require("spec.support.project")
local task = require("runner.base.task")
local tree = require("spec.support.tree")

local FILE, LINK, FOLDER = 1, 2, 3

local function file(path, contents, mode)
  return { kind = FILE, path = path, mode = mode or 420, size = #contents, hash = hash.sha256(contents) }
end

local function link(path, target) return { kind = LINK, path = path, mode = 511, target = target } end
local function folder(path) return { kind = FOLDER, path = path, mode = 493 } end

local function encode(entries)
  local parts = {}
  for i, e in ipairs(entries) do
    parts[i] = ("<BI4I8s4s4s4"):pack(e.kind, e.mode, e.size or 0, e.hash or "", e.path, e.target or "")
  end
  return table.concat(parts)
end

--- A host that says what it likes. `heard(type)` waits for a frame of that type, or for ERROR.
local function host()
  local home = project.new({})
  local stream = agents.stream({ "HOME=" .. home, "PATH=" .. os.getenv("PATH") })
  local self = { home = home, stream = stream, inbox = task.channel() }
  local decoder = frame.decoder(frame.to_host)
  stream:start(function(bytes)
    if not bytes then return self.inbox:close() end
    assert(decoder:feed(bytes, function(f) self.inbox:put(f) end))
  end)
  function self.send(name, id, fields)
    stream:write((assert(frame.encode(frame.to_agent, name, id, fields))))
  end
  function self.heard(...)
    local wanted = { ... }
    while true do
      local f = self.inbox:get()
      assert(f, "the agent has gone")
      for _, kind in ipairs(wanted) do
        if f.type == kind then return f end
      end
    end
  end
  --- Begins a sync and sends the manifest.
  function self.sync(id, entries, into)
    local bytes = type(entries) == "string" and entries or encode(entries)
    self.send("sync", id, { key = "spec", folder = into or "", digest = hash.sha256(bytes) })
    if self.heard("need", "done").type == "done" then return end
    if #bytes > 0 then self.send("entries", id, { bytes = bytes }) end
    self.send("entries", id)
  end
  function self.finish()
    stream:shutdown()
    local exit = stream.exited:wait()
    stream:close()
    return exit
  end
  self.send("hello", 0, { version = 1, run_id = "spec" })
  return self
end

local function tree_of(h, number) return ("%s/.cache/runner/trees/spec/%d/tree"):format(h.home, number or 0) end

describe("agent sync", function()
  after_each(project.remove_all)

  it("makes files, links and folders, and asks for nothing that it can make itself", async(function()
    local h = host()
    h.sync(1, { folder("d"), folder("d/empty"), file("d/x", "contents", 493), file("e", ""), link("l", "d/x") })
    assert.are.equal("\2\0\0\0", h.heard("need").bytes)
    assert.are.equal(frame.needs.over, h.heard("need").what)
    h.send("chunk", 1, { index = 2, bytes = "cont" })
    h.send("chunk", 1, { index = 2, bytes = "ents" })
    local done = h.heard("done")
    assert.are.equal(0, done.errno)
    assert.are.equal(tree_of(h), done.message)
    assert.are.same({
      d = "folder 755", ["d/empty"] = "folder 755", ["d/x"] = "file 755 contents", e = "file 644 ", l = "link d/x",
    }, tree.describe(tree_of(h)))
    assert.are.same({ code = 0, signal = 0 }, h.finish())
  end))

  describe("refuses", function()
    local x = file("x", "x")
    local hostile = {
      ["a path that leads up"] = { file("../x", "x") },
      ["a path that leads up in the middle"] = { folder("a"), folder("a/.."), file("a/../x", "x") },
      ["an absolute path"] = { file("/tmp/x", "x") },
      ["an empty path"] = { file("", "x") },
      ["a path with an empty part"] = { folder("a"), file("a//x", "x") },
      ["a path that ends in a slash"] = { folder("a/") },
      ["the folder itself"] = { folder(".") },
      ["a NUL in a path"] = { file("a\0b", "x") },
      ["a path that is too long"] = { file(("a/"):rep(2100) .. "x", "x") },
      ["a name that is too long"] = { file(("a"):rep(256), "x") },
      ["a file below a link"] = { link("a", "/tmp"), file("a/x", "x") },
      ["a file below a file"] = { file("a", "x"), file("a/x", "x") },
      ["a file without its folder"] = { file("a/x", "x") },
      ["the same path twice"] = { x, x },
      ["disorder"] = { file("y", ""), x },
      ["a link to nothing"] = { link("a", "") },
      ["a target with a NUL"] = { link("a", "b\0c") },
      ["a kind that there is not"] = { { kind = 4, path = "x", mode = 0 } },
      ["a mode with more than permissions"] = { file("x", "x", 2541) },
      ["a hash of another length"] = { { kind = FILE, path = "x", mode = 420, size = 1, hash = "short" } },
      ["a folder with a size"] = { { kind = FOLDER, path = "x", mode = 493, size = 1 } },
      ["a truncated entry"] = encode({ x }):sub(1, -2),
      ["bytes behind the last entry"] = encode({ x }) .. "\0",
      ["a length beyond the end"] = encode({ x }):sub(1, -5) .. "\255\255\255\255",
    }
    for name, entries in pairs(hostile) do
      it(name, async(function()
        local h = host()
        h.sync(1, entries)
        assert.matches("ENTRIES", h.heard("error").message)
        assert.are.equal(70, h.finish().code)
        assert.are.same({}, tree.describe(tree_of(h)))
      end))
    end

    local function after_need(name, send, expected)
      it(name, async(function()
        local h = host()
        h.sync(1, { file("x", "12345"), file("y", "1") })
        h.heard("need")
        send(h)
        assert.matches(expected or "CHUNK", h.heard("error").message)
        assert.are.equal(70, h.finish().code)
        assert.are.same({}, tree.describe(tree_of(h)))
        assert.is_nil(uv.fs_stat(tree_of(h) .. "/../incoming"))
      end))
    end
    after_need("more bytes than the file has", function(h) h.send("chunk", 1, { index = 0, bytes = "123456" }) end)
    after_need("another file first", function(h) h.send("chunk", 1, { index = 1, bytes = "1" }) end)
    after_need("an index beyond the end", function(h) h.send("chunk", 1, { index = 99, bytes = "1" }) end)
    after_need("an empty chunk", function(h) h.send("chunk", 1, { index = 0, bytes = "" }) end)
    after_need("a second manifest", function(h) h.send("entries", 1, { bytes = "x" }) end, "ENTRIES")

    for name, fields in pairs({
      ["a key that is a path"] = { key = "../x", digest = ("x"):rep(32) },
      ["no key"] = { key = "", digest = ("x"):rep(32) },
      ["a long key"] = { key = ("x"):rep(81), digest = ("x"):rep(32) },
      ["a relative folder"] = { key = "x", folder = "x", digest = ("x"):rep(32) },
      ["a short digest"] = { key = "x", digest = "x" },
    }) do
      it(name, async(function()
        local h = host()
        h.send("sync", 1, fields)
        assert.are.equal("malformed SYNC", h.heard("error").message)
        h.finish()
      end))
    end

    for name, request in pairs({
      ["a pattern that leads up"] = { "list", { folder = "/tmp", globs = { "a/../b" } } },
      ["an absolute pattern"] = { "list", { folder = "/tmp", globs = { "/etc/*" } } },
      ["an empty pattern"] = { "list", { folder = "/tmp", globs = { "" } } },
      ["a relative folder to look in"] = { "list", { folder = "tmp", globs = { "*" } } },
      ["to read what leads up"] = { "get", { folder = "/tmp", path = "../etc/passwd", most = 1 } },
      ["to read an absolute path"] = { "get", { folder = "/tmp", path = "/etc/passwd", most = 1 } },
    }) do
      it(name, async(function()
        local h = host()
        h.send(request[1], 1, request[2])
        assert.matches(request[1]:upper(), h.heard("error").message)
        h.finish()
      end))
    end
  end)

  it("refuses contents that are not what the manifest says, and leaves nothing of them", async(function()
    local h = host()
    h.sync(1, { file("x", "12345") })
    h.heard("need")
    h.send("chunk", 1, { index = 0, bytes = "54321" })
    assert.are.equal(84, h.heard("done").errno) -- EILSEQ
    h.send("ping", 2)
    h.heard("pong")
    assert.are.same({}, tree.describe(tree_of(h)))
    h.finish()
    assert.is_nil(uv.fs_stat(tree_of(h) .. "/../incoming"))
  end))

  it("does not follow links that are in the way", async(function()
    local h, outside = host(), project.new({ victim = "untouched" })
    local into = project.new({})
    assert(uv.fs_symlink(outside, into .. "/d"))
    h.sync(1, { folder("d"), file("d/victim", "") }, into)
    local done = h.heard("done")
    assert.are.equal(17, done.errno) -- EEXIST: the link is not ours to remove
    assert.are.same({ victim = "file 644 untouched" }, tree.describe(outside))
    h.finish()
  end))

  it("replaces a link that tests have put into a folder of ours", async(function()
    local h, outside = host(), project.new({ victim = "untouched" })
    h.sync(1, { folder("d"), file("d/victim", "") })
    h.heard("done")
    tree.remove(tree_of(h) .. "/d")
    assert(uv.fs_symlink(outside, tree_of(h) .. "/d"))
    h.sync(2, { folder("d"), file("d/other", ""), file("d/victim", "") })
    assert.are.equal(0, h.heard("done").errno)
    assert.are.same({ victim = "file 644 untouched" }, tree.describe(outside))
    assert.are.equal("folder 755", tree.describe(tree_of(h)).d)
    h.finish()
  end))

  it("leaves whole files and no halves when the host goes away in the middle", async(function()
    local h = host()
    h.sync(1, { file("a", "whole"), file("b", "never sent in full") })
    h.heard("need")
    h.send("chunk", 1, { index = 0, bytes = "whole" })
    h.send("chunk", 1, { index = 1, bytes = "never sent" })
    assert.are.equal(0, h.finish().code)
    assert.are.same({ a = "file 644 whole" }, tree.describe(tree_of(h)))
    assert.is_nil(uv.fs_stat(tree_of(h) .. "/../incoming"))

    -- The next one knows what is there, and whose it is.
    local stream = agents.stream({ "HOME=" .. h.home })
    local got = {}
    local connected = require("runner.agent.client").connect(stream, {})
    local bytes = encode({ file("b", "2") })
    local path = task.await(function(resume)
      local transfer
      transfer = connected:request("sync", { key = "spec", digest = hash.sha256(bytes) }, {
        need = function(f)
          got[#got + 1] = f.bytes
          if f.what == frame.needs.listing then
            transfer:send("entries", { bytes = bytes })
            transfer:send("entries")
          elseif f.what == frame.needs.over then
            transfer:send("chunk", { index = 0, bytes = "2" })
          end
        end,
        taken = function() end,
        done = function(err, value) resume(err or value) end,
      })
    end)
    assert.are.equal(tree_of(h), path)
    assert.are.same({ "", "\0\0\0\0", "" }, got)
    assert.are.same({ b = "file 644 2" }, tree.describe(tree_of(h)))
    task.await(function(resume) connected:close(resume) end)
    stream.exited:wait()
  end))

  it("gives every agent a folder of its own, and the same one again", async(function()
    local one = host()
    one.sync(1, { file("x", "") })
    one.heard("done")
    local two, stream = agents.open({ env = { "HOME=" .. one.home } })
    local function folder_of(agent)
      return task.await(function(resume)
        local transfer
        local bytes = encode({ file("x", "") })
        transfer = agent:request("sync", { key = "spec", digest = hash.sha256(bytes) }, {
          need = function(f)
            if f.what == frame.needs.listing then
              transfer:send("entries", { bytes = bytes })
              transfer:send("entries")
            end
          end,
          done = function(err, value) resume(err or value) end,
        })
      end)
    end
    assert.are.equal(tree_of(one, 1), folder_of(two))
    one.finish()
    assert.are.equal(tree_of(one, 1), folder_of(two)) -- although the first is free again
    task.await(function(resume) two:close(resume) end)
    stream.exited:wait()
  end))

  it("can be told to stop", async(function()
    local h = host()
    h.sync(1, { file("x", "12345") })
    h.heard("need")
    h.send("stop", 1)
    assert.are.equal(125, h.heard("done").errno) -- ECANCELED
    h.send("chunk", 1, { index = 0, bytes = "12345" }) -- it crossed the answer
    h.send("stop", 1)
    h.send("ping", 2)
    h.heard("pong")
    h.finish()
  end))
end)
