--- One container: its main process is the agent itself, attached before it starts. So there is nothing to exec, and
--- when the runner goes, however it goes, the engine closes the agent's stdin, the agent ends, and with it the
--- container, which the engine then removes.

local cjson = require("cjson.safe")
local errors = require("runner.base.errors")
local exit_text = require("runner.io.exit_text")
local path = require("runner.base.path")
local Stream = require("providers.docker.stream")
local task = require("runner.base.task")

local M = {}

M.RUN, M.OWNER, M.REUSE, M.PROJECT = "runner.run", "runner.owner", "runner.reuse", "runner.project"

local NANO = 1e9
local REMOVE_TIMEOUT_S = 30
--- The engine closes a container's streams a moment before it notes the end.
local HISTORY_TRIES, HISTORY_PAUSE_S = 5, 0.05
local GOING_TRIES, GOING_PAUSE_S = 100, 0.02

---@class docker.Container
---@field engine docker.Engine
---@field id string
---@field name string
---@field stream docker.Stream? of its main process
local Container = {}
Container.__index = Container
Container.__name = "docker.container"

--- Volumes in Docker's form, host paths made absolute. A source without a slash or a leading dot names a volume.
---@param volumes string[]?
---@param dir string what relative paths start from
---@return { source: string, target: string, bind: string, is_path: boolean }[]
function M.volumes(volumes, dir)
  local list = {}
  for i, text in ipairs(volumes or {}) do
    local source, target, mode = text:match("^([^:]+):([^:]+):?([^:]*)$")
    if not source or target:sub(1, 1) ~= "/" then
      errors.raise("config", ('provider docker: option volumes[%d]: expected "HOST:/CONTAINER" or '
        .. '"HOST:/CONTAINER:ro", got %q'):format(i, text))
    end
    local home = source:match("^~/(.*)$")
    if home then source = (os.getenv("HOME") or "") .. "/" .. home end
    local is_path = source:find("/", 1, true) ~= nil or source:sub(1, 1) == "."
    if is_path then source = path.absolute(source, dir) end
    target = path.absolute(target)
    local bind = source .. ":" .. target .. (mode ~= "" and ":" .. mode or "")
    list[i] = { source = source, target = target, bind = bind, is_path = is_path }
  end
  return list
end

