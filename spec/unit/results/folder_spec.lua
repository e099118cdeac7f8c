local uv = require("luv")
local errors = require("runner.base.errors")
local names = require("runner.base.files").names
local project = require("spec.support.project")
local folder = require("runner.results.folder")

local OWN_LOG = "logs/test_a-0123456789abcdef.attempt1.log"

describe("results_dir", function()
  local base, warnings, opened

  before_each(function()
    base, warnings, opened = project.new(), {}, {}
  end)

  after_each(function()
    for _, dir in ipairs(opened) do dir:close() end
    project.remove_all()
  end)

  local function open(dir, options)
    options = options or { junit = "junit.xml" }
    options.warn = function(message) warnings[#warnings + 1] = message end
    options.wait = 0.05
    local results = folder.open(dir, options)
    opened[#opened + 1] = results
    return results
  end

  local function refused(dir, pattern, options)
    local ok, err = pcall(open, dir, options)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "config"))
    assert.matches(pattern, err.message)
    assert.is_truthy(err.context.hint)
  end

  it("makes a missing folder, with those above it, and marks it", function()
    local results = open(base .. "/a/b/results")
    assert.are.equal(base .. "/a/b/results", results.path)
    assert.are.same({ ".runner-results" }, names(results.path))
    assert.are.same({}, warnings)
  end)

  it("takes an empty folder", function()
    assert.are.equal(base, open(base).path)
  end)

  it("removes what an earlier run made, and nothing else", function()
    local dir = base .. "/results"
    open(dir):close()
    project.write(dir, {
      ["events.ndjson"] = "old", ["junit.xml"] = "old", [OWN_LOG] = "old",
        ["logs/mine.txt"] = "keep",
      ["notes.md"] = "keep", ["logs/sub/x-0123456789abcdef.attempt1.log"] = "keep",
        ["report.xml"] = "keep",
    })
    local results = open(dir)
    assert.are.same({ ".runner-results", "logs", "notes.md", "report.xml" }, names(dir))
    results:close() -- logs of this run would stay
    assert.are.same({ "mine.txt", "sub" }, names(dir .. "/logs"))
    assert.are.same({ "x-0123456789abcdef.attempt1.log" }, names(dir .. "/logs/sub"))
  end)

  it("removes the report of the configured name", function()
    open(base, { junit = "report.xml" }):close()
    project.write(base, { ["report.xml"] = "old", ["junit.xml"] = "not ours now" })
    open(base, { junit = "report.xml" })
    assert.are.same({ ".runner-results", "junit.xml" }, names(base))
  end)

  it("removes the trace of an earlier run, and no other of its name", function()
    open(base, { junit = "junit.xml", trace = "t.json" }):close()
    project.write(base, {
      ["events.ndjson"] = '{"event":"run_started","trace":"t.json"}\n', ["t.json"] = "old",
      ["t.json.tmp"] = "of a killed run", ["trace.json"] = "keep",
    })
    open(base):close()
    assert.are.same({ ".runner-results", "trace.json" }, names(base))
    project.write(base, { ["events.ndjson"] = '{"event":"run_started","trace":"../out"}\n', ["t.json"] = "keep" })
    open(base)
    assert.are.same({ ".runner-results", "t.json", "trace.json" }, names(base))
  end)

  it("adds to a stranger's folder without touching anything", function()
    project.write(base, { ["main.c"] = "keep", [".git/config"] = "keep", ["trace.json"] = "keep" })
    open(base):close()
    open(base)
    assert.are.same({ ".git", ".runner-results", "main.c", "trace.json" }, names(base))
    assert.are.same({ "config" }, names(base .. "/.git"))
  end)

  it("refuses a stranger's folder where something has one of our names", function()
    for _, file in ipairs({ "events.ndjson", "junit.xml", "logs/app.log" }) do
      local dir = project.new({ [file] = "keep", ["other"] = "keep" })
      refused(dir, "runner did not make it .* already holds " .. file:match("^[^/]+"))
      assert.is_truthy(uv.fs_stat(dir .. "/" .. file))
      assert.is_nil(uv.fs_stat(dir .. "/.runner-results"))
    end
    local dir = project.new({ ["trace.json"] = "keep" })
    refused(dir, "runner did not make it .* already holds trace.json", { junit = "junit.xml", trace = "trace.json" })
  end)

  it("does not follow a link named logs", function()
    local elsewhere = project.new({ [OWN_LOG:match("[^/]+$")] = "keep" })
    open(base):close()
    assert(uv.fs_symlink(elsewhere, base .. "/logs"))
    open(base)
    assert.are.equal(1, #names(elsewhere))
  end)

  it("says what is wrong with a folder that cannot be used", function()
    project.write(base, { file = "" })
    refused(base .. "/file", "is not a folder")
    refused(base .. "/file/below", "ENOTDIR")
    refused("/proc/nowhere", "/proc/nowhere")
  end)

  it("gives a second run at the same time a folder of its own, and says so", function()
    local dir = base .. "/results"
    local first = open(dir)
    project.write(dir, { ["events.ndjson"] = "first", [OWN_LOG] = "first" })
    local second = open(dir)
    assert.are.equal(dir .. "-2", second.path)
    assert.are.equal(dir .. "-3", open(dir).path)
    assert.is_truthy(uv.fs_stat(dir .. "/" .. OWN_LOG))
    assert.matches("another run uses .*/results; .* are in .*/results%-2", warnings[1])
    first:close()
    assert.are.equal(dir, open(dir).path)
    assert.is_nil(uv.fs_stat(dir .. "/events.ndjson"))
  end)

  it("passes over a sibling that belongs to somebody else", function()
    local dir = base .. "/results"
    project.write(base, { ["results-2/junit.xml"] = "keep" })
    open(dir)
    assert.are.equal(dir .. "-3", open(dir).path)
  end)

  it("releases the folder at the end of a block", function()
    do
      local results <close> = folder.open(base, {})
      assert.is_truthy(results.path)
    end
    assert.are.equal(base, open(base).path)
  end)
end)
