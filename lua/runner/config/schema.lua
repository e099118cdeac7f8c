--- Every key of a configuration, once: its type, its default and what it is for. Checking, suggestions of the
--- nearest key and the comments that `runner init` writes all come from these tables; to add a key, add a
--- row. Keys whose value has a form of its own (type "any") are read in runner.config and runner.config.groups.

local M = {}

---@class runner.SchemaRow
---@field key string
---@field type string see runner.config.types; a key is always optional
---@field default any
---@field sample string value as Lua source, for the comments of `runner init`
---@field doc string

---@type runner.SchemaRow[]
M.settings = {
  { key = "provider", type = "any", default = "local", sample = '"local"',
    doc = "where tests run: a provider, its name, or a list of them" },
  { key = "framework", type = "any", sample = '"pytest"',
    doc = "what finds and runs the tests (short for groups with one group)" },
  { key = "groups", type = "any", sample = "{ unit = pytest { paths = { \"tests\" } } }",
    doc = "groups of tests, each with its framework and what it overrides" },
  { key = "max_parallel", type = "parallel", sample = "4",
    doc = "tests at once (default: the number of cores; -1: all cores but one)" },
  { key = "test_timeout", type = "timeout", default = 900, sample = '"15m"',
    doc = 'limit for one test, or "none"' },
  { key = "slow_timeout", type = "timeout", default = 60, sample = '"1m"',
    doc = 'a test that runs longer is reported as slow; "none": never' },
  { key = "global_timeout", type = "timeout", default = "none", sample = '"1h"',
    doc = "limit for the whole run" },
  { key = "grace", type = "duration", default = 10, sample = '"10s"',
    doc = "time between asking a process to end and killing it" },
  { key = "ping", type = "timeout", default = 10, sample = '"10s"',
    doc = 'how often a sandbox is asked for a sign of life; lost after two without; "none": never' },
  { key = "copies", type = "boolean", default = true, sample = "false",
    doc = "near the end, idle sandboxes elsewhere may run a copy of a test that hangs" },
  { key = "retries", type = "count", default = 0, sample = "2",
    doc = "how often a failed test is tried again; passed in the end = flaky" },
  { key = "retry_budget", type = "count", sample = "20",
    doc = "retries in all, of the whole run; then failed tests are not tried again (default: no limit)" },
  { key = "retry", type = "function", sample = "function(test, attempt) return true end",
    doc = "decides whether a failed attempt is worth another" },
  { key = "hold_failed", type = "duration", sample = '"10m"',
    doc = "keep a sandbox in which a test failed for so long, to look into it" },
  { key = "fail_fast", type = "boolean", default = false, sample = "true",
    doc = "stop after the first failed test" },
  { key = "max_fail", type = "positive", sample = "10",
    doc = "stop after that many failed tests" },
  { key = "seed", type = "integer", sample = "42",
    doc = "run the tests in a random order that this number determines" },
  { key = "order", type = "function", sample = "function(tests) return tests end",
    doc = "returns the tests in the order to run them" },
  { key = "no_tests", type = '"pass"|"warn"|"fail"', default = "fail", sample = '"fail"',
    doc = '"pass", "warn" or "fail" (exit 4) when there are no tests' },
  { key = "working_dir", type = "path", default = ".", sample = '"."',
    doc = "folder that tests run in, relative to this file" },
  { key = "copy_dirs", type = "string[]", default = {}, sample = '{ "fixtures:data" }',
    doc = '"LOCAL:REMOTE" folders copied into each sandbox\'s own working folder' },
  { key = "sync", type = "boolean|string[]", sample = '{ "generated" }',
    doc = "bring the project's files to sandboxes (default: where needed); a list: also ignored ones" },
  { key = "init_command", type = "string", sample = '"pip install -e ."',
    doc = "run once in each sandbox, in the tests' folder, before any test" },
  { key = "download", type = "any", sample = '{ "screenshots/**", on = "failure", max = "100M" }',
    doc = "files that tests leave behind, fetched into artifacts/ of the results" },
  { key = "overrides", type = "any", default = {}, sample = '{ { filter = "tag(slow)", test_timeout = "30m" } }',
    doc = "settings for the tests that a filter expression matches; the first that matches counts" },
  { key = "predicates", type = "any", default = {}, sample = "{ mine = function(test, text) return true end }",
    doc = "predicates of your own for filter expressions: mine(text)" },
  { key = "env", type = "env", default = {}, sample = '{ MODE = "${MODE:-test}" }',
    doc = "environment of the tests; ${VAR}, ${VAR:-default}, $$ for a dollar, false to unset" },
  { key = "history", type = "any", default = {}, sample = '{ path = "tests/history.jsonl" }',
    doc = "what runs remember of each test's time and outcomes; false: nothing" },
  { key = "report", type = "any", default = {},
    sample = '{ dir = "test-results", junit = "junit.xml" }', doc = "where results go" },
  { key = "on", type = "any", default = {}, sample = "{ result = function(test, attempt) end }",
    doc = "hooks: discovered(tests), result(test, attempt), finished(run)" },
}

