--- The history as text: a header, then one JSON object a line, sorted, each with its key first. What queries ask for
--- stands right behind the key, so that a line is decoded only when more is wanted of it. Pure.
---
---     {"runner_history":1,"samples":10}
---     {"cost":["sandbox","docker"],"s":0.21,"samples":["tjk3x0ab12",0.21]}
---     {"run":["tjk3x0ab12"],"id":"20260730-120000-ab12cd","places":[["local","laptop",1]],"whole":["unit"]}
---     {"test":["unit","tests/test_a.py::test_x"],"s":0.12,"p95":0.12,"last":["tjk3x0ab12","passed"],
---      "file":15,"n":[1,0],"passed":["tjk3x0ab12",0.12]}
---
--- A run is known by the time at which it began and some noise, ten characters that sort by time. A sample is a run
--- (`.2` behind it: at the second of its places) and seconds. `file`: so many bytes of the id, or a path.

local cjson = require("cjson.safe")
local hash = require("runner.core.hash")
local text = require("runner.base.text")

local M = {}

M.VERSION = 1

--- No test takes longer; what claims to is damaged, or a clock has jumped.
M.LONGEST_S = 30 * 86400

--- Of one outcome of a test: unless told otherwise, and at most.
M.DEFAULT_SAMPLES = 10
M.MOST_SAMPLES = 100

--- Outcomes of attempts of which durations are kept, in the order of their lists in a line.
M.OUTCOMES = { "passed", "failed", "timed_out", "crashed", "skipped" }

local json = cjson.new()
json.decode_invalid_numbers(false)
json.encode_number_precision(14)

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }
local function escape(char)
  return escapes[char] or ("\\u%04x"):format(char:byte())
end

--- lua-cjson would write every slash as `\/`.
local function quote(value)
  if value:find('[%c"\\]') then value = value:gsub('[%c"\\]', escape) end
  return '"' .. value .. '"'
end

-- Runs --------------------------------------------------------------------------------------------------------------

local DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
local LATEST = math.tointeger(62 ^ 6)

local function digits(number, width)
  local out = {}
  for i = width, 1, -1 do
    local digit = number % 62 + 1
    out[i], number = DIGITS:sub(digit, digit), number // 62
  end
  return table.concat(out)
end

--- The key of a run.
---@param id string the run's
---@param seconds number unix time
---@return string
function M.run_key(id, seconds)
  local noise = (">I3"):unpack(hash.sha256(id))
  return digits(math.floor(math.max(0, math.min(seconds, LATEST - 1))), 6) .. digits(noise, 4)
end

local times, known = {}, 0
local SAMPLE = "^" .. ("%w"):rep(10) .. "%.?%d*$"

--- When a run began.
---@param token string of the run, or a sample's
---@return integer? unix time; nil: it is none
function M.time_of(token)
  local seconds = times[token]
  if seconds then return seconds end
  if type(token) ~= "string" or #token > 13 or #token == 11 or not token:find(SAMPLE) then return nil end
  seconds = 0
  for i = 1, 6 do seconds = seconds * 62 + DIGITS:find(token:sub(i, i), 1, true) - 1 end
  if known >= 10000 then times, known = {}, 0 end -- a damaged file may name any number of runs
  times[token], known = seconds, known + 1
  return seconds
end

--- The run of a sample, and the number of its place there.
---@param token string
---@return string key
---@return integer place
function M.split(token)
  if #token == 10 then return token, 1 end
  return token:sub(1, 10), math.tointeger(tonumber(token:sub(12))) or 1
end

local function is_key(value)
  return type(value) == "string" and #value == 10 and M.time_of(value) ~= nil
end

--- Seconds that a test can have taken?
---@param value any
---@return boolean
function M.is_duration(value)
  return type(value) == "number" and value >= 0 and value <= M.LONGEST_S
end

-- Writing -----------------------------------------------------------------------------------------------------------

--- Seconds as they are kept: to a tenth of a millisecond, long ones to a hundredth of a second.
---@param seconds number
---@return number
function M.round(seconds)
  local scale = seconds < 1 and 1e4 or 1e2
  return math.floor(seconds * scale + 0.5) / scale
end

local function number(value)
  return ("%.14g"):format(value)
end

--- The key of an entry, as it stands in the file. An id that is no UTF-8 is known by what events show of it.
---@param ... string
---@return string
function M.key(...)
  local parts = { ... }
  for i, part in ipairs(parts) do parts[i] = quote(text.repair(part)) end
  return "[" .. table.concat(parts, ",") .. "]"
end

