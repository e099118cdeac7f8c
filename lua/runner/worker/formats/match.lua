-- Which test a result belongs to: results of a report are matched to the ids of the tests that were asked for. Only
-- equality counts, after rendering the case by a declared format, or as pytest renders its ids; what equals no id is
-- reported by its name, never guessed. Each case costs O(1).

local errors = require("runner.base.errors")
local nodeid = require("runner.worker.formats.junit.nodeid")
local suggest = require("runner.base.suggest")

local M = {}

---@class runner.match.Case what a format may use; see runner.junit.Case
---@field name string
---@field classname string?
---@field file string?
---@field line integer?
---@field suite runner.junit.Suite?
---@field properties table<string, string>?

---@alias runner.match.Format
---| string # "{classname} {name}": fields of the case: name classname file line suite (name of the nearest), suites
--- (names from the outermost, joined by spaces), property:NAME; "{{" is a brace
---| fun(case: runner.match.Case): string? # the id, or nil

---@class runner.match.Unmatched
---@field name string the case as a person would name it
---@field reason "unknown"|"repeated" no id equals it; or more results than tests have this id
---@field id string? of "repeated"

---@class runner.Match
---@field unmatched runner.match.Unmatched[] the first 1,000
---@field unmatched_count integer
local Match = {}
Match.__index = Match

local unmatched_limit = 1000

-- How a file is written differs where the file does not: "./a.py", and absolute below the root.
local function normalise_file(file, root)
  if root and file:sub(1, #root + 1) == root .. "/" then file = file:sub(#root + 2) end
  return (file:gsub("^%./+", ""))
end

local function suite_names(case)
  local names, suite = {}, case.suite
  while suite do
    if suite.name then table.insert(names, 1, suite.name) end
    suite = suite.parent
  end
  return names[1] and table.concat(names, " ")
end

local fields = {
  name = function(case) return case.name end,
  classname = function(case) return case.classname end,
  file = function(case, root) return case.file and normalise_file(case.file, root) end,
  line = function(case) return case.line and ("%d"):format(case.line) end,
  suite = function(case) return case.suite and case.suite.name end,
  suites = suite_names,
}
local field_names = { "name", "classname", "file", "line", "suite", "suites" }

local function field_reader(key)
  local property = key:match("^property:(.+)$")
  if property then
    return function(case) return case.properties and case.properties[property] end
  end
  return fields[key] or errors.raise("config",
    ("unknown field {%s} in a test id format%s"):format(key, suggest.hint(key, field_names)))
end

-- "{a} {b}" becomes a list of strings and functions.
local function compile(format)
  if type(format) == "function" then return format end
  local parts, from = {}, 1
  while true do
    local at = format:find("{", from, true)
    if not at then break end
    if at > from then parts[#parts + 1] = format:sub(from, at - 1) end
    if format:sub(at, at + 1) == "{{" then
      parts[#parts + 1] = "{"
      from = at + 2
    else
      local close = format:find("}", at, true)
      if not close then
        local message = "test id format %q: a { is not closed; write {{ for a brace"
        errors.raise("config", message:format(format))
      end
      parts[#parts + 1] = field_reader(format:sub(at + 1, close - 1))
      from = close + 1
    end
  end
  if from <= #format then parts[#parts + 1] = format:sub(from) end
  return function(case, root)
    local out = {}
    for i, part in ipairs(parts) do
      local text = part
      if type(part) == "function" then
        text = part(case, root)
        if not text then return nil end -- the report does not say: this format does not apply
      end
      out[i] = text
    end
    return table.concat(out)
  end
end

-- XML turns line ends and tabs in attributes into spaces: an id that holds them arrives so.
local function as_attribute(id)
  return (id:gsub("\r\n", " "):gsub("[\t\r\n]", " "))
end

-- Enters another spelling of an id. Two ids that share it cannot be told apart by it: neither is matched this way.
local function also(self, spelling, place)
  local clash = self.places[spelling] or self.others[spelling] ~= nil
  self.others[spelling] = not clash and place
end

---@class runner.match.Options
---@field format? runner.match.Format|runner.match.Format[] tried in order, then the bare name
---@field root string? absolute folder that files of the ids are relative to
---@field merge boolean? a test may have several results: those beyond the first are its, too

--- A matcher for one batch. Without a format, a case matches by its name alone. Raises `config` for a bad format.
---@param ids string[] in order; an id may occur more than once: its results are given out in order of occurrence
---@param options runner.match.Options?
---@return runner.Match
function M.new(ids, options)
  options = options or {}
  local formats = options.format or {}
  if type(formats) ~= "table" then formats = { formats } end
  local self = setmetatable({
    ids = ids, root = options.root, merge = options.merge, formats = {}, places = {}, others = {}, taken = {},
    unmatched = {}, unmatched_count = 0,
  }, Match)
  for _, format in ipairs(formats) do self.formats[#self.formats + 1] = compile(format) end
  self.formats[#self.formats + 1] = fields.name
  for index, id in ipairs(ids) do
    local place = self.places[id]
    if not place then
      place = { id = id, next = 1 }
      self.places[id] = place
    end
    place[#place + 1] = index
  end
  for id, place in pairs(self.places) do
    local spaced, key = as_attribute(id), id:find(".py::", 1, true) and nodeid.key(id)
    if spaced ~= id then also(self, spaced, place) end
    if key then also(self, key, place) end
  end
  return self
end

--- A case as a person would name it.
---@param case runner.match.Case
---@return string
function M.describe(case)
  local class, name = case.classname or "", case.name
  if class == "" or name:sub(1, #class) == class then return name end -- some have the class in the name, too
  return class .. " " .. name
end

function Match:reject(case, reason, id)
  self.unmatched_count = self.unmatched_count + 1
  if self.unmatched_count <= unmatched_limit then
    self.unmatched[self.unmatched_count] = { name = M.describe(case), reason = reason, id = id }
  end
  return nil, reason
end

--- Where a case belongs, by its own word alone.
---@param case runner.match.Case
---@return table? place its `id`
function Match:find(case)
  for _, render in ipairs(self.formats) do
    local id = render(case, self.root)
    local place = id and (self.places[id] or self.others[id])
    if place then return place end
  end
  return case.classname and self.others[nodeid.joined(case.classname, case.name)] or nil
end

--- The test a result belongs to; each place in `ids` is given out once, and to `merge` the last one again and again.
---@param case runner.match.Case
---@return integer? index into `ids`
---@return string id_or_reason the id; without an index "unknown" or "repeated"
function Match:take(case)
  local place = self:find(case)
  if not place then return self:reject(case, "unknown") end
  local index = place[place.next]
  if index then
    place.next = place.next + 1
  elseif self.merge then
    index = place[#place]
  else
    return self:reject(case, "repeated", place.id)
  end
  self.taken[index] = true
  return index, place.id
end

--- The tests that got no result, in order.
---@return integer[] indices into `ids`
function Match:missing()
  local missing = {}
  for index in ipairs(self.ids) do
    if not self.taken[index] then missing[#missing + 1] = index end
  end
  return missing
end

return M
