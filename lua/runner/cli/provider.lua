--- `runner provider test FILE_OR_NAME`: runs the contract of providers against one, and prints what holds.

local uv = require("luv")
local errors = require("runner.base.errors")
local path = require("runner.base.path")
local styles = require("runner.results.console.style")

local M = {
  name = "provider",
  summary = "Test whether a provider does what providers promise.",
}

local WIDTH = 66

---@param cmd table argparse command
function M.configure(cmd)
  cmd:usage("Usage: runner provider test FILE.lua|NAME [--option KEY=VALUE...]")
  cmd:argument("ACTION"):target("action"):argname("ACTION"):choices({ "test" })
    :description("test: run the contract against a real sandbox.")
  cmd:argument("FILE.lua|NAME"):target("provider"):description("A provider's file, or its name.")
  cmd:option("-o --option"):argname("KEY=VALUE"):count("*"):target("options")
    :description("An option of the provider. Give lists item by item, tables as KEY.NAME=VALUE.")
  cmd:option("--only"):argname("TEXT"):description("Only checks whose name holds this text.")
  cmd:flag("-v --verbose"):description("Show what the provider logs.")
  require("runner.cli.options").color(cmd)
end

--- The plug-in in a file, or of a name.
local function load_provider(name)
  local plugin = require("runner.plugin")
  if not name:find("%.lua$") then return plugin.load("provider", name, path.absolute(".")), path.absolute(".") end
  local file = path.absolute(name)
  -- A file in providers/ or .runner/providers/ belongs to the project above.
  local dir = path.dirname(file):gsub("/providers$", ""):gsub("/%.runner$", "")
  local modules = require("runner.plugin.loader").new(dir)
  local chunk, why = modules.load(file, name)
  if not chunk then errors.raise("config", why:find(name, 1, true) and why or name .. ": " .. why) end
  local ok, value = pcall(chunk)
  if not ok then error(errors.coerce(value, "config"), 0) end
  if not plugin.is(value, "provider") then
    errors.raise("config", ("%s: expected it to return plugin.provider { … }"):format(name))
  end
  return value, dir
end

local function plain_value(text, spec)
  if spec:find("boolean", 1, true) and (text == "true" or text == "false") then return text == "true" end
  if tonumber(text) and not spec:find("string", 1, true) then return tonumber(text) end
  return text
end

--- The options table from KEY=VALUE texts, as the provider's types want it.
---@param declared table<string, string>
---@param texts string[]
---@return table
function M.options(declared, texts)
  local options = {}
  for _, text in ipairs(texts) do
    local key, value = text:match("^([^=]+)=(.*)$")
    if not key then errors.raise("usage", ("--option: expected KEY=VALUE, got %q"):format(text)) end
    local name, inner = key:match("^([^.]+)%.(.+)$")
    local spec = declared[key] or ""
    if inner and not declared[key] then
      options[name] = options[name] or {}
      options[name][inner] = value
    elseif spec:find("[]", 1, true) and (options[key] or not spec:find("^string|")) then
      options[key] = type(options[key]) == "table" and options[key] or { options[key] }
      table.insert(options[key], value)
    else
      options[key] = plain_value(value, spec)
    end
  end
  return options
end

local function line_of(result, style)
  local words = {
    holds = style:paint("green", "holds "), fails = style:paint("red", "FAILS "), absent = style:paint("dim", "absent"),
  }
  local name = result.name .. (" "):rep(math.max(1, WIDTH - (utf8.len(result.name) or #result.name)))
  local line = ("  %s  %s%7.3f s"):format(words[result.status], name, result.duration)
  return result.message and ("%s\n          %s"):format(line, result.message:gsub("\n", "\n          ")) or line
end

---@param args table
---@return integer exit code
---@async
function M.run(args)
  local plugin, dir = load_provider(args.provider)
  local bound = plugin(M.options(plugin.options, args.options))
  local style = styles.new {
    colour = styles.wants_colour(args.color, uv.guess_handle(1) == "tty", os.getenv), env = os.getenv,
  }
  local count = { holds = 0, fails = 0, absent = 0 }
  local heading = ("The contract of providers, against %s:\n"):format(plugin.name)
  require("runner.sandbox.contract").check(bound, {
    dir = dir,
    only = args.only,
    log = function(level, format, ...)
      if args.verbose or level ~= "info" then io.stderr:write(level, ": ", format:format(...), "\n") end
    end,
    on_result = function(result)
      count[result.status] = count[result.status] + 1
      io.stdout:write(heading, line_of(result, style), "\n")
      io.stdout:flush()
      heading = ""
    end,
  })
  io.stdout:write(("%d hold, %d fail, %d absent\n"):format(count.holds, count.fails, count.absent))
  return count.fails > 0 and 1 or 0
end

return M
