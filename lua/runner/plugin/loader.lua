--- `require` as a configuration and its plug-ins see it. A user's files come first, in this order:
--- `.runner/NAME.lua` and `NAME.lua` beside the configuration (or `NAME/init.lua`), then what is embedded
--- and installed. They have a cache of their own, so a user's `json.lua` or `mine.lua` never stands in for a
--- module that `runner` itself needs; and `runner.*` is always ours.

local uv = require("luv")
local errors = require("runner.base.errors")
local host = require("runner.core.host")
local file_names = require("runner.base.files").names

local M = {}

--- The modules of ours that a configuration and its plug-ins may use, under the names that are promised to them.
M.PUBLIC = {
  ["runner.plugin"] = "runner.plugin",
  ["runner.errors"] = "runner.base.errors",
  ["runner.task"] = "runner.base.task",
  ["runner.text"] = "runner.base.text",
  ["runner.file"] = "runner.base.files",
  ["runner.path"] = "runner.base.path",
  ["runner.duration"] = "runner.base.duration",
  ["runner.process"] = "runner.io.process",
  ["runner.shell"] = "runner.io.shell",
  ["runner.http"] = "runner.io.http",
  ["runner.ssh"] = "runner.io.ssh",
  ["runner.journal"] = "runner.plugin.leftovers",
  ["runner.junit"] = "runner.worker.formats.junit",
  ["runner.tap"] = "runner.worker.formats.tap",
  ["runner.framework.batch"] = "runner.worker.batch",
  ["runner.framework.call"] = "runner.agent.call",
  ["runner.framework.lane"] = "runner.worker.per_test",
  ["runner.framework.told"] = "runner.worker.reporting_tool",
}

--- Names of 0.1.0 that plug-ins may have found by reading ours. They still lead somewhere; they were never promised.
M.MOVED = {
  ["runner.base64"] = "runner.base.base64",
  ["runner.bootstrap"] = "runner.agent.deploy",
  ["runner.context"] = "runner.plugin.context",
  ["runner.framework.build"] = "runner.worker.build_command",
  ["runner.framework.cache"] = "runner.worker.list_cache",
  ["runner.framework.channel"] = "runner.worker.channel",
  ["runner.framework.find"] = "runner.worker.find",
  ["runner.framework.gate"] = "runner.worker.rw_gate",
  ["runner.framework.helper"] = "runner.worker.helper",
  ["runner.framework.lines"] = "runner.worker.lines",
  ["runner.framework.outcome"] = "runner.worker.exit_result",
  ["runner.framework.resident"] = "runner.worker.resident",
  ["runner.framework.tail"] = "runner.base.tail",
  ["runner.framework.tool"] = "runner.worker.missing_tool",
  ["runner.framework.unique"] = "runner.worker.unique_ids",
  ["runner.framework.unit"] = "runner.worker.file_run",
  ["runner.match"] = "runner.worker.formats.match",
  ["runner.regex"] = "runner.base.regex",
  ["runner.suggest"] = "runner.base.suggest",
  ["runner.tar"] = "runner.base.tar",
}

--- Tells whoever wrote a `require` of what is not promised; once for each line.
---@param modules runner.Modules
---@param name string
local function warn_of_internal(modules, name)
  local caller = debug.getinfo(3, "Sl")
  if modules.ours[caller and modules.files[caller.source] and caller.source or "@" .. (modules.current or "")] then
    return
  end
  -- Of `return require …` Lua has forgotten the line: the file that is being loaded is near enough.
  local where = caller and modules.files[caller.source] and ("%s:%d"):format(caller.short_src, caller.currentline)
    or modules.current or modules.main and modules.main:sub(2) or modules.dir
  local key = where .. "\0" .. name
  if modules.told[key] then return end
  modules.told[key] = true
  local promised
  for public, module in pairs(M.PUBLIC) do
    if module == name then promised = public end
  end
  modules.warn(("%s: %s is internal to runner and may change without notice%s"):format(where, name,
    promised and ("; its promised name is %s"):format(promised) or ""))
end

---@class runner.Modules
---@field warn fun(message: string) gets what whoever wrote the files should know; default: stderr
---@field package current string? the user's file that is being loaded
---@field package ours table<string, true> chunk names of files that are just as we ship them
---@field package told table<string, true> warnings that were given
---@field dir string absolute folder of the configuration
---@field env table globals of the configuration and of the user's modules
---@field require fun(name: string): any
---@field path fun(name: string): string? the user's file for a module
---@field plugins fun(kind: runner.PluginKind): string[] names of the user's plug-ins
---@field files table<string, true> chunk names of all the user's files that were loaded
---@field main string? chunk name of the first of them: the configuration
---@field undefined table<string, integer> globals that the configuration read and nobody had set → line

