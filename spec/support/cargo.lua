--- Rust projects for the specs: one package, or the example.

local uv = require("luv")
local example = require("spec.support.example")
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local M = {}

local MANIFEST = [[
[package]
name = "sample"
version = "0.1.0"
edition = "2021"
]]

--- Programs for the specs that no package brings: `./dev setup --all` puts them there.
local TOOLS = (os.getenv("XDG_CACHE_HOME") or (os.getenv("HOME") or "") .. "/.cache") .. "/runner-dev/cargo/bin"

--- Makes the test pending where there is no cargo.
---@param pending function busted's: it gives that to spec files only
---@async
function M.need(pending)
  if not example.has("cargo", "cc") then pending("cargo or a C compiler to link with is missing") end
end

--- The same for cargo-nextest, which is put on the PATH until `reset`.
---@async
function M.need_nextest(pending)
  M.need(pending)
  local path = os.getenv("PATH")
  uv.os_setenv("PATH", path .. ":" .. TOOLS)
  M.path = M.path or path
  if not example.has("cargo-nextest") then pending("cargo-nextest is missing") end
end

function M.reset()
  if M.path then uv.os_setenv("PATH", M.path) end
  M.path = nil
  project.remove_all()
end

--- A project with one package called "sample".
---@param files table<string, string> `Cargo.toml` is what follows the package's own lines
---@param options string? of the framework, Lua source
---@param settings string? of the configuration, Lua source
---@return string dir
function M.new(files, options, settings)
  local all = {}
  for name, text in pairs(files) do all[name] = text end
  all["Cargo.toml"] = MANIFEST .. (files["Cargo.toml"] or "")
  all["src/lib.rs"] = files["src/lib.rs"] or ""
  local dir = project.new(all)
  M.configure(dir, options, settings)
  return dir
end

--- Writes its runner.lua.
function M.configure(dir, options, settings)
  project.write(dir, { ["runner.lua"] = ([[
    local settings = %s
    settings.max_parallel = settings.max_parallel or 2
    settings.framework = require "frameworks.cargo" { %s }
    return settings
  ]]):format(settings or "{}", options or "") })
end

--- Runs `runner run`.
---@return runner.ProcessResult result
---@return string text all that it printed
---@async
function M.run(dir, ...)
  local result = runner(dir, "run", "--color", "never", ...)
  return result, result.stdout .. result.stderr
end

return M
