--- Build contexts: which files, in which order, and archives that tar can read.

local async = require("spec.support.async")
local context = require("providers.docker.context")
local digest = require("providers.docker.digest")
local ignore = require("providers.docker.ignore")
local process = require("runner.io.process")
local project = require("spec.support.project")
local uv = require("luv")

local function names(options, dir)
  local list = {}
  for _, entry in ipairs(context.new(options, dir).entries) do list[#list + 1] = entry.name end
  return table.concat(list, " ")
end

local function hash(options, dir)
  local sum = digest.new()
  context.new(options, dir):feed(sum.update)
  return sum.hex()
end

describe("docker.ignore", function()
  local function check(text, cases)
    local ignored = ignore.compile(text, ".dockerignore")
    for path, expected in pairs(cases) do
      assert.are.equal(expected, ignored(path), ("%s with %q"):format(path, text))
    end
  end

  it("knows Docker's patterns", function()
    check("*.md\n!README.md", { ["a.md"] = true, ["README.md"] = false, ["x/a.md"] = false })
    check("**/*.md", { ["a.md"] = true, ["x/a.md"] = true, ["x/y/a.md"] = true, ["a.mdx"] = false })
    check("build", { build = true, ["build/x/y"] = true, builder = false, ["x/build"] = false })
    check("/build/", { build = true, ["build/x"] = true })
    check("a?c", { abc = true, ["a/c"] = false, ac = false })
    check("[a-c].txt", { ["b.txt"] = true, ["d.txt"] = false })
    check("*/temp*", { ["a/temporary"] = true, ["temporary"] = false, ["a/b/temp"] = false })
    check("# no\n\n  spaced  \n", { spaced = true, ["# no"] = false })
    check("a.b", { ["a.b"] = true, axb = false })
    check("\\*", { ["*"] = true, x = false })
    check("**\n!src\nsrc/*.o", { x = true, ["src"] = false, ["src/a.c"] = false, ["src/a.o"] = true })
  end)
end)

describe("docker.context", function()
  after_each(project.remove_all)

  it("leaves out the results of runs, which are new each time", async(function()
    local dir = project.new({
      Dockerfile = "FROM x", ["out/events.ndjson"] = "1", ["out/logs/x"] = "1", ["out/mine"] = "1", ["output"] = "1",
    })
    local names_of = {}
    for i, entry in ipairs(context.new({}, dir, { report = { dir = dir .. "/out" } }).entries) do
      names_of[i] = entry.name
    end
    assert.are.same({ "Dockerfile", "output" }, names_of)
  end))

  it("leaves out what is ignored, never the Dockerfile, and brings one from outside along", async(function()
    local dir = project.new({
      Dockerfile = "FROM x", [".dockerignore"] = "Dockerfile\nsecret\n*.log", secret = "1", ["a.log"] = "1",
      ["src/keep"] = "1", ["src/x.log"] = "1",
    })
    assert.are.equal(".dockerignore Dockerfile src src/keep src/x.log", names({ dockerfile = "Dockerfile" }, dir))
    assert.matches("^keep x.log .runner.Dockerfile$", names({ dockerfile = "Dockerfile", context = "src" }, dir))
    local ok, err = pcall(context.new, { dockerfile = "nowhere" }, dir)
    assert.is_false(ok)
    assert.matches("there is no Dockerfile .*/nowhere", tostring(err))
  end))

  it("changes its hash with names, contents, modes and links, and with nothing else", async(function()
    local dir = project.new({ Dockerfile = "FROM x", a = "1", ["d/b"] = ("x"):rep(300000) })
    local options = { dockerfile = "Dockerfile" }
    local seen = { [hash(options, dir)] = "at first" }
    uv.fs_utime(dir .. "/a", 1, 1)
    assert.are.equal("at first", seen[hash(options, dir)])
    local function changed(how)
      local sum = hash(options, dir)
      assert.is_nil(seen[sum], how .. " is the same as " .. tostring(seen[sum]))
      seen[sum] = how
    end
    project.write(dir, { a = "2" })
    changed("other content")
    uv.fs_chmod(dir .. "/a", 493)
    changed("other mode")
    project.write(dir, { ["d/b"] = ("x"):rep(299999) .. "y" })
    changed("one byte")
    uv.fs_rename(dir .. "/a", dir .. "/c")
    changed("other name")
    uv.fs_symlink("c", dir .. "/l")
    changed("a link")
    uv.fs_mkdir(dir .. "/empty", 493)
    changed("an empty folder")
  end))

  it("makes an archive that tar reads, with names of any length", async(function()
    local long = ("n"):rep(120)
    local dir = project.new({
      Dockerfile = "FROM x", ["run.sh"] = "#!/bin/sh", ["a b\nc"] = "newline", [long .. "/" .. long] = "deep",
      ["big"] = ("0123456789"):rep(70000), ["d/empty"] = "",
    })
    uv.fs_chmod(dir .. "/run.sh", 493)
    uv.fs_symlink(("t"):rep(150), dir .. "/link")
    local out = project.new()
    local file = assert(io.open(out .. "/../context.tar", "wb"))
    for piece in context.new({ dockerfile = "Dockerfile" }, dir):archive() do file:write(piece) end
    file:close()
    local result = process.run({ "tar", "-C", out, "-xf", out .. "/../context.tar" })
    uv.fs_unlink(out .. "/../context.tar")
    assert.are.equal(0, result.code, result.stderr)
    assert.are.equal("", process.run({ "diff", "-r", "--no-dereference", dir, out }).stdout)
    assert.are.equal(493, uv.fs_stat(out .. "/run.sh").mode & 511)
  end))
end)
