--- Files on their way into containers and back, over a real daemon: the project, artifacts, the context of a build.

local uv = require("luv")
local async = require("spec.support.async")
local dockerd = require("spec.support.dockerd")
local names_in = require("runner.base.files").names
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")
local tree = require("spec.support.tree")

--- Names that have broken other tools, and a name of 255 bytes.
local NAMES = {
  "plain", "a b", "it's", 'quo"te', "new\nline", "-x", "ä\255", "$HOME", "*", "~", ".hidden", ("n"):rep(255),
}

local function new(options, run_command, settings, files)
  files = files or {}
  files["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 1
    settings.provider = require "providers.docker" (%s)
    settings.framework = require "frameworks.command" { tests = { "one" }, run_command = %q }
    return settings
  ]]):format(settings or "{}", options, run_command)
  return project.new(files)
end

local function run(dir)
  local result = runner(dir, "run", "-v")
  return result.code, result.stdout .. result.stderr
end

--- Relays connections to a unix socket. → the port, and what ends it
local function relay(path)
  local listener, open = uv.new_tcp(), {}
  local function close(handle)
    open[handle] = nil
    if not handle:is_closing() then handle:close() end
  end
  local function pump(from, to)
    from:read_start(function(_, bytes)
      if bytes then
        if not to:is_closing() then to:write(bytes) end
      elseif not to:is_closing() then
        to:shutdown(function() close(from) end)
      end
    end)
  end
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(64, function()
    local client, server = uv.new_tcp(), uv.new_pipe(false)
    listener:accept(client)
    open[client], open[server] = true, true
    server:connect(path, function(err)
      if err then return close(client) end
      pump(client, server)
      pump(server, client)
    end)
  end))
  return listener:getsockname().port, function()
    listener:close()
    for handle in pairs(open) do close(handle) end
  end
end

describe("docker and files:", function()
  local image
  if not dockerd.around(function() image = dockerd.busybox() end) then return end

  it("the project goes along by itself, artifacts come back, whatever they are called", async(function()
    local files = {}
    for _, name in ipairs(NAMES) do files["data/" .. name] = "in " .. name end
    -- Links that lead in circles, out, and nowhere; an empty folder; a program.
    local dir = new(("{ image = %q }"):format(image), "./program", [[{
      download = { "out/**", on = "always" }, init_command = "mkdir out; echo once >>out/before" }]], files)
    for name, target in pairs({ self = "self", round = "about", about = "round", up = "..", out_of = "/etc" }) do
      assert(uv.fs_symlink(target, dir .. "/data/" .. name))
    end
    uv.fs_mkdir(dir .. "/empty", 493)
    tree.write(dir .. "/program", "#!/bin/sh\ntest -d empty && test \"$(readlink data/self)\" = self && "
      .. "cp data/* data/.hidden out/ 2>/dev/null; ln -s /etc/passwd out/link; exit 0\n", 493)
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    local artifacts = dir .. "/test-results/artifacts"
    local folder = ("%s/%s/out/"):format(artifacts, names_in(artifacts)[1])
    for _, name in ipairs(NAMES) do assert.are.equal("in " .. name, project.read(folder .. name)) end
    assert.are.equal(#NAMES, #finished.events(dir, "artifact"))
    assert.is_nil(uv.fs_lstat(folder .. "link"))
  end))

  it("a container that is kept gets only what has changed", async(function()
    local dir = new(("{ image = %q, reuse = true, working_dir = '/code' }"):format(image),
      "cat a b; test ! -e gone", nil, { a = "1", b = "2", gone = "3", ["big"] = ("x"):rep(300000) })
    local code, text = run(dir)
    assert.are.equal(1, code, text)
    assert.are.equal(5, finished.find(dir, "sync").sent_files)
    uv.fs_unlink(dir .. "/gone")
    tree.write(dir .. "/b", "changed")
    code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.are.equal("1changed", finished.output(dir))
    local sync = finished.find(dir, "sync")
    assert.are.same({ "/code", 1, 7 }, { sync.folder, sync.sent_files, sync.sent_bytes })
    assert.are.equal(0, runner(dir, "gc", "--all").code)
  end))

  it("nothing is sent where a volume brings the project", async(function()
    local dir = new(("{ image = %q, volumes = { '.:/code' } }"):format(image), "cat file; echo x >made", nil,
      { file = "here" })
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    assert.are.equal("here", finished.output(dir))
    assert.are.same({}, finished.events(dir, "sync"))
    assert.are.equal("x\n", project.read(dir .. "/made"))
  end))

  it("a daemon is reached over TCP, too", async(function()
    local port, stop = relay(dockerd.address():match("^unix://(.*)$"))
    uv.os_setenv("DOCKER_HOST", "tcp://127.0.0.1:" .. port)
    local dir = new(("{ image = %q }"):format(image), "cat file", nil, { file = ("x"):rep(500000) })
    local code, text = run(dir)
    uv.os_setenv("DOCKER_HOST", dockerd.address())
    stop()
    assert.are.equal(0, code, text)
    assert.are.equal(500000, #finished.output(dir))
  end))

  it("a build's context may hold any names, and links in circles", async(function()
    local files = { Dockerfile = ("FROM %s\nCOPY data /data\n"):format(image), [".dockerignore"] = "test-results\n" }
    for _, name in ipairs(NAMES) do files["data/" .. name] = "in " .. name end
    local dir = new('{ dockerfile = "Dockerfile" }',
      "cd /data; for f in * .hidden; do test -f \"$f\" && cat -- \"$f\" && echo; done; readlink round",
      "{ sync = false }", files)
    assert(uv.fs_symlink("round", dir .. "/data/round"))
    local code, text = run(dir)
    assert.are.equal(0, code, text)
    local said = finished.output(dir)
    for _, name in ipairs(NAMES) do assert.is_truthy(said:find(("in %s\n"):format(name), 1, true), name) end
    assert.matches("round\n$", said)
  end))
end)
