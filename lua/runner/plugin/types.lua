--- The one language of types, shared by the settings, the options of plug-ins and the flags: a string such
--- as "string?", "duration|boolean" or "\"pass\"|\"fail\"" says what a value must be and turns it into its
--- normal form (times to seconds, sizes to bytes).

local duration = require("runner.base.duration")
local env = require("runner.plugin.env")
local suggest = require("runner.base.suggest")

local M = {}

---@class runner.Problem what is wrong with one value
---@field path (string|number)[] keys below the value that was checked, outermost first
---@field message string "expected …, got …"

--- Longest time accepted: the agent counts milliseconds in 32 bits (49.7 days).
local MAX_SECONDS = 45 * 86400
local MAX_PARALLEL = 100000 -- each slot costs memory before the first test is known

--- What a person reads after "got".
---@param value any
---@return string
function M.describe(value)
  local kind = type(value)
  if kind == "string" then
    local shown = #value > 40 and value:sub(1, 37) .. "..." or value
    return ("the string %q"):format((shown:gsub("%c", "?")))
  elseif kind == "number" then
    return value ~= value and "NaN" or ("the number %s"):format(value)
  elseif kind == "boolean" or kind == "nil" then
    return tostring(value)
  end
  local meta = debug.getmetatable(value)
  if kind == "table" and type(meta) == "table" and type(meta.__tostring) == "function" then
    return tostring(value)
  elseif kind == "table" and next(value) == nil then
    return "an empty table"
  end
  return "a " .. kind
end

local function is_finite(value)
  return type(value) == "number" and value == value and math.abs(value) ~= math.huge
end

local function whole(value)
  return is_finite(value) and math.tointeger(value) or nil
end

local function positive_duration(value)
  local seconds = duration.parse(value)
  return seconds and seconds > 0 and seconds <= MAX_SECONDS and seconds or nil
end

local BYTES = { [""] = 0, K = 10, M = 20, G = 30, T = 40 }

local function bytes(value)
  if type(value) == "string" then
    local number, unit = value:upper():match("^%s*(%d+%.?%d*)%s*([KMGT]?)I?B?%s*$")
    value = tonumber(number) and math.floor(tonumber(number) * 2.0 ^ BYTES[unit])
  end
  local size = whole(value)
  return size and size >= 0 and size or nil
end

