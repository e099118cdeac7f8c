--- Builds the test binaries and learns how cargo runs each of them, in one call of cargo.
---
--- `cargo test` is given a runner (target.<cfg>.runner of cargo's configuration) that runs no test but writes down what
--- it was started with: program, folder, environment. So each test gets the environment that cargo itself gives it,
--- with variables of build scripts, [env] of the configuration, library paths and whatever a later version adds.

local cjson = require("cjson.safe")
local call = require("runner.agent.call")
local command = require("frameworks.cargo.command")
local errors = require("runner.base.errors")
local marker = require("runner.base.marker")
local missing_tool = require("runner.worker.missing_tool")

local M = {}

local BUILD_TIMEOUT_S = 3600
local LIMIT = 256 * 1024 * 1024 -- bytes of cargo's messages

-- Both write folders and environments, ended by NUL bytes as in /proc, behind a mark that nothing else prints.
local LAUNCH = [[printf '%s\n%s\000' "$1" "$(pwd -P)"; cat "/proc/$$/environ"; printf '\n%s\n' "$1"; shift; exec "$@"]]
local PROBE = [[printf '\n%s\n' "$0"; printf '%s\000' "$1" "$(pwd -P)"; cat "/proc/$$/environ"]]

--- The shell's own, or of this call alone.
local NOT_CARGOS = { _ = true, PWD = true, OLDPWD = true, SHLVL = true }

---@class cargo.Binary a test binary, and how cargo runs it
---@field id string "package", "package::test", "package::bin/name": as nextest names them
---@field package string
---@field kind string lib, proc-macro, bin, test, example or bench
---@field file string? of its main source, relative to the project when it is inside
---@field program string absolute
---@field cwd string absolute, without symbolic links
---@field env table<string, string|false> on top of the environment that cargo was started with

---@class cargo.Build
---@field binaries cargo.Binary[]
---@field products string[] other programs and shared libraries of the build that tests may start or load

local function toml_string(text)
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

local function arguments(options, mark)
  local argv = { "/bin/sh", "-c", LAUNCH, "sh", mark, table.unpack(command.program(options)) }
  local function add(...)
    for _, word in ipairs({ ... }) do argv[#argv + 1] = word end
  end
  add("test", "--message-format=json", "--color=never", "--no-fail-fast")
  add(table.unpack(command.selection(options, "--profile")))
  local targets = command.targets(options)
  add(table.unpack(#targets > 0 and targets or { "--tests" }))
  add("--config", ('target."cfg(all())".runner=["/bin/sh","-c",%s,"%s"]'):format(toml_string(PROBE), mark))
  -- A runner of the project's own may win over ours: then it lists tests, and runs none.
  add("--", "--list", "--format", "terse")
  return argv
end

-- What cargo says ---------------------------------------------------------------------------------------------------

local function environment(bytes)
  local env = {}
  for name, value in bytes:gmatch("([^=%z]+)=(%Z*)%z") do
    if not NOT_CARGOS[name] then env[name] = value end
  end
  return env
end

--- What cargo has changed, on top of what the group sets.
local function changes_of(base, env, own)
  local changes = {}
  for name, value in pairs(own or {}) do changes[name] = value end
  for name, value in pairs(env) do
    if base[name] ~= value then changes[name] = value end
  end
  for name in pairs(base) do
    if env[name] == nil then changes[name] = false end
  end
  return changes
end

--- The parts between the marks: folder and environment before cargo, its messages, then one for each program it ran.
local function split(text, mark)
  local parts, from = {}, 1
  local line = mark .. "\n"
  while true do
    local at, last = text:find(line, from, true)
    parts[#parts + 1] = text:sub(from, at and at - 1)
    if not at then return parts end
    from = last + 1
  end
end

--- The JSON messages among cargo's output.
---@param text string
---@return table[]
function M.messages(text)
  local messages = {}
  for line in text:gmatch("{[^\n]*") do
    local message = cjson.decode(line)
    if type(message) == "table" and message.reason then messages[#messages + 1] = message end
  end
  return messages
end

--- The name of the package that a message is about.
---@param message table
---@return string
function M.package(message)
  -- path+file:///a/b#name@1.0.0, path+file:///a/name#1.0.0, and before cargo 1.77: name 1.0.0 (path+file:///a/b)
  local id = message.package_id
  local url, fragment = id:match("^(.-)#([^#]*)$")
  if not url then return id:match("^%S+") end
  return fragment:match("^(.-)@") or url:gsub("%?.*$", ""):match("([^/]*)/*$")
end

local function kind_of(target)
  local kind = target.kind[1]
  return (kind == "test" or kind == "bin" or kind == "example" or kind == "bench" or kind == "proc-macro") and kind
    or "lib"
end

local function binary_id(package, kind, target)
  if kind == "lib" or kind == "proc-macro" then return package end
  return kind == "test" and package .. "::" .. target or ("%s::%s/%s"):format(package, kind, target)
end

--- A function that names files relative to the folder of the tests. cargo's paths are free of symbolic links: so has
--- that folder's to be.
local function namer(parts, options)
  local root, below = parts[2]:match("^%Z*"), "/" .. (options.working_dir or ""):gsub("/+$", "")
  if below ~= "/" and root:sub(-#below) == below then root = root:sub(1, -#below - 1) end
  return function(path)
    return path:sub(1, #root + 1) == root .. "/" and path:sub(#root + 2) or path
  end
end

-- What went wrong ---------------------------------------------------------------------------------------------------

--- The errors of the compiler, one problem for each target that has some.
local function compile_problems(messages)
  local problems, by_target = {}, {}
  for _, message in ipairs(messages) do
    local said = message.reason == "compiler-message" and message.message
    if said and said.level:find("^error") and not said.message:find("^aborting due to") then
      local package, kind = M.package(message), kind_of(message.target)
      if message.target.kind[1] == "custom-build" then kind = "build script" end
      local id = kind == "build script" and package .. "::build-script" or binary_id(package, kind, message.target.name)
      local problem = by_target[id]
      if not problem then
        problem = {
          kind = "collection", id = id, seen = {}, texts = {},
          message = ("%s does not compile: %s"):format(id, said.message:match("[^\n]*")),
        }
        by_target[id] = problem
        problems[#problems + 1] = problem
      end
      -- A library is compiled twice, for its own tests and for others: the same error is said once.
      local text = said.rendered or said.message
      if not problem.seen[text] then
        problem.seen[text] = true
        problem.texts[#problem.texts + 1] = text
      end
    end
  end
  for _, problem in ipairs(problems) do
    problem.text = table.concat(problem.texts, "\n")
    problem.seen, problem.texts = nil, nil
  end
  return problems
end

local function explain(options, called, ctx)
  local said = called.stderr
  missing_tool.check(ctx, called.exit, command.about(options, ctx), said)
  if said:find("several matching instances of `target", 1, true) then
    errors.raise("config", ("the project's cargo configuration has a runner for its tests (target.'cfg(…)'.runner); "
      .. 'set via = "nextest", which uses it\n%s'):format(said))
  end
  call.check(called, command.shown(options, "test"))
end

--- Why cargo failed to build: problems of the project's code are returned, everything else is raised.
---@param options table of the framework
---@param called runner.Called
---@param messages table[]
---@param ctx table? of the framework; nil: it ran on this machine
---@return table[] problems
function M.failure(options, called, messages, ctx)
  local problems = compile_problems(messages)
  if #problems > 0 then return problems end
  local said = called.stderr
  local message = said:match("error: failed to run custom build command[^\n]*")
    or said:match("error: could not compile[^\n]*")
  if message then return { { kind = "collection", id = "cargo build", message = message, text = said } } end
  explain(options, called, ctx)
end

-- A build -----------------------------------------------------------------------------------------------------------

local function probes_of(parts, own)
  local base, probes = environment(parts[2]:match("%z(.*)$")), {}
  for i = 4, #parts do
    local program, cwd, env = parts[i]:match("^(%Z*)%z(%Z*)%z(.*)$")
    if program then probes[program] = { cwd = cwd, env = changes_of(base, environment(env), own) } end
  end
  return probes
end

local function add_products(products, message)
  if message.executable and message.executable ~= cjson.null then
    products[#products + 1] = message.executable
  else
    for _, kind in ipairs(message.target.kind) do
      for _, name in ipairs((kind == "cdylib" or kind == "dylib") and message.filenames or {}) do
        if name:find("%.so$") then products[#products + 1] = name end
      end
    end
  end
end

local function read_build(parts, options)
  local probes, relative = probes_of(parts, options.env), namer(parts, options)
  local build = { binaries = {}, products = {} }
  local taken = {}
  for _, message in ipairs(M.messages(parts[3])) do
    if message.reason == "compiler-artifact" then
      local program = message.profile.test and message.executable
      local probe = program and probes[program]
      if probe then
        local package, kind = probe.env.CARGO_PKG_NAME or M.package(message), kind_of(message.target)
        local id = binary_id(package, kind, message.target.name)
        taken[id] = (taken[id] or 0) + 1
        build.binaries[#build.binaries + 1] = {
          id = taken[id] == 1 and id or ("%s#%d"):format(id, taken[id]), -- for two machines at once
          package = package, kind = kind, file = relative(message.target.src_path), program = program,
          cwd = probe.cwd, env = probe.env,
        }
      elseif program and program ~= cjson.null then
        errors.raise("config", ("cargo did not run %s as it was told to: the project's cargo configuration has a "
          .. 'runner for its tests (target.….runner); set via = "nextest", which uses it'):format(program))
      else
        add_products(build.products, message)
      end
    end
  end
  table.sort(build.binaries, function(a, b) return a.id < b.id end)
  return build
end

--- Builds in a sandbox, or wherever `run` runs a command.
---@param options table of the framework
---@param run fun(spec: table): runner.Called as call.run
---@param ctx table? of the framework; nil: on this machine
---@return cargo.Build? build nil: it does not compile
---@return table[] problems
---@async
function M.build(options, run, ctx)
  local mark = marker.half()
  local called = run({
    argv = arguments(options, mark), env = options.env, limit = LIMIT,
    timeout = options.build_timeout or BUILD_TIMEOUT_S,
  })
  local parts = split(called.stdout, mark)
  if called.exit.kind ~= "exited" or called.exit.code ~= 0 or called.too_much then
    return nil, M.failure(options, called, M.messages(parts[3] or ""), ctx)
  end
  return read_build(parts, options), {}
end

return M
