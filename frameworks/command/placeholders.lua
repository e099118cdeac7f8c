--- The commands of a configuration with their placeholders filled in: {tests}, {result_file}, {filters}. In a string,
--- which goes to the shell, names and paths are quoted where that is needed; in a list, an argument that is nothing but
--- {tests} or {filters} becomes as many arguments as there are.

local command_line = require("runner.io.command_line")
local suggest = require("runner.base.suggest")

local M = {}

---@class command.Values
---@field tests string[]?
---@field result_file string?
---@field filters string|string[]|nil

local function quoted(list)
  local words = {}
  for i, word in ipairs(list) do words[i] = command_line.quote(word) end
  return table.concat(words, " ")
end

--- A string of filters is the user's own shell text; a list is words.
local function for_shell(values)
  local filters = values.filters or ""
  return {
    tests = values.tests and quoted(values.tests),
    result_file = values.result_file and command_line.quote(values.result_file),
    filters = type(filters) == "table" and quoted(filters) or filters,
  }
end

local function for_argument(values)
  local filters = values.filters or ""
  return {
    tests = values.tests and table.concat(values.tests, " "),
    result_file = values.result_file,
    filters = type(filters) == "table" and table.concat(filters, " ") or filters,
  }
end

--- What is no placeholder stays as it is: braces mean much to a shell, ${tests} is a variable of its own.
local function fill(template, texts)
  return (template:gsub("(%$?){([%l_]+)}", function(dollar, name)
    return dollar == "" and texts[name] or nil
  end))
end

--- The argument vector of a command.
---@param command string|string[]
---@param sh string the shell for strings
---@param values command.Values
---@return string[] argv
---@return string[]? shell_argv see runner.io.command_line
function M.argv(command, sh, values)
  if type(command) == "string" then return command_line.argv(fill(command, for_shell(values)), sh) end
  local argv, texts = {}, for_argument(values)
  for _, argument in ipairs(command) do
    local several = argument == "{tests}" and values.tests
      or argument == "{filters}" and (type(values.filters) == "table" and values.filters or { values.filters })
    if several then
      table.move(several, 1, #several, #argv + 1, argv)
    else
      argv[#argv + 1] = fill(argument, texts)
    end
  end
  return argv
end

---@param env table<string, string|false>?
---@param values command.Values
---@return table<string, string|false>
function M.env(env, values)
  local filled, texts = {}, for_argument({ result_file = values.result_file })
  texts.filters = nil
  for name, value in pairs(env or {}) do filled[name] = value and fill(value, texts) end
  return filled
end

--- Does a command, or an environment, hold a text?
---@param what string|table|nil
---@param text string
---@return boolean
function M.says(what, text)
  if type(what) == "string" then return what:find(text, 1, true) ~= nil end
  for _, item in pairs(what or {}) do
    if type(item) == "string" and M.says(item, text) then return true end
  end
  return false
end

--- Does a command, or an environment, mention a placeholder?
---@param what string|table|nil
---@param name string
---@return boolean
function M.mentions(what, name)
  if type(what) == "string" then return ("\0" .. what):find("[^$]{" .. name .. "}") ~= nil end
  for _, item in pairs(what or {}) do
    if type(item) == "string" and M.mentions(item, name) then return true end
  end
  return false
end

local NAMES = { "tests", "result_file", "filters" }

--- A word in braces that was meant to be a placeholder and is none here; other braces are the command's own, as those
--- of ${VAR} and awk '{print}' are.
---@param what string|table|nil a command, or an environment
---@param known string[] placeholders that are filled in there
---@return string? message
function M.mistake(what, known)
  if type(what) == "table" then
    for _, item in pairs(what) do
      local message = type(item) == "string" and M.mistake(item, known)
      if message then return message end
    end
    return nil
  end
  local is_known = {}
  for _, name in ipairs(known) do is_known[name] = true end
  for before, word in ("\0" .. (what or "")):gmatch("(.){([%a_-]+)%f[}]") do
    local nearest = not before:find("[%$%%#@{]") and not is_known[word] and suggest.nearest(word, NAMES)
    if nearest == word then
      return ("{%s} is not filled in there"):format(word)
    elseif nearest then
      return ("unknown placeholder {%s}; did you mean {%s}?"):format(word, nearest)
    end
  end
end

--- Can the command take more than one test?
---@param command string|string[]
---@return boolean
function M.takes_many(command)
  if type(command) == "string" then return M.mentions(command, "tests") end
  for _, argument in ipairs(command) do
    if argument == "{tests}" then return true end
  end
  return false
end

return M
