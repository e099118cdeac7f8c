--- Brings what was built on this machine to a sandbox that cannot see it: the test binaries, and what they start, load
--- or read of the build. Sources are there already, as the project's files.
---
--- Paths in the tests' environment are rewritten to the places there. What the compiler has written into the binaries
--- (env!("CARGO_MANIFEST_DIR")) stays as it is.

local uv = require("luv")
local errors = require("runner.base.errors")
local listing = require("runner.files.sync.listing")
local system = require("runner.core.system")

local M = {}

--- Of this machine's toolchain: they mean nothing elsewhere.
local TOOLCHAIN = {
  CARGO = true, CARGO_HOME = true, PATH = true, RUSTUP_HOME = true, RUSTUP_TOOLCHAIN = true,
  RUSTUP_TOOLCHAIN_SOURCE = true, RUST_RECURSION_COUNT = true,
}

local function parent(path)
  local folder = path:match("^(.*)/[^/]*$")
  return folder ~= "" and folder or "/"
end

local function is_below(path, folder)
  return folder == "/" or path == folder or path:sub(1, #folder + 1) == folder .. "/"
end

--- The innermost folder that holds them all.
local function common_folder(paths)
  local folder = parent(paths[1])
  for _, path in ipairs(paths) do
    while not is_below(path, folder) do folder = parent(folder) end
  end
  return folder
end

--- Everything in a folder, as absolute paths.
local function add_folder(files, folder)
  if system.lstat(folder) ~= "directory" then return end
  for _, path in ipairs(listing.everything(folder).paths) do files[#files + 1] = folder .. "/" .. path end
end

--- The standard library, for programs that load it: the tests of proc-macro crates, and what uses a dylib.
local function standard_library(folder)
  local paths = {}
  for _, path in ipairs(listing.everything(folder).paths) do
    if path:find("^lib%a+%-%x+%.so$") then paths[#paths + 1] = path end
  end
  return paths
end

---@class cargo.Luggage
---@field root string absolute folder on this machine
---@field paths string[] relative to it
---@field libraries { root: string, paths: string[] }? of the toolchain

--- Which folders of the library path are the build's own, and where the toolchain has its libraries.
local function sort_folders(build)
  local own, seen, toolchain = {}, {}, nil
  local function add(folder)
    if not seen[folder] then own[#own + 1] = folder end
    seen[folder] = true
  end
  for _, binary in ipairs(build.binaries) do
    local output = parent(parent(binary.program)) -- …/debug of …/debug/deps/name-hash
    for folder in (binary.env.LD_LIBRARY_PATH or ""):gmatch("[^:]+") do
      if folder:find("/lib/rustlib/[^/]+/lib$") then
        toolchain = toolchain or folder
      elseif is_below(folder, output .. "/build") then
        add(folder) -- of a build script: what it told the linker
      end
    end
    if binary.env.OUT_DIR then add(binary.env.OUT_DIR) end
  end
  return own, toolchain
end

--- What has to go along.
---@param build cargo.Build
---@return cargo.Luggage
---@async
function M.pack(build)
  local files = table.move(build.products, 1, #build.products, 1, {})
  for _, binary in ipairs(build.binaries) do files[#files + 1] = binary.program end
  local folders, toolchain = sort_folders(build)
  for _, folder in ipairs(folders) do add_folder(files, folder) end
  local root = common_folder(files)
  for i, path in ipairs(files) do files[i] = path:sub(root == "/" and 2 or #root + 2) end
  return {
    root = root, paths = files, libraries = toolchain and { root = toolchain, paths = standard_library(toolchain) },
  }
end

-- There -------------------------------------------------------------------------------------------------------------

--- Replaces folders of this machine at the beginning of a path, or of each part of a list of them.
local function rewrite(value, places)
  local parts = {}
  for part in (value .. ":"):gmatch("([^:]*):") do
    for _, place in ipairs(places) do
      if is_below(part, place.from) then
        part = place.to .. part:sub(#place.from + 1)
        break
      end
    end
    parts[#parts + 1] = part
  end
  return table.concat(parts, ":")
end

local function moved(binary, places, project)
  local env = {}
  for name, value in pairs(binary.env) do
    if not TOOLCHAIN[name] then env[name] = value and rewrite(value, places) end
  end
  local copy = setmetatable({ env = env, program = rewrite(binary.program, places) }, { __index = binary })
  copy.cwd = rewrite(binary.cwd, places)
  if not is_below(binary.cwd, project) then
    errors.raise("config", ("package %s lies outside of %s, which is what goes to the sandbox: move the configuration, "
      .. 'or set build = "sandbox" for the cargo framework'):format(binary.package, project))
  end
  return copy
end

--- Sends a build to the sandbox.
---@param ctx table of the framework
---@param build cargo.Build
---@param luggage cargo.Luggage
---@return cargo.Binary[] binaries as they are there
---@async
function M.send(ctx, build, luggage)
  local libraries, project = luggage.libraries, ctx.sandbox.project
  local root = assert(uv.fs_realpath(project.root)) -- cargo's paths are free of symbolic links
  local folder = ctx.send("cargo " .. ctx.group, function()
    local trees = { { root = luggage.root, paths = luggage.paths } }
    if libraries then trees[2] = { root = libraries.root, paths = libraries.paths, into = ".rustlib" } end
    return trees
  end)
  local places = {
    { from = luggage.root, to = folder }, { from = root, to = project.folder },
    libraries and { from = libraries.root, to = folder .. "/.rustlib" },
  }
  table.sort(places, function(a, b) return #a.from > #b.from end)
  local binaries = {}
  for i, binary in ipairs(build.binaries) do binaries[i] = moved(binary, places, root) end
  return binaries
end

return M
