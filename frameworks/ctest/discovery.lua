--- The tests of a CTest build folder, as `ctest --show-only=json-v1` tells them, and what their properties mean here.

local cjson = require("cjson.safe")
local cmake_regex = require("frameworks.ctest.cmake_regex")
local unique_ids = require("runner.worker.unique_ids")

local M = {}

---@class runner.ctest.Entry
---@field id string
---@field name string
---@field command string[]? nil: CTest has not found the program
---@field dir string
---@field env string[] "K=V"
---@field modifications string[] "K=operation:value"
---@field timeout number|false|nil seconds; false: none
---@field will_fail boolean
---@field pass, fail, skip { text: string, matches: fun(subject: string): boolean }[]
---@field skip_code integer?
---@field required_files string[]
---@field disabled boolean
---@field serial boolean
---@field locks string[]
---@field setup, required, cleanup string[] fixtures
---@field before string[] ids of tests that have to run first

--- The JSON, after whatever CTest has to complain about.
---@param text string
---@return table? root
---@return string complaints
function M.decode(text)
  local at = text:sub(1, 1) == "{" and 1 or (text:find("\n{", 1, true) or 0) + 1
  local root = cjson.decode(text:sub(at))
  if type(root) ~= "table" or type(root.tests) ~= "table" then return nil, text end
  return root, text:sub(1, at - 1)
end

local function strings(value)
  local list = {}
  for _, item in ipairs(type(value) == "table" and value or { value }) do list[#list + 1] = tostring(item) end
  return list
end

local function patterns(value)
  local list = {}
  for i, text in ipairs(strings(value)) do list[i] = { text = text, matches = cmake_regex.compile(text) } end
  return list
end

local function entry_of(test)
  local is = {}
  for _, property in ipairs(type(test.properties) == "table" and test.properties or {}) do
    is[property.name] = property.value
  end
  local timeout = tonumber(is.TIMEOUT)
  return {
    name = tostring(test.name), command = type(test.command) == "table" and strings(test.command) or nil,
    dir = is.WORKING_DIRECTORY, env = strings(is.ENVIRONMENT), modifications = strings(is.ENVIRONMENT_MODIFICATION),
    timeout = timeout and timeout > 0 and timeout or timeout and false, will_fail = is.WILL_FAIL == true,
    pass = patterns(is.PASS_REGULAR_EXPRESSION), fail = patterns(is.FAIL_REGULAR_EXPRESSION),
    skip = patterns(is.SKIP_REGULAR_EXPRESSION), skip_code = math.tointeger(is.SKIP_RETURN_CODE),
    required_files = strings(is.REQUIRED_FILES), disabled = is.DISABLED == true, serial = is.RUN_SERIAL == true,
    locks = strings(is.RESOURCE_LOCK), setup = strings(is.FIXTURES_SETUP), required = strings(is.FIXTURES_REQUIRED),
    cleanup = strings(is.FIXTURES_CLEANUP), depends = strings(is.DEPENDS), labels = strings(is.LABELS),
    cost = tonumber(is.COST), processors = math.tointeger(is.PROCESSORS) or 1,
    unsupported = is.TIMEOUT_AFTER_MATCH and "TIMEOUT_AFTER_MATCH" or nil,
  }
end

--- The entries in CTest's order, with ids and with what has to run before each.
---@param root table
---@return runner.ctest.Entry[]
function M.entries(root)
  local entries, id_of, by_name, setups = {}, unique_ids.ids(), {}, {}
  for i, test in ipairs(root.tests) do
    local entry = entry_of(test)
    entries[i] = entry
    entry.id = id_of(entry.name) -- folders may have tests of one name
    by_name[entry.name] = by_name[entry.name] or entry
    for _, fixture in ipairs(entry.setup) do
      setups[fixture] = setups[fixture] or {}
      table.insert(setups[fixture], entry)
    end
  end
  for _, entry in ipairs(entries) do
    entry.before, entry.needs = {}, {}
    local seen = { [entry] = true }
    local function add(other, is_setup)
      if not other or seen[other] or other.disabled then return end
      seen[other] = true
      table.insert(entry.before, other.id)
      if is_setup then entry.needs[other.id] = true end
    end
    for _, fixture in ipairs(entry.required) do
      for _, setup in ipairs(setups[fixture] or {}) do add(setup, true) end
    end
    -- CTest adds to those of a clean-up everything that uses its fixture: there it is not a matter of what runs first.
    for _, name in ipairs(#entry.cleanup == 0 and entry.depends or {}) do add(by_name[name]) end
  end
  return entries
end

--- Tests that would have to run before themselves, which CTest refuses to run, too.
---@param entries runner.ctest.Entry[]
---@return string[]? circle names, the first again at the end
function M.circle(entries)
  local by_id, done = {}, {}
  for _, entry in ipairs(entries) do by_id[entry.id] = entry end
  for _, first in ipairs(entries) do
    local path, next_of, place = { first }, { 1 }, { [first] = 1 }
    while path[1] do
      local top = #path
      local entry = path[top]
      local id = not done[entry] and entry.before[next_of[top]]
      local other = id and by_id[id]
      if not id then
        done[entry], place[entry] = true, nil
        path[top], next_of[top] = nil, nil
      elseif place[other] then
        local names = {}
        for i = place[other], top do names[#names + 1] = path[i].name end
        names[#names + 1] = other.name
        return names
      else
        next_of[top] = next_of[top] + 1
        if not done[other] then
          path[top + 1], next_of[top + 1], place[other] = other, 1, top + 1
        end
      end
    end
  end
end

--- What the core is told of a test.
---@param entry runner.ctest.Entry
---@return table test
function M.test(entry)
  return {
    id = entry.id, entry = entry.id, name = entry.name, tags = entry.labels[1] and entry.labels or nil,
    ignored = entry.disabled and "DISABLED" or nil, test_timeout = entry.timeout,
    exclusive = entry.serial or entry.locks[1] and entry.locks or nil,
    weight = entry.processors > 1 and entry.processors or nil, cost = entry.cost,
    -- Fixtures are made early and removed late, so that most tests find them as they are.
    priority = entry.setup[1] and 1 or entry.cleanup[1] and -1 or nil,
  }
end

return M
