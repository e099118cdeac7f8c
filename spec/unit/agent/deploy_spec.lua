--- The agent on its way into sandboxes of all sorts: each is a shell of this machine with an environment of its own.

local uv = require("luv")
local client = require("runner.agent.client")
local eventually = require("spec.support.agent_process").eventually
local async = require("spec.support.async")
local deploy = require("runner.agent.deploy")
local errors = require("runner.base.errors")
local files_in = require("runner.base.files").names
local host = require("runner.core.host")
local process = require("runner.io.process")
local project = require("spec.support.project")
local shell = require("runner.io.shell")
local task = require("runner.base.task")

--- A place whose commands run in `prefix`, such as "env -i sh -c", with these changes to the environment.
local function place(env, wrap)
  return {
    connect = function(argv)
      local line = shell.join(argv)
      return shell.stream(wrap and wrap(line) or line, { env = env })
    end,
  }
end

--- Says hello to the agent at the other end, runs one command, and closes it.
local function use(stream)
  local agent
  local info, err = task.await(function(resume)
    agent = client.connect(stream, { run_id = "spec", on_ready = resume, on_lost = function(e) resume(nil, e) end })
  end)
  assert(info, tostring(err))
  local out = {}
  local exit = task.await(function(resume)
    agent:spawn({
      argv = { "sh", "-c", "echo it works" },
      on_output = function(_, _, bytes) out[#out + 1] = bytes end,
      on_exit = function(_, e) resume(e) end,
    })
  end)
  task.await(function(resume) agent:close(resume) end)
  assert.are.equal(0, exit.code)
  assert.are.equal("it works\n", table.concat(out))
  return info
end

local function open_processes()
  local count = 0
  uv.walk(function(handle)
    if tostring(handle):find("process") and not handle:is_closing() then count = count + 1 end
  end)
  return count
end

local function has(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1")
end

describe("bootstrap", function()
  local dir, cache, env

  before_each(function()
    dir = project.new()
    env = { RUNNER_AGENT_DIR = dir }
    cache = ("%s/runner-agent-%d"):format(dir, uv.getuid())
  end)
  after_each(project.remove_all)

  it("sends the agent once, and finds it again", async(function()
    local stream = assert(deploy.connect(place(env)))
    assert.is_true(stream.uploaded)
    use(stream)
    assert.are.equal(1, #files_in(cache))
    stream = assert(deploy.connect(place(env)))
    assert.is_false(stream.uploaded)
    use(stream)
    assert.are.equal(1, #files_in(cache))
    assert.are.equal(tonumber("700", 8), uv.fs_stat(cache).mode & 511)
  end))

  for _, sh in ipairs({ "dash", "bash", "busybox sh", "ksh", "zsh --emulate sh" }) do
    if has(sh:match("%S+")) then
      it("works in " .. sh, async(function()
        for _, uploaded in ipairs({ true, false }) do
          local stream = assert(deploy.connect({
            connect = function(argv)
              return shell.stream(sh .. " " .. shell.join(table.move(argv, 2, #argv, 1, {})), { env = env })
            end,
          }))
          assert.are.equal(uploaded, stream.uploaded)
          use(stream)
        end
      end))
    end
  end

  it("needs no tool but sh and chmod", async(function()
    local bin = project.new()
    for _, tool in ipairs({ "sh", "chmod", "sleep" }) do
      assert(uv.fs_symlink(process.run({ "which", tool }).stdout:gsub("%s+$", ""), bin .. "/" .. tool))
    end
    env.PATH = bin
    uv.fs_mkdir(cache, tonumber("700", 8)) -- there is no mkdir, either
    env.RUNNER_AGENT_DIR = dir
    use(assert(deploy.connect(place(env, function(line) return "/bin/" .. line end))))
  end))

  it("replaces an agent that was cut short or changed", async(function()
    use(assert(deploy.connect(place(env))))
    local file = cache .. "/" .. files_in(cache)[1]
    local size = uv.fs_stat(file).size
    for _, spoil in ipairs({
      function() assert(os.execute(("truncate -s %d '%s'"):format(size // 2, file))) end,
      function() assert(os.execute(("truncate -s %d '%s'"):format(size + 1, file))) end,
      function() assert(os.execute((": > '%s'"):format(file))) end,
      function() assert(os.execute(("printf '#!/bin/sh\nexit 1\n' > '%s'"):format(file))) end,
    }) do
      spoil()
      local stream = assert(deploy.connect(place(env)))
      assert.is_true(stream.uploaded)
      use(stream)
      assert.are.equal(1, #files_in(cache))
      file = cache .. "/" .. files_in(cache)[1]
    end
  end))

  it("skips what is printed before the agent speaks", async(function()
    local noise = "echo Welcome; printf '\\000\\001 no line end'; seq 1 5000;"
    use(assert(deploy.connect(place(env, function(line) return noise .. line end))))
    -- A shell that shows the command line that it was given.
    use(assert(deploy.connect(place(env, function(line)
      return "printf '%s\\n' " .. shell.quote(line) .. ";" .. line
    end))))
  end))

  it("does not use a folder that belongs to somebody else, nor a link", async(function()
    if uv.getuid() ~= 0 then return pending("needs root") end
    local other = project.new()
    uv.fs_mkdir(cache, tonumber("777", 8))
    uv.fs_chown(cache, 12345, 12345)
    env.XDG_CACHE_HOME = other
    use(assert(deploy.connect(place(env))))
    assert.are.same({}, files_in(cache))
    local there = files_in(other)[1]
    assert.are.equal(1, #files_in(other .. "/" .. there))

    uv.fs_rmdir(cache)
    local target = project.new()
    uv.fs_symlink(target, cache)
    use(assert(deploy.connect(place(env))))
    assert.are.same({}, files_in(target))
    uv.fs_unlink(cache)
  end))

  it("passes by folders from which nothing can be run, and says which when none is left", async(function()
    if uv.getuid() ~= 0 or process.run({ "unshare", "-m", "true" }).code ~= 0 then
      return pending("needs root and mount namespaces")
    end
    local good = project.new()
    env.HOME, env.TMPDIR, env.XDG_CACHE_HOME = false, good, false
    local function noexec(...)
      local mounts = {}
      for _, folder in ipairs({ ... }) do
        mounts[#mounts + 1] = ("mount -t tmpfs -o noexec none %s &&"):format(shell.quote(folder))
      end
      return function(line) return "unshare -m sh -c " .. shell.quote(table.concat(mounts) .. " exec " .. line) end
    end
    use(assert(deploy.connect(place(env, noexec(dir)))))
    assert.are.equal(1, #files_in(good))

    env.TMPDIR = false
    local stream, why = deploy.connect(place(env, noexec("/tmp", "/var/tmp", "/dev/shm")))
    assert.is_nil(stream)
    assert.matches("/tmp runs no programs or is full.*/dev/shm runs no programs", why)
  end))

  it("gives up when stdin does not get through, or there is no agent for the machine", async(function()
    local stream, why = deploy.connect(place(env, function(line) return line .. " </dev/null" end))
    assert.is_nil(stream)
    assert.are.equal("stdin does not reach the sandbox", why)

    local bin = project.new({ uname = "#!/bin/sh\necho Plan9 pdp11\n" })
    uv.fs_chmod(bin .. "/uname", 493)
    env.PATH = bin .. ":" .. os.getenv("PATH")
    stream, why = deploy.connect(place(env))
    assert.is_nil(stream)
    assert.are.equal("there is no agent for Plan9 pdp11", why)
  end))

  it("raises what the provider says when nothing can be run at all", async(function()
    for _, case in ipairs({
      { function() return "echo no such container >&2; exit 255" end, "exited with status 255: no such container" },
      { function(line) return "PATH=/nowhere; " .. line end, "is there an sh%?.*127.*not found" },
      { function() return "echo Permission denied" end, "its output ended; what came instead: Permission denied" },
    }) do
      local ok, err = pcall(deploy.connect, place(env, case[1]))
      assert.is_false(ok)
      assert.is_true(errors.is(err, "transport"))
      assert.matches(case[2], tostring(err))
    end
  end))

  it("can be cancelled", async(function()
    local ok, err = task.deadline(0.2, function()
      deploy.connect(place(env, function() return "sleep 100" end))
    end)
    assert.is_nil(ok)
    assert.is_true(errors.is(err, "timeout"))
    eventually(function() return open_processes() == 0 end)
  end))

  it("has an agent for aarch64, which runs", async(function()
    local bytes = host.resource("agent/aarch64")
    if not (bytes and has("qemu-aarch64-static")) then
      return pending("needs a cross compiler and qemu-aarch64-static")
    end
    project.write(dir, { agent = bytes })
    uv.fs_chmod(dir .. "/agent", 493)
    local hash = process.run({ "qemu-aarch64-static", dir .. "/agent", "--hash" }).stdout
    assert.are.equal(host.resource("agent/aarch64.sha256") .. "\n", hash)
    use(shell.stream("qemu-aarch64-static " .. dir .. "/agent"))
  end))
end)
