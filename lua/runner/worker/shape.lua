--- Checks what came over a border against what may come: a shape says which fields a message has and of which type.
--- Pure. A checker returns nil for what fits, else what is wrong with it, in words.
---
---     local result = shape.record({ status = shape.one_of("passed", "failed"), duration = "number?",
---       tags = shape.list("string") })
---     local wrong = result(message)

local M = {}

---@alias runner.Check fun(value: any): string?
---@alias runner.Shape runner.Check|string a name is "string", "number" (finite), "count" (a whole number from 0) or
---  "boolean"; with "?" at its end the value may be missing

local function described(value)
  return type(value) == "table" and "a table" or type(value) == "string" and ("the string %q"):format(value:sub(1, 40))
    or tostring(value)
end

local is = {
  string = function(value) return type(value) == "string" end,
  number = function(value) return type(value) == "number" and value - value == 0 end,
  count = function(value) return math.type(value) == "integer" and value >= 0
    or math.type(value) == "float" and value >= 0 and value < 2 ^ 53 and value % 1 == 0 end,
  boolean = function(value) return type(value) == "boolean" end,
}

local named = {}
for name, fits in pairs(is) do
  named[name] = function(value)
    if not fits(value) then return ("a %s was expected, not %s"):format(name, described(value)) end
  end
end

--- May the value be missing?
local optional = setmetatable({}, { __mode = "k" })

local function checker(shape)
  if type(shape) == "function" then return shape, optional[shape] end
  local name, mark = shape:match("^(%a+)(%??)$")
  return assert(named[name], shape), mark == "?"
end

--- The same, and the value may be missing.
---@param shape runner.Shape
---@return runner.Check
function M.maybe(shape)
  local check = checker(shape)
  local function maybe(value) return check(value) end
  optional[maybe] = true
  return maybe
end

local function table_of(fields, is_open)
  local checks, required = {}, {}
  for key, shape in pairs(fields) do
    local check, may_miss = checker(shape)
    checks[key] = check
    if not may_miss then required[#required + 1] = key end
  end
  return function(value)
    if type(value) ~= "table" then return "a table was expected, not " .. described(value) end
    for key, field in pairs(value) do
      local check = checks[key]
      local wrong = not check and not is_open and "nobody knows it" or check and check(field)
      if wrong then return ("%s: %s"):format(tostring(key):sub(1, 40), wrong) end
    end
    for _, key in ipairs(required) do
      if value[key] == nil then return ("%s is missing"):format(key) end
    end
  end
end

--- A table with these fields and no others.
---@param fields table<any, runner.Shape>
---@return runner.Check
function M.record(fields)
  return table_of(fields, false)
end

--- A table with these fields, perhaps among others.
---@param fields table<any, runner.Shape>
---@return runner.Check
function M.fields(fields)
  return table_of(fields, true)
end

--- A list whose elements all have this shape.
---@param shape runner.Shape
---@return runner.Check
function M.list(shape)
  local check = checker(shape)
  return function(value)
    if type(value) ~= "table" then return "a list was expected, not " .. described(value) end
    local n = 0
    for _ in pairs(value) do n = n + 1 end
    if n ~= #value then return "a list was expected, not a table with names" end
    for i = 1, n do
      local wrong = check(value[i])
      if wrong then return ("%d: %s"):format(i, wrong) end
    end
  end
end

--- A table from names to values of this shape.
---@param shape runner.Shape
---@return runner.Check
function M.map(shape)
  local check = checker(shape)
  return function(value)
    if type(value) ~= "table" then return "a table was expected, not " .. described(value) end
    for key, field in pairs(value) do
      local wrong = type(key) ~= "string" and "a name was expected" or check(field)
      if wrong then return ("%s: %s"):format(tostring(key):sub(1, 40), wrong) end
    end
  end
end

--- One of some strings.
---@param ... string
---@return runner.Check
function M.one_of(...)
  local known = {}
  for _, value in ipairs({ ... }) do known[value] = true end
  local names = table.concat({ ... }, ", ")
  return function(value)
    if not known[value] then return ("one of %s was expected, not %s"):format(names, described(value)) end
  end
end

--- Anything.
function M.any() end

return M
