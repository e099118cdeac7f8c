--- What earlier runs know of each test: how long it takes, how it ended, whether it is flaky; and what it costs until a
--- test can start. Kept in a text file of one line a test (history/format.lua), by default in the user's cache folder,
--- one file a configuration; with `history.path` set, wherever that is: it may live in git.
---
--- A history never ends a run: what cannot be read is told once and does without.

local estimate = require("runner.history.estimate")
local files = require("runner.base.files")
local format = require("runner.history.format")
local speed = require("runner.history.speed")
local store = require("runner.history.store")

local M = {}

local DEFAULT_DURATION_S = 1
local FORGET_S = 180 * 86400 -- histories in the cache folder that no run has written for so long

---@class runner.History
---@field path string
---@field is_shared boolean it is where the configuration says: others may have the same
---@field package index runner.history.Index
local History = {}
History.__index = History
History.__name = "runner.history"

---@class runner.HistoryOptions
---@field default_duration number? seconds, of a test of which nothing is known
---@field samples integer? kept of each outcome
---@field frameworks table<string, string>? of groups, by name
---@field is_shared boolean?

--- Opens a history. Nothing is raised, whatever is there; a file that does not exist is an empty history.
---@param path string absolute
---@param options runner.HistoryOptions?
---@return runner.History
---@return string[] warnings
function M.open(path, options)
  local index = store.read(path)
  local self = setmetatable({
    path = path, index = index, options = options or {}, decoded = {}, is_shared = (options or {}).is_shared or false,
  }, History)
  local warnings = {}
  if index.problem then
    local rest = index.is_foreign and "it is left as it is, and this run is not recorded"
      or "the others are used; a copy is kept when this run is recorded"
    warnings[1] = ("history %s: %s; %s"):format(path, index.problem, rest)
  end
  return self, warnings
end

--- Where the history of a configuration is.
---@param config runner.Config
---@return string? path nil: it has none, for it wants none or the user has no cache folder
---@return boolean is_shared
function M.path(config)
  if not config.history then return nil, false end
  if config.history.path then return config.history.path, true end
  local folder = files.cache_folder()
  if not folder then return nil, false end
  local hash, text = require("runner.core.hash"), require("runner.base.text")
  local name = (config.dir:match("[^/]*$"):gsub("[^%w._-]", "_"))
  return ("%s/history/%s-%s.jsonl"):format(folder, name, text.hex(hash.sha256(config.path)):sub(1, 16)), false
end

--- The history of a configuration, nil when it has none.
---@param config runner.Config
---@param warn fun(message: string)
---@return runner.History?
function M.of(config, warn)
  local path, is_shared = M.path(config)
  if not path then return nil end
  local frameworks = {}
  for _, group in ipairs(config.groups) do frameworks[group.name] = group.framework.name end
  local settings = config.history
  local history, warnings = M.open(path, {
    samples = settings.samples, default_duration = settings.default_duration, frameworks = frameworks,
    is_shared = is_shared,
  })
  for _, warning in ipairs(warnings) do warn(warning) end
  return history
end

-- One test ----------------------------------------------------------------------------------------------------------

local function find(self, test)
  local key = format.key(test.group, test.id)
  return self.index.tests[key], key
end

--- The whole entry of a test.
---@param test { id: string, group: string }
---@return runner.history.Test?
function History:entry(test)
  local line, key = find(self, test)
  if not line then return nil end
  local entry = self.decoded[key]
  if entry == nil then
    entry = format.read_test(line) or false
    self.decoded[key] = entry
  end
  return entry or nil
end

--- Seconds that it takes, nil when it never ran; as all durations here, on a host of speed 1.
---@param test { id: string, group: string }
---@return number?
function History:duration(test)
  local line, key = find(self, test)
  return line and format.head(line, key) or nil
end

--- Has it, in one and the same run, both failed and passed? (From run to run the code may have changed.)
---@param test { id: string, group: string }
---@return boolean
function History:is_flaky(test)
  local entry = self:entry(test)
  return entry ~= nil and #entry.flaky > 0
end

--- The part of its attempts that did not pass.
---@param test { id: string, group: string }
---@return number? rate 0 to 1; nil: it never ran
---@return integer attempts
function History:failure_rate(test)
  local entry = self:entry(test)
  local attempts = entry and entry.n[1] + entry.n[2] or 0
  return attempts > 0 and entry.n[2] / attempts or nil, attempts
end