--- A list without holes whose items pass `check`; problems name the item.
local function list_of(check, expected)
  return function(value)
    if type(value) ~= "table" or getmetatable(value) then
      return nil
    end
    local items, problems, count = {}, {}, 0
    for _ in next, value do
      count = count + 1
    end
    for key, item in next, value do
      local position = math.type(key) == "integer" and key >= 1 and key <= count
      local checked = position and check(item)
      if not position then
        local message = "expected a plain list without holes or names"
        problems[#problems + 1] = { path = { key }, message = message }
      elseif checked == nil then
        local message = ("expected %s, got %s"):format(expected, M.describe(item))
        problems[#problems + 1] = { path = { key }, message = message }
      else
        items[key] = checked
      end
    end
    return items, problems
  end
end

local function text(value)
  return type(value) == "string" and value or nil
end

local function map(value)
  if type(value) ~= "table" or getmetatable(value) then
    return nil
  end
  local items, problems = {}, {}
  for key, item in next, value do
    if type(key) ~= "string" or type(item) ~= "string" then
      local message = ("expected a string for a named key, got %s"):format(M.describe(item))
      problems[#problems + 1] = { path = { key }, message = message }
    else
      items[key] = item
    end
  end
  return items, problems
end

local function of_type(name)
  return function(value)
    if type(value) == name then
      return value
    end
  end
end

--- name → { what a person reads after "expected", check(value) → normal form or nil, problems? }
local types = {
  amount = { "a number, 0 or more", function(value) return is_finite(value) and value >= 0 and value or nil end },
  any = { "any value", function(value) return value end },
  boolean = { "true or false", of_type("boolean") },
  bytes = { 'a size like "512M" or a number of bytes', bytes },
  count = { "a whole number, 0 or more", function(value)
    value = whole(value)
    return value and value >= 0 and value or nil
  end },
  duration = { 'a time like "5m" or a number of seconds (at most 45 days)', function(value)
    local seconds = duration.parse(value)
    return seconds and seconds <= MAX_SECONDS and seconds or nil
  end },
  env = { "a table of environment variables", env.expand },
  ["function"] = { "a function", of_type("function") },
  integer = { "a whole number", whole },
  map = { "a table from names to strings", map },
  number = { "a finite number", function(value) return is_finite(value) and value or nil end },
  parallel = { "a whole number: how many at once, up to 100000, or a negative one for cores less that many",
    function(value)
      value = whole(value)
      return value and value ~= 0 and value <= MAX_PARALLEL and value or nil
    end },
  part = { "a number from 0 to 1", function(value)
    return is_finite(value) and value >= 0 and value <= 1 and value or nil
  end },
  path = { "a path", function(value)
    return type(value) == "string" and value:find("^%Z+$") and value or nil
  end },
  positive = { "a whole number, 1 or more", function(value)
    value = whole(value)
    return value and value > 0 and value or nil
  end },
  string = { "a string", text },
  ["string[]"] = { "a list of strings", list_of(text, "a string") },
  table = { "a table", of_type("table") },
  timeout = { 'a time above 0 like "5m" or a number of seconds (at most 45 days), or "none"',
    function(value)
      return (value == false or value == "none") and "none" or positive_duration(value)
    end },
}

local parsed = {}

--- Take a type apart.
---@param spec string
---@return { optional: boolean, [integer]: table }? alternatives
---@return string? why it is no type
local function parse(spec)
  if parsed[spec] then
    return parsed[spec]
  end
  local result = { optional = spec:sub(-1) == "?" }
  for name in (result.optional and spec:sub(1, -2) or spec):gmatch("[^|]+") do
    local literal = name:match('^"(.*)"$')
    local entry = literal and { ("%q"):format(literal), function(value)
      return value == literal and value or nil
    end } or types[name]
    if not entry then
      local names = {}
      for known in pairs(types) do
        names[#names + 1] = known
      end
      table.sort(names)
      return nil, ("unknown type %q%s"):format(name, suggest.hint(name, names))
    end
    result[#result + 1] = entry
  end
  if not result[1] then
    return nil, "an empty type"
  end
  parsed[spec] = result
  return result
end

--- Is this a type? For those who declare options.
---@param spec any
---@return boolean
---@return string? why not
function M.valid(spec)
  if type(spec) ~= "string" then
    return false, "a type is a string"
  end
  local alternatives, why = parse(spec)
  return alternatives ~= nil, why
end

---@param spec string
---@return string expected what a person reads after "expected"
function M.expected(spec)
  local names = {}
  for i, entry in ipairs(assert(parse(spec))) do
    names[i] = entry[1]
  end
  return table.concat(names, " or ")
end

--- Check a value and bring it into its normal form.
---@param spec string the type
---@param value any nil passes when the type is optional
---@return any normal nil when there are problems (or the value is nil)
---@return runner.Problem[]? problems nil when the value is right
function M.check(spec, value)
  local alternatives = assert(parse(spec))
  if value == nil then
    if alternatives.optional then
      return nil
    end
    return nil, { { path = {}, message = "missing: expected " .. M.expected(spec) } }
  end
  local inner
  for _, entry in ipairs(alternatives) do
    local normal, problems = entry[2](value)
    if normal ~= nil and not (problems and problems[1]) then
      return normal
    end
    inner = inner or problems
  end
  if inner and inner[1] then
    table.sort(inner, function(a, b) return tostring(a.path[1]) < tostring(b.path[1]) end)
    return nil, inner
  end
  local message = ("expected %s, got %s"):format(M.expected(spec), M.describe(value))
  return nil, { { path = {}, message = message } }
end

--- How keys are written in messages: groups.unit.filters[2], groups["my tests"].
---@param path (string|number)[]
---@return string
function M.key_path(path)
  local parts = {}
  for i, key in ipairs(path) do
    if type(key) == "string" and key:find("^[%a_][%w_]*$") then
      parts[i] = (i > 1 and "." or "") .. key
    else
      parts[i] = type(key) == "string" and ("[%q]"):format(key) or ("[%s]"):format(key)
    end
  end
  return table.concat(parts)
end

return M
