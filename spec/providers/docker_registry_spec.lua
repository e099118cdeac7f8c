--- Private registries: what the provider tells a daemon, for a pull and for a build, and nobody else. The daemon is one
--- of ours, for no registry can be reached from here; the helper programs are real.

local uv = require("luv")
local api = require("providers.docker.api")
local async = require("spec.support.async")
local base64 = require("runner.base.base64")
local cjson = require("cjson.safe")
local http_server = require("spec.support.http_server")
local image = require("providers.docker.image")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local VARIABLES = { "HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "PATH", "RUNNER_STATE_DIR" }
local HUB = "https://index.docker.io/v1/"

--- A daemon without images, whose pulls and builds succeed, or end as `refusal` says.
local function fake_daemon(path, refusal)
  local daemon = { heard = {} }
  local pulled = false
  daemon.server = http_server.start(function(request, connection)
    local method, target = request.method, request.target
    if target == "/_ping" then return connection:respond(200, "OK", "Api-Version: 1.41\r\n") end
    local place = target:match("^/v1%.41(/[^?]*)")
    if method == "POST" and (place == "/images/create" or place == "/build") then
      daemon.heard[#daemon.heard + 1] = request
      pulled = not refusal
      return connection:respond(200, (refusal and cjson.encode({ error = refusal }) or '{"status":"done"}') .. "\n")
    elseif place:find("^/images/.*/json$") then
      if not pulled then return connection:respond(404, '{"message":"No such image"}') end
      return connection:respond(200, '{"Id":"sha256:1","Architecture":"amd64"}')
    end
    connection:respond(200, place == "/volumes" and "{}" or "[]")
  end, path)
  return daemon
end

local function read_header(request, name)
  local value = request.headers[name:lower()]
  if not value then return nil end
  assert.is_nil(value:find("[+/]"), "not in the alphabet for URLs")
  return cjson.decode(base64.decode((value:gsub("-", "+"):gsub("_", "/"))))
end

describe("docker and private registries", function()
  local home, before, logged

  before_each(function()
    before, logged = {}, {}
    for _, name in ipairs(VARIABLES) do before[name] = os.getenv(name) or false end
    home = project.new({})
    for _, name in ipairs(VARIABLES) do uv.os_unsetenv(name) end
    uv.os_setenv("HOME", home)
    uv.os_setenv("RUNNER_STATE_DIR", home .. "/state")
    uv.os_setenv("PATH", home .. "/bin:" .. before.PATH)
  end)

  after_each(function()
    for name, value in pairs(before) do
      if value then uv.os_setenv(name, value) else uv.os_unsetenv(name) end
    end
    project.remove_all()
  end)

  local function log(_, format, ...) logged[#logged + 1] = format:format(...) end

  --- What the daemon was told for the pull of an image.
  local function told(name, refusal)
    local daemon = fake_daemon(home .. "/docker.sock", refusal)
    local engine = api.connect("unix://" .. home .. "/docker.sock")
    local ok, err = pcall(image.ensure, engine, { name = name }, {}, log)
    engine:close()
    daemon.server:close()
    assert.are.equal(1, #daemon.heard)
    return read_header(daemon.heard[1], "X-Registry-Auth"), not ok and tostring(err) or nil
  end

  local function note(path, config) project.write(home, { [path] = cjson.encode(config) }) end

  --- A helper program that knows one server, and writes down whom it was asked for.
  local function helper(name, server, user, secret)
    project.write(home, { ["bin/docker-credential-" .. name] = ([[#!/bin/sh
[ "$1" = get ] || exit 9
read -r server; echo "$server" >>%s/asked
[ "$server" = %s ] || { echo "credentials not found in native keychain"; exit 1; }
printf '{"ServerURL":"%%s","Username":"%%s","Secret":"%%s"}\n' "$server" '%s' '%s'
]]):format(home, server, user, secret) })
    uv.fs_chmod(home .. "/bin/docker-credential-" .. name, 493)
  end

  it("tell nothing where nothing is noted, or only for others", async(function()
    assert.is_nil((told("reg.example/app:1")))
    note(".docker/config.json", { auths = { ["other.example"] = { auth = base64.encode("me:word") } } })
    assert.is_nil((told("reg.example/app:1")))
    assert.is_nil((told("python:3.11")))
    project.write(home, { [".docker/config.json"] = "{ not JSON" })
    assert.is_nil((told("other.example/app:1")))
  end))

  it("tell what `docker login` has noted in its file", async(function()
    note(".docker/config.json", { auths = {
      ["https://reg.example:5000/v2/"] = { auth = base64.encode("me:pass:word?>~") },
      [HUB] = { auth = base64.encode("hub-user:hub-word") },
      ["token.example"] = { identitytoken = "a-token" },
      ["plain.example"] = { username = "u", password = "p" },
    } })
    for name, expected in pairs({
      ["reg.example:5000/team/app:1"] = {
        username = "me", password = "pass:word?>~", serveraddress = "reg.example:5000",
      },
      ["python:3.11"] = { username = "hub-user", password = "hub-word", serveraddress = HUB },
      ["team/app@sha256:" .. ("0"):rep(64)] = { username = "hub-user", password = "hub-word", serveraddress = HUB },
      ["docker.io/team/app"] = { username = "hub-user", password = "hub-word", serveraddress = HUB },
      ["token.example/app"] = { identitytoken = "a-token", serveraddress = "token.example" },
      ["plain.example/app"] = { username = "u", password = "p", serveraddress = "plain.example" },
    }) do
      assert.are.same(expected, (told(name)), name)
    end
  end))

  it("tell what `podman login` has noted, for the longest part of the name", async(function()
    uv.os_setenv("XDG_RUNTIME_DIR", home .. "/run")
    note("run/containers/auth.json", { auths = {
      ["reg.example/team"] = { auth = base64.encode("team:1") }, ["reg.example"] = { auth = base64.encode("all:2") },
    } })
    assert.are.equal("team", told("reg.example/team/app:1").username)
    assert.are.equal("all", told("reg.example/others/app:1").username)
    note("elsewhere.json", { auths = { ["reg.example"] = { auth = base64.encode("third:3") } } })
    uv.os_setenv("REGISTRY_AUTH_FILE", home .. "/elsewhere.json")
    assert.are.equal("third", told("reg.example/team/app:1").username)
  end))

  it("ask the helper of a registry, or of all", async(function()
    uv.os_setenv("DOCKER_CONFIG", home .. "/own")
    helper("one", "reg.example", "me", "secret-1")
    helper("all", HUB, "<token>", "secret-2")
    note("own/config.json", { credHelpers = { ["reg.example"] = "one" }, credsStore = "all", auths = { [HUB] = {} } })
    assert.are.same({ username = "me", password = "secret-1", serveraddress = "reg.example" }, (told("reg.example/a")))
    assert.are.same({ identitytoken = "secret-2", serveraddress = HUB }, (told("python")))
    assert.is_nil((told("third.example/a")))
    assert.are.equal(("reg.example\n%s\nthird.example\n"):format(HUB), project.read(home .. "/asked"))
    assert.are.same({}, { table.unpack(logged, 4) }) -- that it pulls, thrice
  end))

  it("say which helper does not work, and pull all the same", async(function()
    note(".docker/config.json", { credsStore = "none-such", credHelpers = { ["evil.example"] = "x; touch evil" } })
    assert.is_nil((told("reg.example/a")))
    assert.matches("docker%-credential%-none%-such gave no credentials for reg.example: .*not found",
      table.concat(logged, "\n"))
    assert.is_nil((told("evil.example/a")))
    assert.is_nil(uv.fs_stat("evil"))
  end))

  it("tell for a build what its FROM lines name, and no more", async(function()
    note(".docker/config.json", { auths = {
      ["reg.example"] = { auth = base64.encode("me:word") }, ["second.example"] = { auth = base64.encode("you:word2") },
      ["unused.example"] = { auth = base64.encode("x:y") },
    } })
    local dir = project.new({
      Dockerfile = "ARG X=1\nfrom --platform=linux/amd64 reg.example/base:1 AS base\nRUN echo FROM unused.example/a\n"
        .. "FROM second.example/b\nCOPY --from=base /a /a\nFROM base\nFROM $X\n",
    })
    local daemon = fake_daemon(home .. "/docker.sock")
    local engine = api.connect("unix://" .. home .. "/docker.sock")
    image.ensure(engine, image.recipe({ dockerfile = "Dockerfile" }, dir), {}, log)
    engine:close()
    daemon.server:close()
    assert.are.same({
      ["reg.example"] = { username = "me", password = "word", serveraddress = "reg.example" },
      ["second.example"] = { username = "you", password = "word2", serveraddress = "second.example" },
    }, read_header(daemon.heard[1], "X-Registry-Config"))
  end))

  it("say how to log in when the registry refuses, and never what was told", async(function()
    local refusal = "Head https://reg.example/v2/app/manifests/1: unauthorized"
    assert.matches("log in %(docker login reg.example%)", (select(2, told("reg.example/app:1", refusal))))
    note(".docker/config.json", { auths = { ["reg.example"] = { auth = base64.encode("me:s3cr3t-word") } } })

    local daemon = fake_daemon(home .. "/docker.sock", refusal)
    local dir = project.new({ ["runner.lua"] = ([[return {
      provider = require "providers.docker" { image = "reg.example/app:1", hosts = { "unix://%s/docker.sock" } },
      framework = require "frameworks.command" { tests = { "true" }, run_command = "{tests}" },
    }]]):format(home) })
    local result = runner(dir, "run", "-v")
    daemon.server:close()
    local said = result.stdout .. result.stderr .. project.read(dir .. "/test-results/events.ndjson")
    assert.are.equal(3, result.code, said)
    assert.are.equal("s3cr3t-word", read_header(daemon.heard[1], "X-Registry-Auth").password)
    assert.matches("log in again, for what is noted does not do (docker login reg.example)", said, 1, true)
    local header = daemon.heard[1].headers["x-registry-auth"]
    for _, secret in ipairs({ "s3cr3t", base64.encode("me:s3cr3t-word"), header }) do
      assert.is_nil(said:find(secret, 1, true))
    end
  end))
end)
