-- Writes what junit.lua collected: suites, counts and elements in the order that Surefire's schema
-- asks for.

local cjson = require("cjson.safe")
local outcome = require("runner.base.outcome")
local vocabulary = require("runner.results.vocabulary")
local xml = require("runner.results.junit.xml_text")

local json = cjson.new()

local M = {}

-- Which element the state of a test becomes, for the counts of the suites.
local function class_of(record)
  local status = record.status
  if status == "skipped" or record.quarantine then return "skipped" end
  if status == "not_run" or status == "cancelled" or status == "problem" then return "errors" end
  if outcome.FAILURE[status] then return "failures" end
  return "passed"
end

local function new_counts()
  return { tests = 0, failures = 0, errors = 0, skipped = 0, passed = 0, flakes = 0 }
end

local function count(counts, record)
  local class = class_of(record)
  counts.tests = counts.tests + 1
  counts[class] = counts[class] + 1
  if record.status == "flaky" then counts.flakes = counts.flakes + 1 end
end

local function count_attributes(counts)
  return ('tests="%d" failures="%d" errors="%d" skipped="%d"'):format(
    counts.tests, counts.failures, counts.errors, counts.skipped)
end

-- Suites in the order of their first test. GitLab keeps only the first of two tests of one name, so
-- a later one gets a number. Returns the suites { name, records…, counts, time, started } and the
-- counts of all.
local function suites_of(order)
  local suites, taken, all = {}, {}, new_counts()
  for _, record in ipairs(order) do
    local suite = suites[record.suite]
    if not suite then
      suite = { name = record.suite, counts = new_counts(), time = 0 }
      suites[record.suite] = suite
      suites[#suites + 1] = suite
    end
    suite[#suite + 1] = record
    suite.time = suite.time + record.duration
    if record.started and record.started < (suite.started or math.huge) then
      suite.started = record.started
    end
    count(suite.counts, record)
    count(all, record)
    local name, number = record.name, 1
    local names = taken[record.classname] or {}
    taken[record.classname] = names
    while names[record.name] do
      number = number + 1
      record.name = ("%s (%d)"):format(name, number)
    end
    names[record.name] = true
  end
  return suites, all
end

local function element(write, name, content)
  if content ~= "" then
    write("<", name, ">", xml.content(content), "</", name, ">\n")
  end
end

local function failure_head(write, name, detail)
  write("<", name, " message=", xml.attribute(detail.message or ""), " type=",
    xml.attribute(detail.type or "failure"))
end

-- A failure that was not the first, or that a pass followed.
local function rerun(write, name, detail)
  failure_head(write, name, detail)
  write(" time=", xml.seconds(detail.time), ">\n<stackTrace>", xml.content(detail.trace or ""),
    "</stackTrace>\n")
  element(write, "system-out", detail.out or "")
  element(write, "system-err", detail.err or "")
  write("</", name, ">\n")
end

local lost = { message = "the details could not be kept", trace = "" }

local function write_failures(write, record, details)
  local failures = record.failures or {}
  local first
  for i, handle in ipairs(failures) do
    local detail = handle and json.decode(details:get(handle) or "") or lost
    if record.status == "passed" or record.status == "flaky" then
      rerun(write, "flakyFailure", detail)
    elseif i == 1 then
      first = detail
      failure_head(write, "failure", detail)
      write(">", xml.content(detail.trace or ""), "</failure>\n")
    else
      rerun(write, "rerunFailure", detail)
    end
  end
  if first then
    element(write, "system-out", first.out or "")
    element(write, "system-err", first.err or "")
  elseif class_of(record) == "failures" then
    -- A failing state whose attempts left no trace of it still is a failure.
    write("<failure message=", xml.attribute(record.reason or record.status), " type=",
      xml.attribute(record.status), "/>\n")
  end
end

-- Nobody's consumer may turn red for it, so it is told as a skip, as an expected failure is; what was
-- wrong stands in the output.
local function write_quarantined(write, record, details)
  local message, out, err = vocabulary.quarantined(record.quarantine), {}, {}
  for i, handle in ipairs(record.failures or {}) do
    local detail = handle and json.decode(details:get(handle) or "") or lost
    if i == 1 and detail.message ~= "" then message = message .. ": " .. detail.message end
    out[#out + 1] = ("--- %s ---\n%s\n"):format(detail.type or "failure",
      detail.trace ~= "" and detail.trace or detail.message)
    if (detail.out or "") ~= "" then out[#out + 1] = "--- standard output ---\n" .. detail.out end
    if (detail.err or "") ~= "" then err[#err + 1] = detail.err end
  end
  write("<skipped message=", xml.attribute(message), ' type="quarantine"/>\n')
  element(write, "system-out", table.concat(out, "\n"))
  element(write, "system-err", table.concat(err, "\n"))
end

local function write_testcase(write, record, details)
  write("<testcase name=", xml.name(record.name), " classname=", xml.name(record.classname))
  if record.file then write(" file=", xml.name(record.file)) end
  if record.line then write((' line="%d"'):format(record.line)) end
  write(" time=", xml.seconds(record.duration))
  if record.started then write(" timestamp=", xml.timestamp(record.started)) end
  if record.status == "passed" and not record.failures then return write("/>\n") end
  write(">\n")
  if record.quarantine then
    write_quarantined(write, record, details)
  elseif record.status == "skipped" then
    write("<skipped message=", xml.attribute(record.reason or ""))
    write(record.kind and ' type="xfail"' or "", "/>\n")
  elseif record.status == "not_run" or record.status == "cancelled" then
    write("<error type=", xml.attribute(record.status == "not_run" and "not run" or record.status), " message=",
      xml.attribute(record.reason or "the test did not run"), "/>\n")
  elseif record.status == "problem" then
    write("<error type=", xml.attribute(record.kind), " message=", xml.attribute(record.reason),
      ">", xml.content(details:get(record.text) or ""), "</error>\n")
  else
    write_failures(write, record, details)
  end
  write("</testcase>\n")
end

--- Writes the report.
---@param report runner.Junit
---@param write fun(...: string)
function M.write(report, write)
  local suites, all = suites_of(report.order)
  write('<?xml version="1.0" encoding="UTF-8"?>\n')
  write("<testsuites name=", xml.name(report.title), " ", count_attributes(all), " time=",
    xml.seconds(report.duration), " timestamp=", xml.timestamp(report.started), ">\n")
  for _, suite in ipairs(suites) do
    write("<testsuite name=", xml.name(suite.name), " ", count_attributes(suite.counts))
    if suite.counts.flakes > 0 then write((' flakes="%d"'):format(suite.counts.flakes)) end
    write(" time=", xml.seconds(suite.time), " timestamp=",
      xml.timestamp(suite.started or report.started), ">\n")
    for _, record in ipairs(suite) do
      write_testcase(write, record, report.details)
    end
    write("</testsuite>\n")
  end
  write("</testsuites>\n")
end

return M
