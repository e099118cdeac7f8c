--- How fast hosts are: what a host's tests take there, against the same tests elsewhere. 2 is a host that needs twice
--- the time of the reference. Pure.
---
--- The host that most runs were on is the reference and keeps its speed: of two hosts that have only each other, both
--- would else be corrected for the same difference.

local estimate = require("runner.history.estimate")

local M = {}

local LEAST_S = 0.005 -- of a test; shorter ones tell of everything but the host
local LEAST_TESTS = 5
local ENOUGH_TESTS = 400
local LAST = 5 -- runs whose median is the speed of a host
local SLOWEST = 20

local function name_of(place)
  return place[1] .. "\0" .. place[2]
end

--- Runs by the host that they were on.
---@return table<string, number[]> speeds oldest first
---@return string? reference
local function hosts_of(index)
  local hosts, reference = {}, nil
  for _, key in ipairs(index.run_keys) do
    for _, place in ipairs(index.runs[key].places) do
      local name = name_of(place)
      hosts[name] = hosts[name] or {}
      table.insert(hosts[name], place[3])
    end
  end
  for name, list in pairs(hosts) do
    local best = reference and hosts[reference]
    if not best or #list > #best or #list == #best and name < reference then reference = name end
  end
  return hosts, reference
end

local function latest(speeds)
  return speeds and estimate.median(table.move(speeds, math.max(1, #speeds - LAST + 1), #speeds, 1, {}))
end

--- The speed of a host; of an unknown one, that of its provider's others.
---@param index runner.history.Index
---@param provider string
---@param host string? "" or nil: where hosts have no name that lasts
---@return number
---@return boolean known
function M.of(index, provider, host)
  local hosts = hosts_of(index)
  local own = latest(hosts[provider .. "\0" .. (host or "")])
  if own then return own, true end
  local others = {}
  for name, speeds in pairs(hosts) do
    if name:sub(1, #provider + 1) == provider .. "\0" then others[#others + 1] = latest(speeds) end
  end
  return estimate.median(others) or 1, false
end

--- What a test takes elsewhere, on a host of speed 1.
local function reference_of(entry, name, hosts, speeds)
  local samples, values = entry.samples.passed or {}, {}
  for i = 1, #samples, 2 do
    local host = hosts[samples[i]]
    if host and host ~= name then values[#values + 1] = samples[i + 1] / (speeds[samples[i]] or 1) end
  end
  return estimate.median(values)
end

--- Enters the speeds of this run's places.
---@param index runner.history.Index
---@param places { [1]: string, [2]: string, [3]: number }[] changed
---@param tests any[][][] this run's: of each test { outcome, seconds, place } …
---@param entry_of fun(test: table): runner.history.Test? what the file has of one
function M.measure(index, places, tests, entry_of)
  local _, reference = hosts_of(index)
  local names, speeds = {}, {}
  for key, run in pairs(index.runs) do
    for i, place in ipairs(run.places) do
      local token = i == 1 and key or key .. "." .. i
      names[token], speeds[token] = name_of(place), place[3]
    end
  end
  local ratios, left = {}, 0
  for i, place in ipairs(places) do
    local is_measured = reference and name_of(place) ~= reference
    ratios[i] = is_measured and {} or nil
    left = left + (is_measured and ENOUGH_TESTS or 0)
  end
  for _, test in ipairs(left > 0 and tests or {}) do
    for _, sample in ipairs(test) do
      local outcome, seconds, place = sample[1], sample[2], sample[3]
      local list = outcome == "passed" and seconds >= LEAST_S and ratios[place]
      if list and #list < ENOUGH_TESTS then
        local entry = entry_of(test)
        local other = entry and reference_of(entry, name_of(places[place]), names, speeds)
        if other and other >= LEAST_S then list[#list + 1], left = seconds / other, left - 1 end
      end
    end
    if left == 0 then break end
  end
  for i, place in ipairs(places) do
    if ratios[i] and #ratios[i] >= LEAST_TESTS then
      local ratio = estimate.median(ratios[i])
      place[3] = tonumber(("%.3g"):format(math.max(1 / SLOWEST, math.min(SLOWEST, ratio))))
    else
      place[3] = M.of(index, place[1], place[2])
    end
  end
end

return M
