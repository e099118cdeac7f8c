--- `runner collect`: finds the tests and lists them, without running one.

local cjson = require("cjson.safe")
local options = require("runner.cli.options")
local text = require("runner.text")

local M = {
  name = "collect",
  summary = "List the tests without running them.",
  configure = options.collect,
}

local function print_text(tests)
  for _, test in ipairs(tests) do
    io.stdout:write(text.escape(test.id), "\n")
  end
end

--- A JSON array; lua-cjson would make an object of an empty table.
local function array(list)
  local items = {}
  for i, item in ipairs(list) do items[i] = assert(cjson.encode(item)) end
  return "[" .. table.concat(items, ",") .. "]"
end

local function print_json(tests, problems)
  local list = {}
  for i, test in ipairs(tests) do
    list[i] = {
      id = test.id, name = test.name, file = test.file, line = test.line, group = test.group,
      tags = test.tags and test.tags[1] and test.tags or nil, ignored = test.ignored,
    }
  end
  io.stdout:write(('{"tests":%s,"problems":%s}\n'):format(array(list), array(problems)))
end

---@param args table
---@return integer exit code
---@async
function M.run(args)
  local config = options.load(args)
  local history = require("runner.history").of(config, function(message)
    io.stderr:write("runner: ", message, "\n")
  end)
  local problems = {}
  -- No results folder and no log: only what could not be collected is kept.
  local bus = {
    emit = function(_, event)
      if event.event == "problem" then
        problems[#problems + 1] = { kind = event.kind, message = event.message, group = event.group, text = event.text }
        io.stderr:write("runner: ", event.message, event.text and "\n" .. event.text or "", "\n")
      elseif event.event == "log" and event.level ~= "info" then
        io.stderr:write("runner: ", event.message, "\n")
      end
    end,
  }
  local run = require("runner.run").new({
    id = require("runner.cli.run").run_id(), settings = config, past = options.past(config, history),
    history = history, bus = bus, collect_only = true,
  })
  local code = run:execute()
  local tests = run.selected or {}
  if args.format == "json" then print_json(tests, problems) else print_text(tests) end
  io.stdout:flush()
  if code == 0 and #tests == 0 then
    local mode = config.no_tests
    if mode ~= "pass" then io.stderr:write("runner: no tests were found\n") end
    return mode == "fail" and require("runner.verdict").EXIT.no_tests or 0
  end
  return code
end

return M
