--- From what a process says of files and their tests to the tests and problems of a session.

local errors = require("runner.base.errors")
local unique_ids = require("runner.worker.unique_ids")

local M = {}

---@class javascript.Listing
---@field files table[]
---@field problems table[]
---@field outside string[] what was read outside of the project
---@field setup boolean? something is to be set up once before tests run
---@field done boolean? all of it is here
---@field count integer? files that there are, when it is done
local Listing = {}
Listing.__index = Listing

---@return javascript.Listing
function M.new()
  return setmetatable({ files = {}, problems = {}, outside = {} }, Listing)
end

function Listing:add_read(path)
  if type(path) == "string" then self.outside[#self.outside + 1] = path end
end

--- Takes a message in, if it is about tests.
---@param message table
---@return boolean
function Listing:take(message)
  if message.files then
    table.move(message.files, 1, #message.files, #self.files + 1, self.files)
  elseif message.problem and not message.problem.late then
    self.problems[#self.problems + 1] = message.problem
  elseif message.listed then
    self.setup, self.done, self.count = message.listed.setup, true, message.listed.count
    for _, path in ipairs(message.listed.outside or {}) do self:add_read(path) end
  elseif message.read then
    self:add_read(message.read)
  elseif message.loading then
    self.loading = message.loading
  else
    return false
  end
  return true
end

--- Raises an error when some of it was lost on its way: nobody would miss those tests.
function Listing:check()
  if self.count == #self.files then return end
  errors.raise("internal", ("%s files with tests were listed, but %d were heard of"):format(self.count, #self.files))
end

local function shown(folder, file)
  return folder and folder ~= "." and folder:gsub("/+$", "") .. "/" .. file or file
end

--- Projects by file: a file of several gives each test as often.
local function count_projects(files)
  local count = {}
  for _, file in ipairs(files) do count[file.file] = (count[file.file] or 0) + 1 end
  return count
end

--- The tests, with ids that are unique: "file > describe > test".
---@param value table a listing, or one from the cache
---@param folder string? the working folder, below that of the sandbox
---@return table[] tests
---@return table[] problems
function M.tests(value, folder)
  local tests, id_of, projects = {}, unique_ids.ids(" #"), count_projects(value.files)
  for _, file in ipairs(value.files) do
    local path = shown(folder, file.file)
    local project = file.project ~= "" and file.project or nil
    local prefix = project and projects[file.file] > 1 and ("%s [%s]"):format(path, project) or path
    local unit = ("%s\0%s\0%s"):format(file.file, file.project or "", file.pool or "")
    for _, one in ipairs(file.tests) do
      local name = table.concat(one.titles, " > ")
      tests[#tests + 1] = {
        id = id_of(prefix .. " > " .. name), name = name, file = path, whole_file = true,
        tags = project and { project } or nil,
        key = one.key, unit = unit, source = file, siblings = #file.tests, needs_setup = value.setup or nil,
      }
    end
  end
  local problems = {}
  for _, problem in ipairs(value.problems or {}) do
    local file = problem.file and shown(folder, problem.file)
    problems[#problems + 1] = {
      kind = file and "collection" or "setup", id = file, text = problem.text,
      message = file and problem.message or "the global setup failed: " .. problem.message,
    }
  end
  return tests, problems
end

--- What runs tests of one file; see worker/main.cjs.
---@param items runner.Item[] of one unit
---@param token fun(item: runner.Item): integer
---@return table
function M.request(items, token)
  local first, rows = items[1].test, {}
  for i, item in ipairs(items) do
    rows[i] = { item.test.key, { token(item), item.id, item.attempt } }
  end
  return {
    file = first.source.file, project = first.source.project, pool = first.source.pool,
    whole = #items == first.siblings, tests = rows,
  }
end

return M
