--- `runner collect`: finds the tests and lists them, without running one.

local cjson = require("cjson.safe")
local options = require("runner.cli.options")
local styles = require("runner.results.console.style")
local text = require("runner.base.text")
local uv = require("luv")
local vocabulary = require("runner.results.vocabulary")

local M = {
  name = "collect",
  summary = "List the tests without running them.",
  configure = options.collect,
}

-- What a person wants to know of a test before it runs; pipes get names and nothing else.
local function note(test)
  if test.ignored then return "skipped: " .. text.first_line(tostring(test.ignored)) end
  return test.quarantine and vocabulary.quarantined(test.quarantine)
end

local function print_text(tests, color)
  local terminal = uv.guess_handle(1) == "tty"
  local style = styles.new { colour = styles.wants_colour(color, terminal, os.getenv), env = os.getenv }
  for _, test in ipairs(tests) do
    local about = terminal and note(test)
    io.stdout:write(text.escape(test.id), about and "  " .. style:paint("dim", "(" .. about .. ")") or "", "\n")
  end
end

--- A JSON array; lua-cjson would make an object of an empty table.
local function array(list, encode)
  local items = {}
  for i, item in ipairs(list) do items[i] = encode(item) end
  return "[" .. table.concat(items, ",") .. "]"
end

--- A value without the `\/` of lua-cjson, which escapes every slash.
local function plain(value)
  return (assert(cjson.encode(value)):gsub("\\/", "/"))
end

local TEST = { "id", "name", "group", "framework", "file", "line", "tags", "ignored", "quarantine" }
local PROBLEM = { "kind", "message", "group", "id", "file", "text" }

--- An encoder of objects whose keys stand in this order: two lists can be compared line by line.
local function object(keys)
  return function(item)
    local parts = {}
    for _, key in ipairs(keys) do
      if item[key] ~= nil then parts[#parts + 1] = plain(key) .. ":" .. plain(item[key]) end
    end
    return "{" .. table.concat(parts, ",") .. "}"
  end
end

local function print_json(tests, problems)
  io.stdout:write(('{"tests":%s,"problems":%s}\n'):format(array(tests, object(TEST)), array(problems, object(PROBLEM))))
end

--- The tests as they are listed.
local function described(run, config)
  local test_settings = require("runner.select.test_settings")
  local resolve = test_settings.resolver(config.overrides or {}, run.context or {}, config.forced)
  local list = {}
  for i, test in ipairs(run.selected or {}) do
    list[i] = {
      id = test.id, name = test.name, file = test.file, line = test.line, group = test.group,
      framework = test.framework, tags = test.tags and test.tags[1] and test.tags or nil,
      ignored = test.ignored or nil, quarantine = resolve(test, run.groups[test.group]).quarantine or nil,
    }
  end
  return list
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
        problems[#problems + 1] = {
          kind = event.kind, message = event.message, group = event.group, text = event.text, id = event.id,
          file = event.kind == "collection" and event.id or nil,
        }
        io.stderr:write("runner: ", event.id and text.escape(tostring(event.id)) .. ": " or "", event.message,
          event.text and "\n" .. event.text or "", "\n")
      elseif event.event == "log" and event.level ~= "info" then
        io.stderr:write("runner: ", event.message, "\n")
      end
    end,
  }
  local run = require("runner.run").new({
    settings = config, past = options.past(config, history),
    history = history, bus = bus, collect_only = true,
  })
  local code = run:execute()
  local tests = described(run, config)
  if args.format == "json" then print_json(tests, problems) else print_text(tests, args.color) end
  io.stdout:flush()
  if not run.nothing then return code end
  local mode = run.is_empty_shard and "warn" or config.no_tests
  if mode ~= "pass" and (code == 0 or run.found > 0) then io.stderr:write("runner: ", run.nothing, "\n") end
  return code == 0 and mode == "fail" and require("runner.results.verdict").EXIT.no_tests or code
end

return M