--- The parts of a key.
---@param key string
---@return string[]
function M.parts(key)
  if not key:find("\\", 1, true) then
    local group, id = key:match('^%["([^"]*)","([^"]*)"%]$')
    if group then return { group, id } end
  end
  return json.decode(key) or {}
end

local function strings(list)
  local out = {}
  for i, item in ipairs(list) do out[i] = quote(item) end
  return "[" .. table.concat(out, ",") .. "]"
end

---@param samples integer how many are kept of each outcome
---@return string line
function M.header(samples)
  return ('{"runner_history":%d,"samples":%d}'):format(M.VERSION, samples)
end

---@class runner.history.Test
---@field s number estimate, in seconds of a host of speed 1
---@field p95 number seconds that 95 of 100 attempts do not exceed
---@field last string[] the run that saw it last, and how it ended when it last ran
---@field file string|integer its path; n: the first n bytes of the id; 0: none
---@field n integer[] attempts that passed, attempts that did not
---@field flaky string[] runs in which it passed after a failure
---@field samples table<string, any[]> by outcome: run, seconds, run, seconds, … oldest first

---@param key string
---@param test runner.history.Test
---@return string line
function M.test(key, test)
  local out = { ('{"test":%s,"s":%s,"p95":%s,"last":["%s","%s"],"file":%s,"n":[%d,%d]'):format(
    key, number(test.s), number(test.p95), test.last[1], test.last[2],
    type(test.file) == "string" and quote(text.repair(test.file)) or test.file, test.n[1], test.n[2]) }
  if #test.flaky > 0 then out[#out + 1] = ',"flaky":' .. strings(test.flaky) end
  for _, outcome in ipairs(M.OUTCOMES) do
    local samples = test.samples[outcome]
    if samples and #samples > 0 then out[#out + 1] = ',"' .. outcome .. '":' .. json.encode(samples) end
  end
  out[#out + 1] = "}"
  return table.concat(out)
end

---@class runner.history.Cost
---@field s number
---@field samples any[] run, seconds, …

---@param key string
---@param cost runner.history.Cost
---@return string line
function M.cost(key, cost)
  return ('{"cost":%s,"s":%s,"samples":%s}'):format(key, number(cost.s), json.encode(cost.samples))
end

---@class runner.history.Run
---@field id string
---@field places { [1]: string, [2]: string, [3]: number }[] provider, host ("": they have no name that lasts), speed
---@field whole string[] groups of which it saw every test

---@param key string of the run
---@param run runner.history.Run
---@return string line
function M.run(key, run)
  local places = {}
  for i, place in ipairs(run.places) do
    places[i] = ("[%s,%s,%s]"):format(quote(text.repair(place[1])), quote(text.repair(place[2])), number(place[3]))
  end
  return ('{"run":["%s"],"id":%s,"places":[%s],"whole":%s}'):format(
    key, quote(text.repair(run.id)), table.concat(places, ","), strings(run.whole))
end

-- Reading without decoding: of lines that are just as we write them -------------------------------------------------

local KINDS = { ['{"test":['] = "tests", ['{"cost":['] = "costs" }
local PLAIN_KEY = '^%["[^"\\]*","[^"\\]*"%]$'
local HEAD = '^"s":([^,]+),"p95":([^,]+),"last":%["(%w+)","[%a_]+"%],"file":()'
local LAST_OF_COST = '"([%w.]+)",[%d%.e+-]+%]}$'

--- What a line is, and its key unless it is a run's. nil: it has to be decoded to know.
---@param line string
---@return "tests"|"costs"|"runs"|nil kind
---@return string? key
function M.recognise(line)
  if line:sub(1, 7) == '{"run":' then return "runs" end
  local kind = KINDS[line:sub(1, 9)]
  -- Within a string, a quote behind a comma has a backslash before it: this is the end of the key.
  local stop = kind and line:byte(-1) == 125 and line:find('],"s":', 10, true)
  local key = stop and line:sub(9, stop)
  if key and (kind == "costs" or key:find(PLAIN_KEY)) then return kind, key end
end

--- What stands right behind the key of a test's line.
---@param line string
---@param key string
---@return number? s nil: the line is damaged
---@return number? p95
---@return string? seen the run that saw it last
---@return integer? at where its file stands
function M.head(line, key)
  local s, p95, seen, at = line:match(HEAD, #key + 10)
  s, p95 = tonumber(s), tonumber(p95)
  if M.is_duration(s) and M.is_duration(p95) then return s, p95, seen, at end
end

--- The sample that the line of a cost ends with.
---@param line string
---@return string? token of the run
function M.last_of_cost(line)
  return line:match(LAST_OF_COST)
end

-- Reading: whatever a line holds, what comes out is well-formed -----------------------------------------------------

--- The version that a first line tells, nil when it is no header of a history.
---@param line string
---@return integer? version
---@return integer? samples
function M.read_header(line)
  local header = #line < 1000 and json.decode(line)
  if type(header) ~= "table" then return nil end
  local version = math.tointeger(header.runner_history)
  local samples = math.tointeger(header.samples)
  return version, samples and samples > 0 and samples <= M.MOST_SAMPLES and samples or nil
end

--- The samples of a list; `sound`: all of it was well-formed.
local function read_samples(list)
  if type(list) ~= "table" then return {}, list == nil end
  local n, i = #list, 1
  while i < n and M.time_of(list[i]) and M.is_duration(list[i + 1]) do i = i + 2 end
  if i > n and n <= 2 * M.MOST_SAMPLES then return list, true end
  local samples = {}
  for at = math.max(1, n - n % 2 - 2 * M.MOST_SAMPLES + 1), n - 1, 2 do
    if M.time_of(list[at]) and M.is_duration(list[at + 1]) then
      samples[#samples + 1], samples[#samples + 2] = list[at], list[at + 1]
    end
  end
  return samples, false
end

local function keys_of(list)
  local keys = {}
  for _, key in ipairs(type(list) == "table" and list or {}) do
    if is_key(key) then keys[#keys + 1] = key end
  end
  return keys
end

local function count_of(value)
  value = type(value) == "number" and math.tointeger(value)
  return value and value >= 0 and value or 0
end

local function entry_of(line, kind)
  local entry = json.decode(line)
  local key = type(entry) == "table" and entry[kind]
  if type(key) ~= "table" or #key == 0 then return nil end
  for _, part in ipairs(key) do
    if type(part) ~= "string" then return nil end
  end
  return entry, M.key(table.unpack(key))
end

local STATUSES = { passed = true, failed = true, flaky = true, skipped = true, timed_out = true, crashed = true }

---@param line string
---@return runner.history.Test? nil when the line is damaged
---@return string? key
---@return boolean? sound nothing had to be left out
function M.read_test(line)
  local entry, key = entry_of(line, "test")
  if not entry or #entry.test ~= 2 then return nil end
  local last, n = entry.last, type(entry.n) == "table" and entry.n or {}
  if type(last) ~= "table" or not is_key(last[1]) or not STATUSES[last[2]] or not M.is_duration(entry.s)
    or not M.is_duration(entry.p95) then
    return nil
  end
  local file = entry.file
  if type(file) ~= "string" then file = math.min(count_of(file), #entry.test[2]) end
  local test = {
    s = entry.s, p95 = entry.p95, last = { last[1], last[2] }, file = file, n = { count_of(n[1]), count_of(n[2]) },
    flaky = keys_of(entry.flaky), samples = {},
  }
  local all_sound = true
  for _, outcome in ipairs(M.OUTCOMES) do
    local samples, sound = read_samples(entry[outcome])
    if #samples > 0 then test.samples[outcome] = samples end
    all_sound = all_sound and sound
  end
  return test, key, all_sound
end

---@param line string
---@return runner.history.Cost?
---@return string? key
---@return boolean? sound
function M.read_cost(line)
  local entry, key = entry_of(line, "cost")
  if not entry or not M.is_duration(entry.s) then return nil end
  local samples, sound = read_samples(entry.samples)
  if #samples == 0 then return nil end
  return { s = entry.s, samples = samples }, key, sound
end

---@param line string
---@return runner.history.Run?
---@return string? key of the run
function M.read_run(line)
  local entry = entry_of(line, "run")
  if not entry or not is_key(entry.run[1]) or type(entry.id) ~= "string" or type(entry.places) ~= "table" then
    return nil
  end
  local run = { id = entry.id, places = {}, whole = {} }
  for i, place in ipairs(entry.places) do
    local provider, host, speed
    if type(place) == "table" then provider, host, speed = place[1], place[2], place[3] end
    if type(provider) ~= "string" or type(host) ~= "string" then provider, host = "", "" end
    if type(speed) ~= "number" or not (speed > 0.01 and speed < 100) then speed = 1 end
    run.places[i] = { provider, host, speed }
  end
  for _, group in ipairs(type(entry.whole) == "table" and entry.whole or {}) do
    if type(group) == "string" then run.whole[#run.whole + 1] = group end
  end
  return run, entry.run[1]
end

return M
