-- One <testcase> element, as `runner.core.xml` gives it, made into a case (see `runner.junit`). Pure.
--
-- An element is a table: its name at 0, attributes under their names, children (strings and elements) from 1.

local M = {}

local JOIN_LIMIT = 1024 * 1024 -- bytes

local status_words = {
  notrun = "skipped", disabled = "skipped", skipped = "skipped", ignored = "skipped",
  suppressed = "skipped", pending = "skipped", skip = "skipped", not_run = "skipped",
  failed = "failed", fail = "failed", failure = "failed", error = "error", errored = "error",
}

local outcome_kinds = {
  failure = "failure", error = "error",
  rerunFailure = "failure", rerunError = "error", flakyFailure = "failure", flakyError = "error",
}

--- The text of an element; where it has none of its own, that of its children. Nil when there is nothing to read.
---@param element table
---@return string?
function M.text(element)
  local first = element[1]
  if first == nil then return nil end
  if element[2] == nil and type(first) == "string" then -- as nearly always
    return first:find("%S") and first or nil
  end
  local own, nested = {}, {}
  for _, child in ipairs(element) do
    if type(child) == "string" then
      own[#own + 1] = child
    else
      nested[#nested + 1] = M.text(child)
    end
  end
  local text = table.concat(own)
  if not text:find("%S") then text = table.concat(nested, "\n") end
  return text:find("%S") and text or nil
end

--- Two texts, either of which may be missing, with a line end between them. What is long already gets no longer.
---@param a string?
---@param b string?
---@return string?
function M.join(a, b)
  if not a or not b then return a or b end
  if #a > JOIN_LIMIT then return a end
  return a .. (a:sub(-1) == "\n" and "" or "\n") .. b
end

local function present(text)
  return text and text:find("%S") and text or nil
end

-- "1,234.5" and "1,234" are thousands, as Java's tools write them; "0,25" and "1.234,5" are decimal commas. A comma
-- before exactly three digits separates thousands, unless what precedes it is a zero.
local function normalise_time(text)
  text = text:gsub("[%s'_]", ""):gsub("\u{A0}", ""):gsub("\u{202F}", ""):gsub("s$", "")
  local comma, dot = text:find(",[^,]*$"), text:find("%.[^.]*$")
  if comma and dot and comma > dot then
    return (text:gsub("%.", ""):gsub(",", "."))
  end
  local several = comma and text:find(",", 1, true) < comma
  if comma and (dot or several or text:find("^[1-9]%d?%d?,%d%d%d$")) then
    return (text:gsub(",", ""))
  end
  return (text:gsub(",", "."))
end

local function parse_time(text)
  local plain = text:find("^%d*%.?%d*$") and text or normalise_time(text)
  local number = plain:find("^%d*%.?%d*$") or plain:find("^%d*%.?%d*[eE][-+]?%d+$")
  local seconds = number and tonumber(plain)
  return seconds and seconds < 1e12 and seconds + 0.0 or false
end

-- Most tests of a large report take one of few durations ("0.000", "0.001").
local times, times_count = {}, 0

--- Seconds from a `time` attribute; nil when it is missing or no number.
---@param text string?
---@return number?
function M.time(text)
  if not text then return nil end
  local seconds = times[text]
  if seconds == nil then
    seconds = parse_time(text)
    if #text < 32 then
      if times_count >= 4096 then times, times_count = {}, 0 end
      times[text], times_count = seconds, times_count + 1
    end
  end
  return seconds or nil
end

--- The properties of a <properties> element, added to those there already are.
---@param element table
---@param properties table<string, string>?
---@return table<string, string>?
function M.properties(element, properties)
  for _, child in ipairs(element) do
    if type(child) == "table" and child[0] == "property" and child.name then
      properties = properties or {}
      properties[child.name] = M.join(properties[child.name], child.value or M.text(child) or "")
    end
  end
  return properties
end

--- What a <failure>, <error> or one of their rerun and flaky kin says.
---@param element table
---@param kind "failure"|"error"
---@return runner.junit.Outcome
function M.outcome(element, kind)
  local outcome = { kind = kind, type = present(element.type), time = M.time(element.time) }
  local own = {}
  for _, child in ipairs(element) do
    local tag = type(child) == "table" and child[0]
    if tag == "stackTrace" then
      outcome.trace = M.join(outcome.trace, M.text(child))
    elseif tag == "system-out" then
      outcome.stdout = M.join(outcome.stdout, M.text(child))
    elseif tag == "system-err" then
      outcome.stderr = M.join(outcome.stderr, M.text(child))
    else
      own[#own + 1] = child
    end
  end
  -- Surefire puts the trace into <stackTrace>, nextest into the element itself, some into both.
  local text = M.text(own)
  if text and text ~= outcome.trace then outcome.trace = M.join(outcome.trace, text) end
  local first_line = outcome.trace and outcome.trace:match("[^%s][^\r\n]*")
  outcome.message = present(element.message) or first_line
  return outcome
end

local function add_attachments(case, text)
  if not text or not text:find("[[ATTACHMENT|", 1, true) then return end
  case.attachments = case.attachments or {}
  for path in text:gmatch("%[%[ATTACHMENT|([^\r\n]-)%]%]") do
    case.attachments[#case.attachments + 1] = path
  end
end

local function add_failure(case, element)
  local outcome = M.outcome(element, outcome_kinds[element[0]])
  local first = case.status ~= "failed" and case.status ~= "error"
  if case.status ~= "error" then case.status = outcome.kind == "error" and "error" or "failed" end
  if first then case.message, case.type = outcome.message, outcome.type end
  case.trace = M.join(case.trace, outcome.trace)
  case.stdout = M.join(case.stdout, outcome.stdout)
  case.stderr = M.join(case.stderr, outcome.stderr)
end

local function add_child(case, child)
  local tag = child[0]
  if tag == "failure" or tag == "error" then
    add_failure(case, child)
  elseif tag == "skipped" then
    if case.status == "passed" or case.status == "skipped" then
      case.status = "skipped"
      case.message = present(child.message) or M.text(child) or case.message
      case.type = present(child.type) or case.type
    end
  elseif tag == "system-out" then
    case.stdout = M.join(case.stdout, M.text(child))
  elseif tag == "system-err" then
    case.stderr = M.join(case.stderr, M.text(child))
  elseif tag == "properties" then
    case.properties = M.properties(child, case.properties)
  elseif tag == "rerunFailure" or tag == "rerunError" then
    case.reruns = case.reruns or {}
    case.reruns[#case.reruns + 1] = M.outcome(child, outcome_kinds[tag])
  elseif tag == "flakyFailure" or tag == "flakyError" then
    case.flaky = case.flaky or {}
    case.flaky[#case.flaky + 1] = M.outcome(child, outcome_kinds[tag])
  end
end

--- Children decide the status. Where they are silent, a `result` or `status` attribute that says "not passed" in a
--- word somebody uses counts, so that no failure passes for success.
---@param element table
---@param suite runner.junit.Suite?
---@param source string
---@return runner.junit.Case
function M.new(element, suite, source)
  local time, line = element.time, element.line
  local case = {
    name = element.name or "",
    classname = element.classname,
    file = element.file or element.filepath or (suite and suite.file),
    line = line and math.tointeger(tonumber(line)),
    time = time and (times[time] or M.time(time)),
    status = "passed",
    suite = suite,
    source = source,
  }
  if element[1] ~= nil then
    for _, child in ipairs(element) do
      if type(child) == "table" then add_child(case, child) end
    end
    add_attachments(case, case.stdout)
    add_attachments(case, case.stderr)
  end
  local result, status = element.result, element.status
  if (result or status) and case.status == "passed" then
    case.status = status_words[(result or ""):lower()] or status_words[(status or ""):lower()]
      or "passed"
  end
  return case
end

return M
