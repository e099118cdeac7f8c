--- What goes wrong in containers, in whole runs over a real daemon: full disks, no memory, nothing to run a program
--- with. Each must be said in words that help, and no test may be lost for it.

local async = require("spec.support.async")
local dockerd = require("spec.support.dockerd")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local PYTEST = '{ max_parallel = 1, framework = require "frameworks.pytest" { paths = { "t" } } }'

local function new(options, tests, settings, files)
  files = files or {}
  files["runner.lua"] = ([[
    local settings = %s
    settings.provider = require "providers.docker" (%s)
    settings.framework = settings.framework
      or require "frameworks.command" { tests = %s, run_command = "eval {tests}" }
    return settings
  ]]):format(settings or "{ max_parallel = 1 }", options, tests)
  return project.new(files)
end

local function run(...)
  local dir = new(...)
  local result = runner(dir, "run", "-v")
  return result.code, result.stdout .. result.stderr, dir
end

local function contains(text, ...)
  for _, part in ipairs({ ... }) do
    assert.is_truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
  end
end

describe("docker, when things go wrong in containers,", function()
  local busybox, python, bare
  if not dockerd.around(function()
    busybox = ("image = %q"):format(dockerd.busybox())
    python = ("image = %q"):format(dockerd.python())
    bare = ("image = %q"):format(dockerd.bare())
  end) then return end

  local function tmpfs(image, folder, options, more)
    return ("{ %s, host_config = { Tmpfs = { [%q] = %q } }, %s }"):format(image, folder, options, more or "")
  end

  describe("a full disk", function()
    local big = ("x"):rep(3000000)

    it("keeps the project out, and is named with its folder and what helps, once", async(function()
      local code, text, dir = run(tmpfs(busybox, "/w", "size=1m", 'working_dir = "/w"'), '{ "true" }', nil,
        { ["data/big"] = big })
      assert.are.equal(3, code, text)
      contains(text, "cannot bring the project's files to /w: /w/data/big: No space left on device; make room there",
        "leave files out (3.0 MB are to be there)")
      assert.are.equal(1, #finished.events(dir, "sandbox_started")) -- again would be no better
    end))

    it("is named in a folder of ours, too", async(function()
      local code, text = run(tmpfs(busybox, "/root", "size=1m"), '{ "true" }', nil, { ["data/big"] = big })
      assert.are.equal(3, code, text)
      contains(text, "a folder of ours there: /", "/.cache/runner/trees/", "/tree/data/big: No space left on device")
    end))

    it("keeps a framework's own files out, and is named", async(function()
      local code, text = run(tmpfs(python, "/tmp", "size=4k"), "{}", PYTEST,
        { ["t/test_a.py"] = "def test_a(): pass\n" })
      assert.are.equal(3, code, text)
      contains(text, "cannot write a file in docker-1: /tmp/runner-", "No space left on device; make room there")
    end))

    it("fails the tests that meet it, and no other", async(function()
      local code, text, dir = run(tmpfs(busybox, "/w", "size=1m", 'working_dir = "/w"'), [[{
        "dd if=/dev/zero of=big bs=1M count=4", "echo x >more", "echo fine", "rm -f big; echo x >there" }]],
        "{ max_parallel = 1, sync = false }")
      assert.are.equal(1, code, text)
      assert.are.same({
        ["dd if=/dev/zero of=big bs=1M count=4"] = "failed", ["echo x >more"] = "failed", ["echo fine"] = "passed",
        ["rm -f big; echo x >there"] = "passed",
      }, finished.states(dir))
      contains(text, "No space left on device")
    end))

    it("in the middle of a pytest run fails the tests that meet it, and no other", async(function()
      local code, text, dir = run(tmpfs(python, "/tmp", "size=300k"), "{}", PYTEST, { ["t/test_a.py"] = [[
import os
def test_before(): pass
def test_fills(tmp_path):
    with open("/tmp/big", "wb") as f:
        f.write(b"x" * 1000000)
def test_between(): print("said")
def test_meets():
    with open("/tmp/more", "wb") as f:
        f.write(b"x" * 1000)
def test_dies(): os.abort()
def test_mends(): os.remove("/tmp/big")
def test_after(tmp_path): (tmp_path / "x").write_text("y")
]] })
      assert.are.equal(1, code, text)
      assert.are.same({ passed = 4, failed = 2, crashed = 1 }, finished.counts(dir), text)
    end))
  end)

  it("a root that is read only, and folders that nothing can be run from, are no obstacle", async(function()
    local code, text, dir = run(([[{ %s, host_config = {
      ReadonlyRootfs = true, Tmpfs = { ["/tmp"] = "noexec", ["/root"] = "noexec" } } }]]):format(python), "{}", PYTEST,
      { ["t/test_a.py"] = "def test_a(tmp_path): pass\n" })
    assert.are.equal(0, code, text)
    assert.are.same({ passed = 1 }, finished.counts(dir))
  end))

  it("a root that is read only altogether is named", async(function()
    local code, text = run(("{ %s, host_config = { ReadonlyRootfs = true } }"):format(busybox), '{ "true" }')
    assert.are.equal(3, code, text)
    contains(text, "none of XDG_CACHE_HOME, ~/.cache, TMPDIR, /tmp and /var/tmp can be ours", "choose another folder")
  end))

  describe("want of memory", function()
    local HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1"

    it("that ends a test is named there, and a SIGKILL of its own is not taken for it", async(function()
      local code, text, dir = run(("{ %s, memory = '32M' }"):format(busybox), ([[{
        %q, %q, "kill -9 $$", "true" }]]):format(HOG, "exec " .. HOG), "{ max_parallel = 1, sync = false }")
      assert.are.equal(1, code, text)
      local function said(id) return finished.find(dir, "attempt_finished", { id = id }).message end
      assert.matches(": the kernel killed a process here for want of memory$", said(HOG)) -- dd, or its shell
      assert.are.equal("ended by SIGKILL: the kernel killed a process here for want of memory", said("exec " .. HOG))
      assert.are.equal("ended by SIGKILL", said("kill -9 $$"))
      assert.are.equal("passed", finished.states(dir)["true"])
      contains(text, "docker-1: the kernel killed something for want of memory (limit 32 MiB)")
    end))

    it("that ends a worker of pytest's is named in the test that ran", async(function()
      local code, text, dir = run(("{ %s, memory = '64M' }"):format(python), "{}", PYTEST,
        { ["t/test_a.py"] = "def test_a(): pass\ndef test_hog(): x = b'x' * (200 << 20)\ndef test_b(): pass\n" })
      assert.are.equal(1, code, text)
      assert.are.same({ ["t/test_a.py::test_a"] = "passed", ["t/test_a.py::test_hog"] = "crashed",
        ["t/test_a.py::test_b"] = "passed" }, finished.states(dir))
      contains(finished.find(dir, "attempt_finished", { id = "t/test_a.py::test_hog" }).message,
        "SIGKILL", "the kernel killed a process here for want of memory")
    end))

    it("that ends the whole container is named, and the other tests run in another", async(function()
      -- The agent becomes the kernel's first choice.
      local hogs = "echo 1000 >/proc/1/oom_score_adj; "
        .. "for i in 1 2; do dd if=/dev/zero of=/dev/null bs=20M count=2000 & done; wait"
      local code, text, dir = run(("{ %s, memory = '32M' }"):format(busybox), ("{ %q, 'true' }"):format(hogs),
        "{ max_parallel = 1, sync = false }")
      assert.are.equal(3, code, text)
      assert.are.same({ [hogs] = "not_run", ["true"] = "passed" }, finished.states(dir))
      assert.matches("container runner%-%S+%-1: the kernel killed it for want of memory %(limit 32 MiB%)", text)
      contains(text, "its sandbox was lost each time")
    end))
  end)

  it("a container that dies at its start is told with its last words", async(function()
    -- Such a filter is as good as any: the agent cannot do what it must.
    local filter = [[seccomp={ "defaultAction": "SCMP_ACT_ALLOW",
      "syscalls": [{ "names": ["signalfd4"], "action": "SCMP_ACT_ERRNO" }] }]]
    local code, text = run(("{ %s, host_config = { SecurityOpt = { %q } } }"):format(busybox, filter), '{ "true" }')
    assert.are.equal(3, code, text)
    assert.matches("container runner%-%S+%-3: it exited with status 70; its last output: agent: cannot start", text)
  end))

  it("an image without a shell runs what needs none, and is named where one is needed", async(function()
    local framework = [[{ max_parallel = 1, framework = require "frameworks.command" { tests = { "one", "two" },
      run_command = { "/bin/busybox", "test", "{tests}", "=", "one" } } }]]
    local code, text, dir = run(("{ %s }"):format(bare), "{}", framework, { file = "" })
    assert.are.equal(1, code, text)
    assert.are.same({ one = "passed", two = "failed" }, finished.states(dir))

    code, text, dir = run(("{ %s }"):format(bare), '{ "true" }')
    assert.are.equal(1, code, text)
    assert.are.same({ ["true"] = "failed" }, finished.states(dir))
    contains(text, "execve /bin/sh: No such file or directory")
  end))
end)
