--- Reads TAP (the Test Anything Protocol, versions 12 to 14) as a stream: each test point is handed on with the
--- diagnostics that follow it, so memory is bounded by the largest one. What is whole counts: of a document that ends
--- early there are the points before the damage, and a problem that says what is missing.
---
--- Points of a subtest carry the names above them as suites, like the cases of runner.junit. Where a subtest is only
--- named by the point that closes it, its points wait for that.

local point = require("runner.worker.formats.tap.point")

local M = {}

---@class runner.tap.Point a result, with the fields of a runner.junit.Case that TAP knows
---@field name string "" when there is none
---@field number integer? as written
---@field status "passed"|"failed"|"skipped"
---@field todo boolean? an expected failure; it is "skipped" when it failed, "passed" when it did not
---@field message string? of the failure; or why it was skipped
---@field trace string? the diagnostics, of a failure
---@field time number? seconds
---@field file string?
---@field line integer?
---@field properties table<string, string>? what the YAML block says in scalars
---@field suite runner.junit.Suite? the subtest it belongs to
---@field closes boolean? it is the result of a subtest whose own points came before it
---@field at number? by the `clock` of the options

---@class runner.tap.Summary
---@field cases integer
---@field passed integer
---@field failed integer
---@field skipped integer
---@field complete boolean nothing can be missing
---@field skip_all string? why the plan was to run nothing
---@field problems runner.junit.Problem[] kinds "lost" and "suite"

---@class runner.tap.Options
---@field on_text fun(line: string)? a line that is no TAP: what a test has printed
---@field clock (fun(): number)? stamps each point with `at` when its line comes; its diagnostics may still follow

local LINE_LIMIT = 64 * 1024
local HELD_LIMIT = 10000 -- points of subtests whose name is not known yet

local Reader = {}
Reader.__index = Reader

