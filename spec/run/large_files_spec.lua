--- A file of 2 GB, in the project and among artifacts: beyond what 31 bits count, and beyond any memory of ours.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local finished = require("spec.support.finished_run")
local listing = require("runner.files.sync.listing")
local manifest = require("runner.files.sync.manifest")
local project = require("spec.support.project")
local push = require("runner.files.sync.push")
local runner = require("spec.support.command_line")
local task = require("runner.base.task")

local SIZE = 2 ^ 31 + 12345 | 0
local MEMORY = 32 * 1024 * 1024

local function sparse(path)
  local fd = assert(uv.fs_open(path, "w", 420))
  assert(uv.fs_ftruncate(fd, SIZE))
  assert(uv.fs_write(fd, "the end", SIZE - 7))
  uv.fs_close(fd)
end

local function tail(path)
  local file <close> = assert(io.open(path, "rb"))
  assert(file:seek("set", SIZE - 8))
  return file:read("a")
end

describe("a file of 2 GB", function()
  local home

  before_each(function()
    home = project.new({})
    uv.os_setenv("XDG_CACHE_HOME", home .. "/host")
  end)

  after_each(function()
    uv.os_unsetenv("XDG_CACHE_HOME")
    project.remove_all()
  end)

  it("reaches the sandbox, whole and as sparse as it was, in little memory", async(function()
    if os.getenv("RUNNER_SANITIZED") then return pending("a sanitizer takes memory of its own") end
    local dir = project.new({ small = "1" })
    sparse(dir .. "/big")
    local agent, stream = agents.open({ env = { "HOME=" .. home } })
    local own, its = agents.peak_memory(uv.os_getpid()), agents.peak_memory(stream.pid)
    local made = manifest.build({ { root = dir, paths = listing.everything(dir).paths } })
    local pushed = push(agent, { manifest = made, key = "big" })
    assert.are.equal(SIZE + 1, pushed.sent_bytes)
    local stat = uv.fs_stat(pushed.folder .. "/big")
    assert.are.equal(SIZE, stat.size)
    assert.is_true(stat.blocks * 512 < MEMORY)
    assert.are.equal("\0the end", tail(pushed.folder .. "/big"))
    assert(agents.peak_memory(uv.os_getpid()) - own < MEMORY, "the host held it")
    assert(agents.peak_memory(stream.pid) - its < MEMORY, "the agent held it")
    assert.are.equal(0, push(agent, { manifest = made, key = "big" }).sent_bytes)
    task.await(function(resume) agent:close(resume) end)
    stream.exited:wait()
  end))

  it("is left where it is when tests make it and `download` wants it", async(function()
    local dir = project.new({ ["runner.lua"] = [[return {
      max_parallel = 1, download = { "out/*", on = "always" },
      framework = require "frameworks.command" { tests = { "one" },
        run_command = "mkdir out; truncate -s 2G out/big; echo x >out/small" } }]] })
    local result = runner(dir, "run")
    assert.are.equal(0, result.code, result.stdout .. result.stderr)
    local artifacts = finished.events(dir, "artifact")
    assert.are.equal(1, #artifacts)
    assert.matches("out/small$", artifacts[1].path)
    assert.matches("one: 1 files were not fetched: together they are larger than download.max (104857600 bytes)",
      result.stdout .. result.stderr, 1, true)
  end))
end)
