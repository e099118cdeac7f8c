--- Artifacts where no agent can run: `download_command` of the command provider, as offload's scripts know it.

local uv = require("luv")
local async = require("spec.support.async")
local boxes = require("spec.support.boxes")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local tree = require("spec.support.tree")

local COPY = [[echo "$#" >>downloads; shift; for pair; do cp -- "${pair%%:*}" "${pair#*:}"; done]]

describe("download_command", function()
  boxes.around()

  --- Runs; returns what was fetched, "TEST ATTEMPT PATH SIZE" each, what was printed, and the project's folder.
  local function run(tests, download, script, settings)
    local dir = boxes.shells(tests, [[{
      exec_command = "./exec_without_stdin.sh {sandbox_id} {command}",
      download_command = "./download.sh {sandbox_id} {paths}",
    }]], ("{ max_parallel = 1, download = %s, %s }"):format(download, settings or ""),
      { ["download.sh"] = "#!/bin/sh\n" .. (script or COPY) .. "\n" })
    local result = runner(dir, "run")
    local artifacts = {}
    for i, event in ipairs(finished.events(dir, "artifact")) do
      local path = event.path:match("^artifacts/[^/]*/(.*)")
      artifacts[i] = ("%s %d %s %d"):format(event.id, event.attempt, path, event.size)
      assert.are.equal(event.size, uv.fs_stat(dir .. "/test-results/" .. event.path).size)
    end
    table.sort(artifacts)
    for path in pairs(tree.describe(dir .. "/test-results/artifacts")) do
      assert.is_nil(path:find("%.part"), path)
    end
    boxes.tidy(dir)
    return artifacts, result.stdout .. result.stderr, dir
  end

  it("brings what failed attempts left, each file once, in one call for an attempt", async(function()
    local artifacts, said, dir = run([[{
      "mkdir -p out/deep; echo 1 >out/one; echo 22 >\"out/deep/it's \\\"two\\\"\"; echo x >elsewhere; exit 1",
      "echo x >out/fine", "cat out/one; echo 333 >'out/new\nline'; touch out/one; exit 1",
    }]], '{ "out/**" }')
    local names = {}
    for i, artifact in ipairs(artifacts) do names[i] = artifact:match("exit 1 1 (.*)$") end
    table.sort(names)
    -- The second test passed: its file goes with the next one that did not, or with one whose files are being listed.
    assert.are.same({ [[out/deep/it's "two" 3]], "out/fine 2", "out/new\nline 4", "out/one 2" }, names, said)
    assert.is_true(boxes.lines(dir .. "/downloads") <= 2)
  end))

  it("matches patterns as the agent does", async(function()
    local artifacts = run([[{ "mkdir -p a/b c .git; touch a/x.log a/b/y.log c/z.log top.log a/b/w.txt .git/h.log" }]],
      '{ "a/**/*.log", "*.log", "c/[!a-y].log", "a/none/x", on = "always" }')
    for i, artifact in ipairs(artifacts) do artifacts[i] = artifact:match("(%S+) 0$") end
    assert.are.same({ "a/b/y.log", "a/x.log", "c/z.log", "top.log" }, artifacts)
  end))

  it("keeps to download.max, and says so", async(function()
    local artifacts, said = run([[{ "head -c 90000 /dev/zero >a; head -c 90000 /dev/zero >b" }]],
      '{ "*", on = "always", max = "100K" }')
    assert.are.equal(1, #artifacts)
    assert.matches("1 files were not fetched: together they are larger than download.max", said, 1, true)
  end))

  it("takes nothing that is no plain file, and nothing that has grown", async(function()
    local secret = project.new({ secret = "x" })
    local script = ([[shift; for pair; do
      case $pair in */link:*) ln -s %s/secret "${pair#*:}";; */dir:*) mkdir "${pair#*:}";;
      */grown:*) head -c 200000 /dev/zero >"${pair#*:}";; */gone:*) ;; *) echo ok >"${pair#*:}";; esac; done]])
      :format(secret)
    local artifacts, said, dir = run([[{ "touch link dir grown gone fine with:colon" }]],
      '{ "*", on = "always", max = "100K" }', script)
    assert.are.equal(1, #artifacts, said)
    assert.matches("fine 3$", artifacts[1])
    for name, why in pairs({
      link = "made something else than a file of it", dir = "made something else than a file of it",
      grown = "it has grown too large", gone = "did not copy it", ["with:colon"] = "its name holds a colon",
    }) do
      assert.is_truthy(said:find(("%s was not fetched: .*%s"):format(name, why)), name .. "\n" .. said)
    end
    for _, what in pairs(tree.describe(dir .. "/test-results/artifacts")) do assert.is_nil(what:find("^link")) end
  end))

  it("may fail: the tests' results stay", async(function()
    local artifacts, said, dir = run([[{ "touch a; exit 1", "true" }]], '{ "*" }', "echo no such sandbox >&2; exit 5")
    assert.are.same({}, artifacts)
    assert.matches("artifacts: download_command exited with status 5: no such sandbox", said, 1, true)
    assert.are.same({ failed = 1, passed = 1 }, finished.counts(dir))
  end))
end)
