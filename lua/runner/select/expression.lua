--- Filter expressions, in the vocabulary of cargo-nextest: which tests a command line or an override means.
---
---     test(login) and not (tag(=slow) or file(#tests/ui/*))
---
---     expression  any of: all() none() test(M) group(M) file(M) tag(M) framework(M) failed(latest) flaky() slow(>10s)
---                 changed(REF), predicates of the configuration; not ! · and & - · or | + · parentheses
---     M           =equal  ~contains  /regular expression/  #glob  or bare: test() contains, the others glob
---
--- In M, parentheses may be nested; a backslash takes the meaning from what follows it.

local duration = require("runner.base.duration")
local errors = require("runner.base.errors")
local regex = require("runner.base.regex")
local outcome = require("runner.base.outcome")
local suggest = require("runner.base.suggest")

local M = {}

local MAX_DEPTH = 200

---@class runner.Expression
---@field package op "and"|"or"|"not"|"minus"|"predicate"
---@field uses_past boolean? needs the results of earlier runs
---@field text string? of the whole, at the root

---@alias runner.KnownNames table<"group"|"framework", string[]> what a configuration has

---@class runner.ExpressionContext
---@field past runner.Past? results of earlier runs
---@field changed (fun(ref: string): table<string, true>)? files that differ from a commit; may await
---@field predicates table<string, fun(test: table, argument: string): any>? of the configuration

-- Matchers ----------------------------------------------------------------------------------------------------------

--- A glob as a function: * within a part of a path, ** over parts, ?, [a-z], {a,b}.
local function glob(pattern)
  local function translate(text)
    local out, at = {}, 1
    while at <= #text do
      local char = text:sub(at, at)
      if text:sub(at, at + 2) == "**/" then
        out[#out + 1], at = "(.*/)?", at + 3
      elseif text:sub(at, at + 1) == "**" then
        out[#out + 1], at = ".*", at + 2
      elseif char == "*" then
        out[#out + 1], at = "[^/]*", at + 1
      elseif char == "?" then
        out[#out + 1], at = "[^/]", at + 1
      elseif char == "[" and text:find("]", at + 2, true) then
        local stop = text:find("]", at + 2, true)
        out[#out + 1], at = text:sub(at, stop):gsub("^%[!", "[^"), stop + 1
      elseif char == "{" and text:find("}", at, true) then
        local stop, parts = text:find("}", at, true), {}
        for part in (text:sub(at + 1, stop - 1) .. ","):gmatch("(.-),") do parts[#parts + 1] = translate(part) end
        out[#out + 1], at = "(" .. table.concat(parts, "|") .. ")", stop + 1
      else
        out[#out + 1], at = char:gsub("[%^%$%.%[%]%|%(%)%*%+%?%{%}\\]", "\\%0"), at + 1
      end
    end
    return table.concat(out)
  end
  return regex.compile("^" .. translate(pattern) .. "$")
end

--- A matcher of text.
---@param text string with its prefix
---@param default "contains"|"glob"
---@return (fun(subject: string): boolean)? matches
---@return string? message
local function matcher(text, default)
  local kind, rest = text:sub(1, 1), text:sub(2)
  if kind == "=" then return function(subject) return subject == rest end end
  if kind == "~" then return function(subject) return subject:find(rest, 1, true) ~= nil end end
  if kind == "#" then return glob(rest) end
  if kind == "/" then
    if #text < 2 or text:sub(-1) ~= "/" then return nil, "a regular expression ends with /" end
    return regex.compile(text:sub(2, -2))
  end
  if default == "glob" then return glob(text) end
  return function(subject) return subject:find(text, 1, true) ~= nil end
end

local function comparison(text)
  local sign, rest = text:match("^%s*([<>]?=?)%s*(.-)%s*$")
  local seconds = rest ~= "" and duration.parse(rest)
  if not seconds then return nil, "expected a duration, such as slow(>10s)" end
  local compare = {
    [">"] = function(x) return x > seconds end, [">="] = function(x) return x >= seconds end,
    ["<"] = function(x) return x < seconds end, ["<="] = function(x) return x <= seconds end,
    ["="] = function(x) return x == seconds end,
  }
  return compare[sign == "" and ">" or sign]
end

-- Predicates: each takes its argument apart and returns how to compile it ------------------------------------------

local function on_text(default, subjects)
  return function(argument)
    if argument == "" then return nil, "it needs a text to look for" end
    local matches, message = matcher(argument, default)
    if not matches then return nil, message end
    return function()
      return function(test) return subjects(test, matches) end
    end
  end
end

--- A matcher of names that are known beforehand: one that matches none of them is a mistake.
local function on_name(kind, subject)
  local make = on_text("glob", function(test, matches) return matches(subject(test)) end)
  return function(argument, known)
    local matches = argument ~= "" and known and known[kind] and matcher(argument, "glob")
    local found = not matches
    for _, name in ipairs(matches and known[kind] or {}) do found = found or matches(name) end
    if found then return make(argument) end
    local hint = suggest.hint(argument:gsub("^[=~#]", ""), known[kind])
    return nil, ("there is no such %s%s"):format(kind, hint ~= "" and hint
      or ("; the %ss are %s"):format(kind, table.concat(known[kind], " ")))
  end
end

local function constant(value)
  return function(argument)
    if argument ~= "" then return nil, "it takes no argument" end
    return function() return function() return value end end
  end
end

local predicates = {
  all = constant(true),
  none = constant(false),
  test = on_text("contains", function(test, matches) return matches(test.id) or matches(test.name or test.id) end),
  group = on_name("group", function(test) return test.group end),
  framework = on_name("framework", function(test) return test.framework or "" end),
  file = on_text("glob", function(test, matches) return test.file ~= nil and matches(test.file) end),
  tag = on_text("glob", function(test, matches)
    for _, tag in ipairs(test.tags or {}) do
      if matches(tag) then return true end
    end
    return false
  end),
  failed = function(argument)
    if argument ~= "" and argument ~= "latest" then return nil, "expected failed(latest)" end
    return function(context)
      return function(test)
        local status = context.past:status(test)
        return status == "not_run" or outcome.FAILURE[status] == true
      end
    end, true
  end,
  flaky = function(argument)
    if argument ~= "" then return nil, "it takes no argument" end
    return function(context)
      return function(test) return context.past:is_flaky(test) end
    end, true
  end,
  slow = function(argument)
    local compare, message = comparison(argument)
    if not compare then return nil, message end
    return function(context)
      return function(test)
        local seconds = context.past:duration(test)
        return seconds ~= nil and compare(seconds)
      end
    end, true
  end,
  changed = function(argument)
    local ref = argument == "" and "HEAD" or argument
    if ref:sub(1, 1) == "-" then return nil, "expected the name of a commit" end
    return function(context)
      local files = context.changed(ref)
      -- A test whose file is not known cannot be shown to be unchanged.
      return function(test) return test.file == nil or files[test.file] == true end
    end
  end,
}

--- Is there a predicate of this name already?
---@param name string
---@return boolean
function M.is_builtin(name)
  return predicates[name] ~= nil
end

local function predicate_of_user(name)
  return function(argument)
    return function(context)
      local fn = context.predicates[name]
      return function(test)
        local ok, result = pcall(fn, test, argument)
        if not ok then errors.raise("config", ("the predicate %s failed: %s"):format(name, tostring(result))) end
        return result and true or false
      end
    end
  end
end

-- Parsing -----------------------------------------------------------------------------------------------------------

local Parser = {}
Parser.__index = Parser

function Parser:fail(at, message, ...)
  local line = self.text:gsub("[%c]", " ")
  errors.raise("usage", ("filter expression: %s\n  %s\n  %s^"):format(message:format(...), line, (" "):rep(at - 1)))
end

function Parser:skip_space()
  self.at = self.text:find("%S", self.at) or #self.text + 1
end

--- The next token, if it is one of these: words must not run on.
function Parser:accept(...)
  self:skip_space()
  for _, token in ipairs({ ... }) do
    local stop = self.at + #token
    if self.text:sub(self.at, stop - 1) == token
      and not (token:find("%a") and self.text:find("^[%w_]", stop)) then
      self.at = stop
      return token
    end
  end
end

--- What stands between the parentheses of a predicate.
function Parser:argument()
  local start = self.at
  self:skip_space()
  if self.text:sub(self.at, self.at) == "/" then -- parentheses mean something else in there
    local stop = self.at + 1
    while true do
      local char = self.text:sub(stop, stop)
      if char == "" then self:fail(self.at, "a regular expression that does not end") end
      if char == "/" and self.text:find("^%s*%)", stop + 1) then break end
      stop = stop + (char == "\\" and 2 or 1)
    end
    local text = self.text:sub(self.at, stop):gsub("\\/", "/")
    self.at = self.text:find(")", stop + 1, true) + 1
    return text
  end
  local out, depth = {}, 0
  while true do
    local char = self.text:sub(self.at, self.at)
    if char == "" then
      self:fail(start, "a parenthesis that is not closed")
    elseif char == "\\" and self.at < #self.text then
      self.at = self.at + 1
      char = self.text:sub(self.at, self.at)
    elseif char == "(" then
      depth = depth + 1
    elseif char == ")" then
      if depth == 0 then break end
      depth = depth - 1
    end
    out[#out + 1] = char
    self.at = self.at + 1
  end
  self.at = self.at + 1
  return (table.concat(out):match("^%s*(.-)%s*$"))
end

function Parser:predicate()
  self:skip_space()
  local start = self.at
  local name = self.text:match("^[%a_][%w_]*", start)
  if not name then
    self:fail(start, start > #self.text and "it ends where a predicate is expected" or "expected a predicate")
  end
  local make = predicates[name] or self.known[name] and predicate_of_user(name)
  if not make then
    local names = {}
    for known in pairs(predicates) do names[#names + 1] = known end
    for known in pairs(self.known) do names[#names + 1] = known end
    table.sort(names)
    local hint = suggest.hint(name, names)
    self:fail(start, "unknown predicate %s%s", name, hint ~= "" and hint or "; there are " .. table.concat(names, " "))
  end
  self.at = start + #name
  if not self:accept("(") then self:fail(self.at, "expected ( after %s", name) end
  local compile, uses_past = make(self:argument(), self.names)
  if not compile then self:fail(start, "%s(): %s", name, uses_past) end
  self.uses_past = self.uses_past or uses_past
  return { op = "predicate", compile = compile }
end

function Parser:unary(depth)
  if depth > MAX_DEPTH then self:fail(self.at, "nested too deep") end
  if self:accept("not", "!") then return { op = "not", self:unary(depth + 1) } end
  if not self:accept("(") then return self:predicate() end
  local start = self.at - 1
  local inner = self:either(depth + 1)
  if not self:accept(")") then self:fail(start, "a parenthesis that is not closed") end
  return inner
end

function Parser:both(depth)
  local left = self:unary(depth)
  while true do
    local token = self:accept("and", "&&", "&", "-")
    if not token then return left end
    left = { op = token == "-" and "minus" or "and", left, self:unary(depth) }
  end
end

function Parser:either(depth)
  local left = self:both(depth)
  while self:accept("or", "||", "|", "+") do left = { op = "or", left, self:both(depth) } end
  return left
end

--- Reads an expression. Raises an error of kind "usage" that shows where it is wrong.
---@param text string
---@param known table<string, any>? names of the configuration's own predicates
---@param names runner.KnownNames? what group() and framework() may name; without it, anything
---@return runner.Expression
function M.parse(text, known, names)
  local parser = setmetatable({ text = text, at = 1, known = known or {}, names = names }, Parser)
  local root = parser:either(1)
  parser:skip_space()
  if parser.at <= #text then parser:fail(parser.at, "expected and, or, or the end") end
  root.text, root.uses_past = text, parser.uses_past
  return root
end

local function build(node, context)
  if node.op == "predicate" then return node.compile(context) end
  local a, b = build(node[1], context), node[2] and build(node[2], context)
  if node.op == "not" then return function(test) return not a(test) end end
  if node.op == "and" then return function(test) return a(test) and b(test) end end
  if node.op == "or" then return function(test) return a(test) or b(test) end end
  return function(test) return a(test) and not b(test) end
end

--- Makes a function of it.
---@param expression runner.Expression
---@param context runner.ExpressionContext
---@return fun(test: table): boolean
---@async
function M.compile(expression, context)
  return build(expression, context)
end

return M
