--- A real Docker daemon for the specs: one of our own, with its own folders and socket, that runs while the tests of a
--- `describe` do (`dockerd.around`). Images come from this machine: busybox, and this machine's Python with pytest.

local uv = require("luv")
local busted = require("busted")
local http = require("runner.io.http")
local process = require("runner.io.process")
local project = require("spec.support.project")
local task = require("runner.base.task")

local M = {}

local BUSYBOX_PROGRAMS = "sh cat sleep true false echo env id ls test kill ps grep dd mkdir rm hostname uname chmod "
  .. "head tail seq wc touch mv ln stat sort tr cut sed awk od yes"
local START_TIMEOUT_S = 60

local daemon -- { handle, folder, gone }

local function find(name)
  for folder in ("/usr/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"):gmatch("[^:]+") do
    if uv.fs_access(folder .. "/" .. name, "X") then return folder .. "/" .. name end
  end
end

--- What `start` needs and is not there.
---@return string?
local function missing()
  if uv.getuid() ~= 0 then return "dockerd needs root" end
  for _, name in ipairs({ "dockerd", "busybox" }) do
    if not find(name) then return name .. " is not installed" end
  end
end

--- The address for DOCKER_HOST.
---@return string
function M.address()
  return "unix://" .. daemon.folder .. "/docker.sock"
end

---@return runner.http.Client
function M.client()
  return http.client({ unix_socket = daemon.folder .. "/docker.sock" })
end

local function shell(line, ...)
  local result = process.run({ "/bin/sh", "-ec", line, "sh", ... })
  assert(result.code == 0, line .. ": " .. result.stderr)
  return result.stdout
end

---@async
local function start()
  local folder = assert(uv.fs_mkdtemp("/tmp/runner-dockerd-XXXXXX"))
  local log = assert(uv.fs_open(folder .. "/log", "w", 384))
  local gone = task.event()
  local handle, err
  -- No bridge and no firewall rules: containers have no network, and this machine's stays as it is.
  handle, err = uv.spawn(find("dockerd"), {
    args = {
      "--data-root", folder .. "/data", "--exec-root", folder .. "/exec", "--pidfile", folder .. "/pid",
      "--host", "unix://" .. folder .. "/docker.sock", "--bridge=none", "--iptables=false",
    },
    stdio = { nil, log, log },
    detached = true,
  }, function()
    handle:close()
    gone:set(true)
  end)
  uv.fs_close(log)
  assert(handle, err)
  handle:unref()
  daemon = { handle = handle, folder = folder, gone = gone }
  local client <close> = M.client()
  local deadline = uv.hrtime() + START_TIMEOUT_S * 1e9
  while not pcall(client.request, client, { path = "/_ping" }) do
    assert(not gone:is_set() and uv.hrtime() < deadline, "dockerd did not start: " .. shell('cat "$1"/log', folder))
    task.sleep(0.05)
  end
end

local function import(name, folder)
  local archive = daemon.folder .. "/image.tar"
  shell('tar -C "$1" -cf "$2" .; rm -rf "$1"', folder, archive)
  local fd = assert(uv.fs_open(archive, "r", 0))
  local client <close> = M.client()
  local repository, tag = name:match("^(.*):(.*)$")
  local answer = client:request({
    method = "POST", path = "/images/create", query = { fromSrc = "-", repo = repository, tag = tag },
    body = function()
      local bytes = assert(uv.fs_read(fd, 1024 * 1024))
      return bytes ~= "" and bytes or nil
    end,
  })
  uv.fs_close(fd)
  uv.fs_unlink(archive)
  assert(answer.status == 200, answer.body)
end

local images = {}

--- A folder with a static shell and its tools.
local function base_folder()
  local folder = daemon.folder .. "/root"
  shell([[
    mkdir -p "$1/bin" "$1/tmp" "$1/etc" "$1/root"; chmod 1777 "$1/tmp"; cp "$2" "$1/bin/busybox"
    for name in $3; do ln -sf busybox "$1/bin/$name"; done
    echo root:x:0:0:root:/root:/bin/sh >"$1/etc/passwd"]], folder, find("busybox"), BUSYBOX_PROGRAMS)
  return folder
end

--- Makes an image with a shell: "runner-spec/busybox:1".
---@return string name
---@async
function M.busybox()
  local name = "runner-spec/busybox:1"
  if not images[name] then import(name, base_folder()) end
  images[name] = true
  return name
end

--- Makes an image without a shell, and with one program, /bin/busybox: "runner-spec/bare:1".
---@return string name
---@async
function M.bare()
  local name = "runner-spec/bare:1"
  if images[name] then return name end
  local folder = base_folder()
  shell('find "$1/bin" -type l -delete', folder)
  import(name, folder)
  images[name] = true
  return name
end

--- Makes an image with a shell, Python and pytest: "runner-spec/python:1".
---@return string name
---@async
function M.python()
  local name = "runner-spec/python:1"
  if images[name] then return name end
  local folder = base_folder()
  shell([[
    /usr/bin/python3 spec/support/python_image.py |
      tar -C / -ch --exclude=__pycache__ --exclude=*/python3.*/test -T - | tar -C "$1" -x]], folder)
  import(name, folder)
  images[name] = true
  return name
end

--- A request to the daemon; the decoded answer.
---@async
function M.get(path, query)
  local client <close> = M.client()
  local answer = client:request({ path = path, query = query })
  return require("cjson.safe").decode(answer.body), answer.status
end

--- The names of all containers of the daemon, sorted.
---@async
function M.containers()
  local names = {}
  for _, container in ipairs((M.get("/containers/json", { all = true }))) do
    names[#names + 1] = container.Names[1]:sub(2)
  end
  table.sort(names)
  return names
end

--- A request that changes something.
---@async
function M.post(path, query, method)
  local client <close> = M.client()
  local answer = client:request({ method = method or "POST", path = path, query = query })
  assert(answer.status // 100 == 2, answer.body)
end

--- Stops the daemon and removes its files.
---@async
local function stop()
  if not daemon then return end
  daemon.handle:ref()
  if not daemon.gone:is_set() then
    daemon.handle:kill("sigterm")
    if not task.deadline(20, function() daemon.gone:wait() end) then
      daemon.handle:kill("sigkill")
      daemon.gone:wait()
    end
  end
  -- What a daemon that was killed has left mounted would keep its folder.
  shell([[
    grep -o " $1/[^ ]*" /proc/mounts | sort -r | while read -r at; do umount -l "$at" || true; done
    rm -rf "$1"]], daemon.folder)
  daemon, images = nil, {}
end

--- Gives the tests of a `describe` the daemon at DOCKER_HOST, and a journal and a cache of their own. Where it cannot
--- run they are pending.
---@param prepare fun() makes images; may await
---@return boolean is_usable
function M.around(prepare)
  local why = missing()
  if why then
    busted.pending("needs a daemon: " .. why)
    return false
  end
  busted.setup(function()
    for _, name in ipairs({ "RUNNER_STATE_DIR", "XDG_CACHE_HOME" }) do uv.os_setenv(name, project.new()) end
    task.main(start)
    uv.os_setenv("DOCKER_HOST", M.address())
    task.main(prepare)
  end)
  busted.teardown(function()
    task.main(stop)
    for _, name in ipairs({ "RUNNER_STATE_DIR", "XDG_CACHE_HOME", "DOCKER_HOST" }) do uv.os_unsetenv(name) end
    project.remove_all()
  end)
  return true
end

return M
