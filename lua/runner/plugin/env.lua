--- Environment variables of a configuration: `${VAR}` is that variable of the machine that runs `runner`
--- (missing: an error), `${VAR:-default}` falls back when it is missing or empty, `$$` is a dollar. A
--- message never shows a value, because values are often secrets.

local M = {}

local expand_text

--- Where the `}` of a `${` is that opens before `start`, minding `${…}` inside it.
local function closing_brace(text, start)
  local depth, at = 1, start
  while at <= #text do
    if text:find("^%$%$", at) then
      at = at + 2
    elseif text:find("^%${", at) then
      depth, at = depth + 1, at + 2
    elseif text:sub(at, at) == "}" then
      depth = depth - 1
      if depth == 0 then
        return at
      end
      at = at + 1
    else
      at = at + 1
    end
  end
end

local function expand_reference(inside, getenv)
  local name, rest = inside:match("^([%a_][%w_]*)(.*)$")
  local default = name and rest:match("^:%-(.*)$")
  if not name or (rest ~= "" and not default) then
    return nil, "expected ${NAME} or ${NAME:-default} (a dollar itself is written $$)"
  end
  local value = getenv(name)
  if default then
    if value == nil or value == "" then
      return expand_text(default, getenv)
    end
  elseif value == nil then
    return nil, ("the environment variable %s is not set; set it, or give a default: ${%s:-…}")
      :format(name, name)
  end
  return value
end

function expand_text(text, getenv)
  local parts, at = {}, 1
  while true do
    local dollar = text:find("$", at, true)
    parts[#parts + 1] = text:sub(at, (dollar or 0) - 1)
    if not dollar then
      return table.concat(parts)
    end
    local following = text:sub(dollar + 1, dollar + 1)
    if following == "{" then
      local close = closing_brace(text, dollar + 2)
      if not close then
        return nil, "a ${ without its } (a dollar itself is written $$)"
      end
      local value, why = expand_reference(text:sub(dollar + 2, close - 1), getenv)
      if not value then
        return nil, why
      end
      parts[#parts + 1] = value
      at = close + 1
    else
      parts[#parts + 1] = "$"
      at = dollar + (following == "$" and 2 or 1)
    end
  end
end

--- Expand the references in one text.
---@param text string
---@param getenv? fun(name: string): string? default os.getenv
---@return string? expanded
---@return string? why
function M.text(text, getenv)
  return expand_text(text, getenv or os.getenv)
end

--- Can this be the name of an environment variable?
---@param name any
---@return boolean
function M.is_name(name)
  return type(name) == "string" and name ~= "" and not name:find("[=%z]")
end

--- Expand a table of variables. A number becomes its text; `false` means that the variable is unset.
---@param variables any
---@return table<string, string|false>? expanded nil when it is no table
---@return runner.Problem[]? problems
function M.expand(variables)
  if type(variables) ~= "table" or getmetatable(variables) then
    return nil
  end
  local expanded, problems = {}, {}
  local function problem(key, message)
    problems[#problems + 1] = { path = { key }, message = message }
  end
  for key, value in next, variables do
    if not M.is_name(key) then
      problem(key, type(key) == "string" and "not a name for an environment variable"
        or 'expected NAME = "value"')
    elseif value == false then
      expanded[key] = false
    elseif type(value) ~= "string" and type(value) ~= "number" then
      problem(key, ("expected a string (or false to unset it), got a %s"):format(type(value)))
    else
      local text, why = M.text(tostring(value))
      if not text then
        problem(key, why)
      elseif text:find("%z") then
        problem(key, "a value cannot hold a NUL byte")
      else
        expanded[key] = text
      end
    end
  end
  return expanded, problems
end

return M