--- Where tests run in the container, and whether the project's files are there: a volume at, above or below that
--- folder.
---@param options table of the provider
---@param volumes table[]
---@param working_dir string the project's, on this machine
---@return string? cwd nil: the image's own
---@return boolean sees_project
function M.place_of_project(options, volumes, working_dir)
  local cwd = options.working_dir and path.absolute(options.working_dir, "/")
  local function below(inner, outer)
    return outer == "/" or inner == outer or inner:sub(1, #outer + 1) == outer .. "/"
  end
  if not cwd then
    for _, volume in ipairs(volumes) do
      if volume.is_path and below(working_dir, volume.source) then
        return volume.target .. working_dir:sub(#volume.source + 1), true
      end
    end
    return nil, false
  end
  for _, volume in ipairs(volumes) do
    if below(cwd, volume.target) or below(volume.target, cwd) then return cwd, true end
  end
  return cwd, false
end

--- What is asked of the engine, apart from the labels.
---@param spec { options: table, image: docker.Image, binds: string[], cwd: string?, argv: string[] }
---@return table body
function M.body(spec)
  local options = spec.options
  local host = {
    AutoRemove = not options.reuse,
    NetworkMode = options.network,
    Binds = #spec.binds > 0 and spec.binds or nil,
    NanoCpus = options.cpus and math.floor(options.cpus * NANO) or nil,
    Memory = options.memory,
    MemorySwap = options.memory, -- the same: no swap on top
    -- What the agent says is for us, not for a log file on the engine's disk.
    LogConfig = { Type = "none" },
  }
  for key, value in pairs(options.host_config or {}) do host[key] = value end
  return {
    Image = spec.image.id, Entrypoint = spec.argv, User = options.user, WorkingDir = spec.cwd,
    AttachStdin = true, AttachStdout = true, AttachStderr = true, OpenStdin = true, StdinOnce = true,
    Tty = false, Healthcheck = { Test = { "NONE" } }, HostConfig = host,
  }
end

--- Makes a container, which does not run yet.
---@param engine docker.Engine
---@param name string
---@param body table
---@param platform string?
---@return docker.Container
---@async
function M.create(engine, name, body, platform)
  local _, made = engine:request("POST", "/containers/create", {
    query = { name = name, platform = platform }, json = body,
  })
  return M.existing(engine, made.Id, name)
end

---@return docker.Container
function M.existing(engine, id, name)
  return setmetatable({ engine = engine, id = id, name = name }, Container)
end

local HINTS = {
  ["exec format error"] = "the image is for another processor; set `platform`, or install qemu-user-static",
  ["executable file not found"] = "the image has no such program",
  ["port is already allocated"] = "containers of one run cannot share a port of the host",
}

--- Attaches to the main process and starts it.
---@return docker.Stream stream over its stdin and stdout
---@async
function Container:start()
  self.since = self.engine:time() - 1
  self.stream = Stream.new(self.engine:upgrade("POST", "/containers/" .. self.id .. "/attach", {
    query = { stream = true, stdin = true, stdout = true, stderr = true },
  }))
  local ok, err = pcall(self.engine.request, self.engine, "POST", "/containers/" .. self.id .. "/start")
  if ok then return self.stream end
  self.stream:close()
  task.checkpoint()
  local said = errors.is(err) and err.context.said
  if not said then error(err, 0) end
  local hint = ""
  for text, advice in pairs(HINTS) do
    if said:find(text, 1, true) then hint = "; " .. advice end
  end
  errors.raise("provider", ("the container %s on %s does not start: %s%s")
    :format(self.name, self.engine.address, said, hint))
end

--- Starts a process in the container.
---@param argv string[]
---@param options { cwd: string?, user: string? }
---@return docker.Stream
---@async
function Container:exec(argv, options)
  local _, made = self.engine:request("POST", "/containers/" .. self.id .. "/exec", {
    json = {
      AttachStdin = true, AttachStdout = true, AttachStderr = true, Tty = false, Cmd = argv,
      WorkingDir = options.cwd, User = options.user,
    },
  })
  return Stream.new(self.engine:upgrade("POST", "/exec/" .. made.Id .. "/start", {
    json = { Detach = false, Tty = false },
  }))
end

--- What the engine noted about the container since it started, oldest first. Known even when it is gone.
---@return { action: string, code: integer? }[]
---@async
function Container:history()
  local now = self.engine:time()
  local filters = cjson.encode({ container = { self.id }, event = { "oom", "die", "kill" } })
  local answer = self.engine:request("GET", "/events", {
    timeout = 5,
    query = { since = ("%.6f"):format(self.since or now), ["until"] = ("%.6f"):format(now), filters = filters },
  })
  local list = {}
  for line in answer.body:gmatch("[^\n]+") do
    local event = cjson.decode(line) or {}
    local code = event.Actor and event.Actor.Attributes and event.Actor.Attributes.exitCode
    list[#list + 1] = { action = event.Action or event.status, code = tonumber(code) }
  end
  return list
end

--- Why the container is gone or never worked, as far as the engine and its last words tell.
---@param memory integer? its limit in bytes
---@return string? sentence
---@async
function Container:explain(memory)
  local parts, code, lacked_memory = {}, nil, false
  for _ = 1, HISTORY_TRIES do
    local ok, events = pcall(self.history, self)
    task.checkpoint()
    for _, event in ipairs(ok and events or {}) do
      lacked_memory = lacked_memory or event.action == "oom"
      code = event.code or code
    end
    if code or not ok then break end
    task.sleep(HISTORY_PAUSE_S)
  end
  if lacked_memory then
    parts[1] = memory and ("the kernel killed it for want of memory (limit %d MiB)"):format(memory >> 20)
      or "the kernel killed it for want of memory"
  elseif code then
    parts[1] = "it " .. exit_text.verb({ code = code, signal = code > 128 and code - 128 })
  end
  local words = self.stream and self.stream.stderr:gsub("%s+$", "") or ""
  if words ~= "" then parts[#parts + 1] = "its last output: " .. words end
  return parts[1] and ("container %s: %s"):format(self.name, table.concat(parts, "; ")) or nil
end

--- Ends the main process's input and waits until the container has stopped.
---@async
function Container:wait()
  self.stream:close()
  self.engine:request("POST", "/containers/" .. self.id .. "/wait", {
    query = { condition = "not-running" }, timeout = REMOVE_TIMEOUT_S,
  })
end

--- Removes the container, running or not; it is gone afterwards, unless the engine takes its time.
---@async
function Container:remove()
  if self.stream then self.stream:close() end
  local answer = self.engine:request("DELETE", "/containers/" .. self.id, {
    query = { force = true, v = true }, accept = { [404] = true, [409] = true }, timeout = REMOVE_TIMEOUT_S,
  })
  if answer.status ~= 409 then return end
  -- The engine is removing it already, as it does when the main process ends.
  for _ = 1, GOING_TRIES do
    local at = "/containers/" .. self.id .. "/json"
    if self.engine:request("GET", at, { accept = { [404] = true } }).status == 404 then return end
    task.sleep(GOING_PAUSE_S)
  end
end

--- The command that opens a shell in it, for a person.
---@return string
function Container:shell_command()
  return ("docker -H %s exec -it %s sh"):format(self.engine.address, self.name)
end

return M