--- What a group may override.
---@type runner.SchemaRow[]
M.group = {
  { key = "framework", type = "any", sample = '"pytest"', doc = "the same as the first value" },
  { key = "name", type = "string", sample = '"unit"', doc = "name, where groups are a list" },
  { key = "retries", type = "count", sample = "3", doc = "as above, for this group" },
  { key = "test_timeout", type = "timeout", sample = '"5m"', doc = "as above, for this group" },
  { key = "slow_timeout", type = "timeout", sample = '"10s"', doc = "as above, for this group" },
  { key = "schedule", type = '"batch"|"individual"', default = "batch", sample = '"individual"',
    doc = '"individual": every test is handed out alone' },
  { key = "only_on", type = "string[]", sample = '{ "docker" }',
    doc = "names of the providers that may run these tests (default: all)" },
  { key = "max_parallel", type = "positive", sample = "2",
    doc = "tests of this group at once, over all sandboxes" },
  { key = "exclusive", type = "any", sample = '"database"',
    doc = "a mutex or a list of them: tests that share one never run at once; true: nothing else runs" },
  { key = "weight", type = "positive", sample = "2", doc = "slots of its sandbox that a test takes" },
  { key = "priority", type = "number", sample = "1", doc = "higher first (default: 0)" },
  { key = "copies", type = "boolean", sample = "false", doc = "as above, for this group" },
  { key = "setup", type = "string", sample = '"./start-database"',
    doc = "run in a sandbox before the group's first test there; NAME=VALUE lines in $RUNNER_ENV are exported" },
  { key = "teardown", type = "string", sample = '"./stop-database"',
    doc = "run there after the last, also when setup failed" },
  { key = "filters", type = "string[]", sample = '{ "test_api" }',
    doc = "only tests whose name holds one of these texts" },
  { key = "env", type = "env", sample = '{ LEVEL = "2" }', doc = "added to the environment" },
}

--- What an override may set; `filter` says for which tests.
---@type runner.SchemaRow[]
M.override = {
  { key = "filter", type = "string", sample = '"test(/slow/)"', doc = "filter expression" },
  { key = "retries", type = "count", sample = "3", doc = "as above, as are the next two" },
  { key = "test_timeout", type = "timeout", sample = '"30m"', doc = "limit for one test" },
  { key = "slow_timeout", type = "timeout", sample = '"5m"', doc = "when it is reported as slow" },
  { key = "exclusive", type = "any", sample = '"database"', doc = "mutexes; true: nothing else runs" },
  { key = "weight", type = "positive", sample = "2", doc = "slots that it takes" },
  { key = "priority", type = "number", sample = "1", doc = "higher first" },
  { key = "only_on", type = "string[]", sample = '{ "docker" }', doc = "providers that may run it" },
  { key = "copies", type = "boolean", sample = "false", doc = "whether copies of it may run" },
  { key = "quarantine", type = "string|boolean", sample = '"see ticket 12"',
    doc = "why its failures do not count; it runs and is reported" },
}

---@type runner.SchemaRow[]
M.report = {
  { key = "dir", type = "path", default = "test-results", sample = '"test-results"',
    doc = "folder for results, relative to this file" },
  { key = "junit", type = "path|boolean", default = true, sample = '"junit.xml"',
    doc = "JUnit XML inside that folder; false: none" },
  { key = "trace", type = "path|boolean", default = false, sample = "true",
    doc = "timeline of the run inside that folder, for Perfetto; true: trace.json" },
}

---@type runner.SchemaRow[]
M.history = {
  { key = "path", type = "path", sample = '"tests/history.jsonl"',
    doc = "its file, relative to this one; may live in git (default: one in the user's cache folder)" },
  { key = "record", type = '"always"|"flag"', default = "always", sample = '"flag"',
    doc = '"flag": runs add to it only with --record-history' },
  { key = "samples", type = "positive", default = 10, sample = "20", doc = "kept of each outcome of a test" },
  { key = "default_duration", type = "duration", default = 1, sample = '"1s"',
    doc = "of a test of which nothing is known, nor of its like" },
}

---@type runner.SchemaRow[]
M.download = {
  { key = "on", type = '"always"|"failure"', default = "failure", sample = '"always"',
    doc = '"failure": only of attempts that did not pass' },
  { key = "max", type = "bytes", default = 100 << 20, sample = '"100M"',
    doc = "largest sum of sizes per attempt" },
}

---@type runner.SchemaRow[]
M.on = {
  { key = "discovered", type = "function", sample = "function(tests) end",
    doc = "tests were found" },
  { key = "result", type = "function", sample = "function(test, attempt) end",
    doc = "an attempt ended" },
  { key = "finished", type = "function", sample = "function(run) end", doc = "the run ended" },
}

--- The keys of some rows.
---@param rows runner.SchemaRow[]
---@return string[]
function M.keys(rows)
  local keys = {}
  for i, row in ipairs(rows) do
    keys[i] = row.key
  end
  return keys
end

return M
