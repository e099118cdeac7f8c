--- The command lines of cargo, from a group's options.

local M = {}

local function append(list, more)
  return table.move(more, 1, #more, #list + 1, list)
end

--- One value or a list of them, as a list.
---@param value string|string[]|nil
---@return string[]
function M.list(value)
  return type(value) == "table" and value or { value }
end

--- What starts cargo.
---@param options table
---@return string[]
function M.program(options)
  return append({}, M.list(options.cargo or "cargo"))
end

--- For messages: "cargo test", "cargo +nightly test".
---@param options table
---@param ... string
---@return string
function M.shown(options, ...)
  return table.concat(append(M.program(options), { ... }), " ")
end

--- What to say where cargo cannot be started.
---@param options table
---@param ctx table? of the framework; nil: on this machine
---@return table about see runner.framework.tool
function M.about(options, ctx)
  local elsewhere = ctx and not ctx.sandbox.is_host and options.build == "sandbox"
  return {
    program = M.shown(options), install = "Rust",
    set = 'cargo = "…" of the cargo framework' .. (elsewhere and ', or build = "host" to build on this machine' or ""),
  }
end

--- Which packages, with which features, for which machine: what every subcommand that builds takes.
---@param options table
---@param profile_flag string `--profile` is cargo's; cargo-nextest has one of its own by that name
---@param package string? this one alone
---@return string[]
function M.selection(options, profile_flag, package)
  local argv = {}
  local function add(format, ...) argv[#argv + 1] = format:format(...) end
  if options.manifest_path then add("--manifest-path=%s", options.manifest_path) end
  if options.workspace and not package then add("--workspace") end
  for _, name in ipairs(M.list(package or options.package)) do add("--package=%s", name) end
  for _, name in ipairs(not package and M.list(options.exclude) or {}) do add("--exclude=%s", name) end
  for _, name in ipairs(M.list(options.features)) do add("--features=%s", name) end
  if options.all_features then add("--all-features") end
  if options.default_features == false then add("--no-default-features") end
  if options.profile then add("%s=%s", profile_flag, options.profile) end
  if options.target then add("--target=%s", options.target) end
  return append(argv, options.args or {})
end

--- Which test binaries. By default all that `cargo test` runs.
---@param options table
---@return string[]
function M.targets(options)
  local argv = {}
  if options.lib then argv[1] = "--lib" end
  for _, kind in ipairs({ "bin", "test", "example", "bench" }) do
    for _, name in ipairs(M.list(options[kind])) do argv[#argv + 1] = ("--%s=%s"):format(kind, name) end
  end
  return argv
end

--- Where cargo is called.
---@param base string? the tests' folder
---@param options table
---@return string? folder nil: where commands run anyway
function M.folder(base, options)
  local path = options.working_dir
  if not path or path:sub(1, 1) == "/" then return path or base end
  return base and base .. "/" .. path or path
end

return M