local function problem(self, code, message, kind)
  local problems = self.summary.problems
  problems[#problems + 1] = { kind = kind or "lost", code = code, source = self.source, message = message }
  if not kind then self.summary.complete = false end
end

-- Levels: levels[1] is the document, each further one a subtest of the one before ----------------------------------

local function open_level(self, name)
  local above = self.levels[#self.levels]
  self.levels[#self.levels + 1] = { seen = 0, highest = 0, held = {}, suite = above and {
    name = name, parent = above.suite,
  } }
end

--- Whether all the names above the points of a level are known.
local function named(level)
  local suite = level.suite
  while suite do
    if not suite.name then return false end
    suite = suite.parent
  end
  return true
end

local function emit(self, level, test)
  if not named(level) and #level.held < HELD_LIMIT then
    level.held[#level.held + 1] = test
    return
  end
  local summary = self.summary
  summary.cases = summary.cases + 1
  summary[test.status] = summary[test.status] + 1
  self.on_case(test)
end

--- The last point of a level has all of its diagnostics.
local function settle(self, level)
  local test = level.last
  if not test or test.buffered then return end
  level.last = nil
  point.conclude(test)
  test.suite = level.suite
  emit(self, level, test)
end

local function check_plan(self, level)
  local place = level.suite and ("subtest %s: "):format(level.suite.name or "without a name") or ""
  if level.planned and level.planned ~= level.seen then
    problem(self, "EPLAN", ("%s%d planned, %d ran"):format(place, level.planned, level.seen))
  elseif level.planned and level.highest > level.planned then
    problem(self, "EPLAN", ("%stest number %d, but only %d are planned"):format(place, level.highest, level.planned))
  elseif not level.planned and (level.suite or level.seen > 0) and not self.bailed then
    problem(self, "ENOPLAN", place .. "there is no plan: it may have ended early")
  end
end

--- Ends the levels below `depth`. `name`: of the point that closes them.
local function close_levels(self, depth, name)
  while #self.levels > depth do
    local level = self.levels[#self.levels]
    settle(self, level)
    if level.last then -- a buffered subtest that was never closed
      level.last.buffered = nil
      settle(self, level)
    end
    if #self.levels == depth + 1 and name then level.suite.name = level.suite.name or name end
    check_plan(self, level)
    self.levels[#self.levels] = nil
    local above = self.levels[#self.levels]
    for _, test in ipairs(level.held) do emit(self, above, test) end
  end
end

--- The level that a line with this many spaces before it belongs to; opens a subtest where one may begin. nil: none.
local function level_at(self, spaces)
  if spaces % 4 ~= 0 then return nil end
  local depth = spaces // 4 + 1
  if depth > #self.levels + 1 then return nil end
  if depth == #self.levels + 1 then
    local above, announced = self.levels[#self.levels], self.announced
    local name = announced and announced.depth == depth and announced.name
    self.announced = nil
    settle(self, above)
    open_level(self, name or above.last and above.last.buffered and above.last.name or nil)
  end
  return self.levels[depth], depth
end

-- Lines -------------------------------------------------------------------------------------------------------------

local function read_point(self, spaces, ok, rest)
  local level, depth = level_at(self, spaces)
  if not level then return false end
  self.announced = nil
  settle(self, level)
  local test = point.new(ok, rest, self.version)
  if #self.levels > depth then
    test.closes = true
    close_levels(self, depth, test.name)
  end
  level.seen = level.seen + 1
  level.highest = math.max(level.highest, test.number or 0)
  if level.plan_over and not self.late then
    self.late = true
    problem(self, "EPLAN", "there are tests behind the plan, which was not at the beginning")
  end
  level.last = test
  test.at = self.clock and self.clock()
  return true
end

local function read_plan(self, spaces, count, rest)
  if rest ~= "" and not rest:find("^#") then return false end
  local level, depth = level_at(self, spaces)
  if not level then return false end
  close_levels(self, depth)
  settle(self, level)
  if level.planned then
    problem(self, "EPLAN", "there is a second plan")
  else
    level.planned = math.tointeger(tonumber(count)) or -1
    level.plan_over = level.seen > 0
    local reason = rest:match("^#%s*(.*)$")
    if level.planned == 0 and depth == 1 then
      self.summary.skip_all = reason and reason:gsub("^[Ss][Kk][Ii][Pp]%S*%s*", "") or ""
    end
  end
  return true
end

--- A subtest is announced by a comment before it, as deep as the document that holds it (version 14; there also of
--- tests that have no points of their own), or as deep as itself (Perl). Which it is shows by what is open already.
local function announce(self, spaces, name)
  local depth, announced = spaces // 4 + 1, self.announced
  if announced and announced.depth == (announced.own and depth - 1 or depth) then
    level_at(self, 4 * (announced.depth - 1))
  end
  local own = depth > #self.levels
  self.announced = { depth = own and depth or depth + 1, own = own, name = name }
end

local function read_comment(self, spaces, text)
  local name = text:match("^# Subtest:%s*(.-)%s*$")
  if name then
    announce(self, spaces, name)
    return true
  end
  local level = self.levels[#self.levels]
  if not level.last or level.last.buffered then return false end
  point.comment(level.last, text)
  return true
end

--- Returns false for what is no TAP.
local function read_line(self, line)
  local spaces, text = line:match("^( *)(.*)$")
  spaces = #spaces
  local no, rest = text:match("^(not )ok%f[%s\0](.*)$")
  if not no then rest = text:match("^ok%f[%s\0](.*)$") end
  if rest then return read_point(self, spaces, not no, rest) end
  local count, after = text:match("^1%.%.(%d+)%s*(.*)$")
  if count then return read_plan(self, spaces, count, after) end
  local first = text:sub(1, 1)
  if first == "#" then return read_comment(self, spaces, text) end
  if first == "-" and text:find("^%-%-%-%s*$") then
    local level = self.levels[#self.levels]
    if spaces ~= 4 * (#self.levels - 1) + 2 or not level.last or level.last.yaml then return false end
    self.yaml = { test = level.last, indent = (" "):rep(spaces) }
    return true
  end
  if first == "}" and text == "}" and spaces % 4 == 0 then
    local depth = spaces // 4 + 1
    local level = self.levels[depth]
    if not level or not level.last or not level.last.buffered then return false end
    level.last.closes, level.last.buffered = true, nil
    close_levels(self, depth, level.last.name)
    settle(self, level)
    return true
  end
  local version = text:match("^TAP version (%d+)%s*$")
  if version then
    self.version = self.version or tonumber(version)
    return true
  end
  local reason = text:lower():find("^bail out!") and text:match("^.........%s*(.-)%s*$")
  if reason then
    self.bailed = reason
    problem(self, "EBAIL", "bailed out" .. (reason ~= "" and ": " .. reason or ""))
    return true
  end
  return text:find("^pragma [+-]") ~= nil
end

local function process(self, line)
  local yaml = self.yaml
  if yaml then
    if line == yaml.indent .. "..." then
      self.yaml = nil
      return
    elseif line:sub(1, #yaml.indent) == yaml.indent or not line:find("%S") then
      return point.yaml_line(yaml.test, line:sub(#yaml.indent + 1))
    end
    self.yaml = nil -- its end is missing
  end
  if not line:find("%S") then return end
  if read_line(self, line) then return end
  for _, level in ipairs(self.levels) do settle(self, level) end
  if self.on_text then self.on_text(line) end
end

---@param bytes string
function Reader:feed(bytes)
  local from = 1
  while true do
    local at = bytes:find("\n", from, true)
    local piece = bytes:sub(from, at and at - 1)
    local room = LINE_LIMIT - #self.rest
    if room > 0 then self.rest = self.rest .. (#piece > room and piece:sub(1, room) or piece) end
    if not at then return end
    local line = self.rest:gsub("\r$", "")
    self.rest, from = "", at + 1
    process(self, line)
  end
end

--- A last line without its end: a name that is cut off would be another test's.
local function last_line(self)
  local line = self.rest:gsub("\r$", "")
  self.rest = ""
  if line == "" then return end
  local document = self.levels[1]
  local is_last = document.planned and document.seen == document.planned - 1
  if line:find("^%s*ok%f[%s\0]") or line:find("^%s*not ok%f[%s\0]") then
    if not is_last and not document.plan_over then
      return problem(self, "ETRUNCATED", ("the last line is cut off: %s"):format(line:sub(1, 200)))
    end
  end
  process(self, line)
end

--- No more bytes will come.
---@return runner.tap.Summary
function Reader:finish()
  last_line(self)
  self.yaml = nil
  local document = self.levels[1]
  if #self.levels > 1 then
    problem(self, "ETRUNCATED", ("it ends inside the subtest %s"):format(self.levels[2].suite.name or "without a name"))
  end
  close_levels(self, 1)
  if document.last then document.last.buffered = nil end
  settle(self, document)
  check_plan(self, document)
  if document.seen == 0 and not document.planned and not self.bailed then
    problem(self, "ENOTTAP", "it holds no TAP")
  end
  return self.summary
end

---@param source string the name of what is read
---@param on_case fun(test: runner.tap.Point)
---@param options runner.tap.Options?
---@return runner.junit.Parser
function M.parser(source, on_case, options)
  local self = setmetatable({
    source = source, on_case = on_case, on_text = options and options.on_text, clock = options and options.clock,
    levels = {}, rest = "",
    summary = { cases = 0, passed = 0, failed = 0, skipped = 0, complete = true, problems = {} },
  }, Reader)
  open_level(self)
  return {
    feed = function(bytes) self:feed(bytes) end,
    finish = function() return self:finish() end,
  }
end

return M