--- Read a file as Lua source text.
---@param path string
---@return string? source
---@return string? why it cannot be read
function M.read(path)
  local stat, why, code = uv.fs_stat(path)
  if not stat then
    return nil, code == "ENOENT" and "there is no such file" or why
  elseif stat.type == "directory" then
    return nil, "that is a folder, not a file"
  end
  local file, open_error = io.open(path, "rb")
  if not file then
    return nil, (open_error:gsub("^.*: ", ""))
  end
  local source, read_error = file:read("a")
  file:close()
  if not source then
    return nil, read_error
  end
  -- What `lua FILE` skips, too: a byte order mark and a first line for the system's shell.
  return (source:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", ""))
end

-- Standard Lua, and nothing that ends the process or spoils machine-readable output on stdout.
local function new_globals(modules)
  local env = setmetatable({}, { __index = function(_, name)
    local value = _G[name]
    if value == nil and type(name) == "string" then
      local reader = debug.getinfo(2, "Sl")
      if reader and reader.source == modules.main then modules.undefined[name] = reader.currentline end
    end
    return value
  end })
  env._G = env
  env.os = setmetatable({
    exit = function()
      error("os.exit would end runner itself; raise an error instead", 2)
    end,
  }, { __index = os })
  env.print = function(...)
    local texts = table.pack(...)
    for i = 1, texts.n do
      texts[i] = tostring(texts[i])
    end
    io.stderr:write(table.concat(texts, "\t"), "\n")
  end
  return env
end

--- The modules of the configuration in this folder.
---@param dir string absolute
---@return runner.Modules
function M.new(dir)
  local modules = { dir = dir, files = {}, undefined = {}, told = {}, ours = {} }
  function modules.warn(message) io.stderr:write("warning: ", message, "\n") end
  modules.env = new_globals(modules)
  local loaded, loading = {}, {}

  function modules.path(name)
    if name:find("^runner%.") or name == "runner" or not name:find("^[%w_.-]+$") then
      return nil
    end
    local relative = name:gsub("%.", "/")
    local plugin = name:find("^providers%.") or name:find("^frameworks%.")
    for _, base in ipairs(plugin and { dir .. "/.runner/", dir .. "/" } or { dir .. "/" }) do
      for _, suffix in ipairs({ ".lua", "/init.lua" }) do
        local stat = uv.fs_stat(base .. relative .. suffix)
        if stat and stat.type == "file" then
          return base .. relative .. suffix
        end
      end
    end
  end

  function modules.plugins(kind)
    local names = {}
    for _, base in ipairs({ dir .. "/.runner/", dir .. "/" }) do
      for _, file in ipairs(file_names(base .. kind .. "s")) do
        local name = file:gsub("%.lua$", "")
        if modules.path(kind .. "s." .. name) then names[#names + 1] = name end
      end
    end
    return names
  end

  --- Compile one of the user's files.
  function modules.load(path, shown)
    local source, why = M.read(path)
    if not source then
      return nil, why
    end
    modules.files["@" .. shown] = true
    local below = path:sub(1, #dir + 1) == dir .. "/" and path:sub(#dir + 2)
    if below and host.resource(below) == source then
      modules.ours["@" .. shown] = true
    else
      errors.add_user_file("@" .. shown)
    end
    modules.main = modules.main or "@" .. shown
    return load(source, "@" .. shown, "t", modules.env)
  end

  function modules.require(name)
    if type(name) ~= "string" then
      error("require expects the name of a module", 2)
    elseif loaded[name] ~= nil then
      return loaded[name]
    end
    local path = modules.path(name)
    if not path then
      local ok, result = pcall(require, M.PUBLIC[name] or M.MOVED[name] or name)
      if ok and name:find("^runner%.") and not M.PUBLIC[name] then warn_of_internal(modules, name) end
      if not ok then
        -- The list of every place that was searched says nothing to the writer of a configuration.
        if type(result) == "string" then
          if result:find(("module '%s' not found:"):format(name), 1, true) == 1 then
            error(("module %q not found: not beside the configuration (%s), not built in%s")
              :format(name, dir, require("runner.plugin.missing_module").module(name, modules)), 2)
          end
          result = result:gsub("(module '[^']*' not found):.*$", "%1")
        end
        error(result, 0)
      end
      return result
    elseif loading[name] then
      error(("%s requires itself (%s)"):format(name, path), 2)
    end
    local chunk, why = modules.load(path, path)
    if not chunk then
      why = why:find(path, 1, true) and why or path .. ": " .. why
      errors.raise("config", why, { file = path })
    end
    loading[name] = true
    local outer = modules.current
    modules.current = path
    local ok, value = pcall(chunk, name, path)
    modules.current = outer
    loading[name] = nil
    if not ok then
      error(value, 0)
    end
    loaded[name] = value == nil and true or value
    return loaded[name]
  end
  modules.env.require = modules.require
  return modules
end

return M