--- Seconds that 95 of 100 attempts do not exceed; nil: it never ran.
---@param test { id: string, group: string }
---@return number?
function History:p95(test)
  local line, key = find(self, test)
  local _, p95 = format.head(line or "", key)
  return p95
end

-- Tests that are not known ------------------------------------------------------------------------------------------

local function put(lists, name, value)
  local list = lists[name]
  if not list then
    list = {}
    lists[name] = list
  end
  list[#list + 1] = value
end

--- Durations by file and by group, when they are first asked for.
local function neighbours(self)
  if self.by_file then return end
  self.by_file, self.by_group = {}, {}
  for key, line in pairs(self.index.tests) do
    local s, _, _, at = format.head(line, key)
    if s then
      local parts = format.parts(key)
      local group, id = parts[1], parts[2]
      local length = math.tointeger(tonumber(line:match("^%d+", at)))
      local path = length and id:sub(1, length) or (self:entry({ group = group, id = id }) or {}).file
      if path and path ~= "" and path ~= 0 then put(self.by_file, group .. "\0" .. path, s) end
      put(self.by_group, group, s)
    end
  end
end

local function median_of(self, lists, name)
  self.medians = self.medians or {}
  local list = lists[name]
  if not list then return nil end
  if not self.medians[list] then self.medians[list] = estimate.median(list) end
  return self.medians[list]
end

local function median_of_framework(self, name)
  local medians = {}
  for group, framework in pairs(self.options.frameworks or {}) do
    if framework == name then medians[#medians + 1] = median_of(self, self.by_group, group) end
  end
  return estimate.median(medians)
end

--- Seconds that its next attempt will take. Of a test that never ran: the median of its file, of its group, of the
--- groups of its framework; `history.default_duration`.
---@param test { id: string, group: string, file: string?, framework: string? }
---@return number seconds on a host of speed 1
---@return boolean known
function History:estimate(test)
  local own = self:duration(test)
  if own then return own, true end
  neighbours(self)
  return test.file and median_of(self, self.by_file, test.group .. "\0" .. test.file)
    or median_of(self, self.by_group, test.group)
    or median_of_framework(self, test.framework or (self.options.frameworks or {})[test.group])
    or self.options.default_duration or DEFAULT_DURATION_S, false
end

-- Hosts and costs ---------------------------------------------------------------------------------------------------

--- How slow a host is: 2 takes twice the time of the reference.
---@param provider string
---@param host string? as in `sandbox_ready`
---@return number
---@return boolean known
function History:speed(provider, host)
  return speed.of(self.index, provider, host)
end

--- Seconds until a test can start, as learned: ("sandbox", provider) until it is ready, ("batch", framework, group)
--- from a hand-out to its first test. nil: not known, or too little to tell.
---@param kind "sandbox"|"batch"
---@param ... string
---@return number?
function History:cost(kind, ...)
  local line = self.index.costs[format.key(kind, ...)]
  local cost = line and format.read_cost(line)
  if cost then return cost.s end
  if kind ~= "batch" then return nil end
  local framework, others = ..., {}
  for key, other in pairs(self.index.costs) do
    local parts = format.parts(key)
    if parts[1] == kind and parts[2] == framework then
      others[#others + 1] = (format.read_cost(other) or {}).s
    end
  end
  return estimate.median(others)
end

-- All of it ---------------------------------------------------------------------------------------------------------

--- Every test, in no order.
---@return fun(): { group: string, id: string }?
function History:tests()
  local key
  return function()
    key = next(self.index.tests, key)
    if not key then return nil end
    local parts = format.parts(key)
    return { group = parts[1], id = parts[2] }
  end
end

--- The runs that it remembers, oldest first.
---@return runner.history.Run[]
function History:runs()
  local runs = {}
  for i, key in ipairs(self.index.run_keys) do runs[i] = self.index.runs[key] end
  return runs
end

--- A report that records a run, nil where nothing is to be written.
---@param options { whole: boolean, warn: fun(message: string) } whole: the command line leaves no tests out
---@return runner.Report?
function History:recorder(options)
  if self.index.is_foreign then return nil end -- told already
  if not self.is_shared then files.expire(self.path:match("^(.*)/"), FORGET_S) end
  return require("runner.history.record").new(self.path, {
    samples = self.options.samples or format.DEFAULT_SAMPLES, whole = options.whole,
    -- Nobody has asked for a history in the cache folder: where there cannot be one, there is none.
    warn = self.is_shared and options.warn or function() end,
  })
end

return M
