--- Which tests there are: asks each group's session and settles who owns a test.

local errors = require("runner.base.errors")
local task = require("runner.base.task")

local M = {}

--- What else than the choice of tests sets groups of one framework apart: the same names mean other tests then, those
--- of another build, say. As one text; values that are no data count by identity.
local function way_of(group)
  local framework = group.framework
  local only_choose = {}
  for _, name in ipairs(framework.plugin.chooses or {}) do only_choose[name] = true end
  local function text(value)
    if type(value) ~= "table" then return ("%s:%s"):format(type(value), tostring(value)) end
    local parts = {}
    for key, item in pairs(value) do parts[#parts + 1] = ("%q=%s"):format(tostring(key), text(item)) end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
  end
  local way = { setup = group.setup, teardown = group.teardown, env = group.env }
  for name, value in pairs(framework.options) do
    if not only_choose[name] then way["option " .. name] = value end
  end
  return framework.name .. "\0" .. text(way)
end

--- Finds the tests of all groups at once, in one sandbox.
---@param sandbox runner.Sandbox
---@param groups table[] in order
---@param warn fun(message: string)
---@return table[] tests with unique `id` and `group` set
---@return table[] problems what could not be collected
---@async
function M.collect(sandbox, groups, warn)
  local found = {}
  task.scope(function(scope)
    for i, group in ipairs(groups) do
      scope:spawn(function()
        local ok, session = pcall(sandbox.session, sandbox, group)
        if not ok and errors.is(session) and session.context.setup then
          local problem = { kind = "setup", message = tostring(session), text = session.context.text }
          found[i] = { tests = {}, problems = { problem } }
          return
        elseif not ok then
          error(session, 0)
        end
        local tests, problems = session:discover()
        found[i] = { tests = tests, problems = problems or {} }
      end)
    end
  end)
  task.checkpoint() -- cancelled: not all were asked

  local tests, problems, owner, taken = {}, {}, {}, {}
  for i, group in ipairs(groups) do
    local way = way_of(group)
    local earlier = {} -- names of the groups that have tests of this one already, and how many
    for _, test in ipairs(found[i].tests) do
      local key = way .. "\0" .. test.id
      if owner[key] then
        if not earlier[owner[key]] then earlier[#earlier + 1] = owner[key] end
        earlier[owner[key]] = (earlier[owner[key]] or 0) + 1
      else
        owner[key] = group.name
        -- Two frameworks may use one name for two tests.
        if taken[test.id] then test.id = group.name .. ":" .. test.id end
        while taken[test.id] do test.id = test.id .. "'" end -- a name may look like one of another group
        taken[test.id] = true
        test.group, test.framework = group.name, group.framework.name
        tests[#tests + 1] = test
      end
    end
    for _, name in ipairs(earlier) do
      local one = earlier[name] == 1
      warn(("%d test%s of group %s belong%s to group %s already and run%s there"):format(earlier[name],
        one and "" or "s", group.name, one and "s" or "", name, one and "s" or ""))
    end
    for _, problem in ipairs(found[i].problems) do
      problem.group = group.name
      problems[#problems + 1] = problem
    end
  end
  return tests, problems
end

return M
