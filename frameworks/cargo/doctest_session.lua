--- Doctests: those of a library in one call of `cargo test --doc`, which compiles them together where it can. rustdoc
--- gives each a process of its own.
---
--- rustdoc cuts the names that it is asked for at spaces, which all names of doctests hold. So a batch asks for the
--- last word, "12)" of "src/lib.rs - add (line 12)", and what else that happens to run is not looked at.

local batch = require("runner.worker.batch")
local build = require("frameworks.cargo.build")
local call = require("runner.agent.call")
local command = require("frameworks.cargo.command")
local errors = require("runner.base.errors")
local discovery = require("frameworks.cargo.discovery")
local stream = require("frameworks.cargo.reader")
local result = require("frameworks.cargo.result")

local M = {}

local LIST_TIMEOUT_S = 3600 -- libraries may have to be compiled first

local Session = {}
Session.__index = Session

local function arguments(options, package, more)
  local argv, selection = command.program(options), command.selection(options, "--profile", package)
  for _, part in ipairs({ { "test", "--doc", "--color=never" }, selection, more }) do
    table.move(part, 1, #part, #argv + 1, argv)
  end
  return argv
end

-- Which there are ---------------------------------------------------------------------------------------------------

--- cargo's messages, then a list for each library, ended by the line that counts.
local function split_lists(text)
  local lists, from = {}, 1
  while true do
    local _, last = text:find("\n%d+ tests?, %d+ benchmarks?\r?\n", from)
    if not last then return lists end
    lists[#lists + 1] = text:sub(from, last):gsub("{[^\n]*\n", "")
    from = last
  end
end

--- Packages of the libraries whose doctests were listed, in that order: stderr has the crates' names.
local function packages_in_order(called)
  local packages = {}
  for _, message in ipairs(build.messages(called.stdout)) do
    local is_library = message.reason == "compiler-artifact" and message.target.doctest
    if is_library and message.package_id:find("path+", 1, true) then
      local crate, package = message.target.name:gsub("-", "_"), build.package(message)
      if packages[crate] and packages[crate] ~= package then
        errors.raise("config", ("doctests of %s and %s cannot be told apart: both libraries are called %s; select one "
          .. "with package"):format(packages[crate], package, crate))
      end
      packages[crate] = package
    end
  end
  local order = {}
  for crate in ("\n" .. called.stderr):gmatch("\n *Doc%-tests ([^\n]+)") do
    order[#order + 1] = packages[crate] or crate
  end
  return order
end

--- The doctests by package: name lists, in the order of cargo. nil, problems: it does not compile.
local function ask(self, ...)
  local called = call.run(self.ctx, {
    argv = arguments(self.options, nil, { "--message-format=json", "--", "--list", ... }), cwd = self.cwd,
    env = self.options.env, timeout = self.options.build_timeout or LIST_TIMEOUT_S,
  })
  if called.exit.kind ~= "exited" or called.exit.code ~= 0 or called.too_much then
    return nil, build.failure(self.options, called, build.messages(called.stdout), self.ctx)
  end
  local lists, packages = split_lists("\n" .. called.stdout), packages_in_order(called)
  if #lists ~= #packages then
    errors.raise("config", ("cargo test --doc -- --list: %d libraries, but %d lists of doctests\n%s")
      :format(#packages, #lists, called.stderr))
  end
  local found = {}
  for i, text in ipairs(lists) do
    found[i] = { package = packages[i], names = discovery.parse(text).names }
  end
  return found
end

---@async
function Session:discover()
  local found, problems = ask(self)
  if not found then return {}, problems end
  local tests, by_id = {}, {}
  for _, library in ipairs(found) do
    for _, name in ipairs(library.names) do
      local test = {
        id = ("%s::doc$%s"):format(library.package, name), name = name, file = name:match("^(.-) %- "),
        line = math.tointeger(name:match("%(line (%d+)%)")), tags = { "doc" }, package = library.package,
      }
      tests[#tests + 1] = test
      by_id[test.id] = test
    end
  end
  if #tests == 0 or self.options.include_ignored then return tests, {} end
  for _, library in ipairs(ask(self, "--ignored") or {}) do
    for _, name in ipairs(library.names) do
      local test = by_id[("%s::doc$%s"):format(library.package, name)]
      if test then test.ignored = "ignore" end
    end
  end
  return tests, {}
end

-- Running them ------------------------------------------------------------------------------------------------------

local SIGNAL = "^Test executable failed %(signal: (%d+)"

--- The result of a doctest that failed, from what rustdoc says of it.
local function judge(item, _, section)
  section = section or ""
  local why = result.failure(item.test.name, nil, section)
  local signal = math.tointeger(section:match(SIGNAL))
  return {
    status = signal and "crashed" or "failed", signal = signal,
    message = why.message or section:match("error[^\n]*") or section:match("[^\n]+"), type = why.type,
    trace = section:find("%S") and section or nil,
  }
end

--- The last words of the names; none when one has no line number: then all run.
local function filters(items)
  local last_words, seen = {}, {}
  for _, item in ipairs(items) do
    local word = item.test.name:match("%d+%)$")
    if not word then return {} end
    if not seen[word] then last_words[#last_words + 1] = word end
    seen[word] = true
  end
  return last_words
end

---@async
function Session:worker(slot, report)
  return batch.worker(self.ctx, slot, report, {
    streams = true,
    fits = function(items, item) return items[1].test.package == item.test.package end,
    command = function(items)
      local more = { "--", "--test-threads=1" }
      if self.options.include_ignored then more[#more + 1] = "--include-ignored" end
      local asked = filters(items)
      table.move(asked, 1, #asked, #more + 1, more)
      return { argv = arguments(self.options, items[1].test.package, more), cwd = self.cwd, env = self.options.env }
    end,
    reader = function(items, sink)
      local reader = stream.reader(items, sink, { judge = judge, at_end = true })
      local output = reader.output
      -- cargo's own words are no test's; those of a build that fails are in the end of the output, which is kept.
      function reader.output(name, bytes)
        if name == "stdout" then output(name, bytes) end
      end
      return reader
    end,
  })
end

function Session:close() end

---@param options table of the framework
---@param ctx table
---@return table session
function M.open(options, ctx)
  return setmetatable({ options = options, ctx = ctx, cwd = command.folder(ctx.sandbox.cwd, options) }, Session)
end

return M
