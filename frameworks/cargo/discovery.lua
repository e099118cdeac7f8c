--- Which tests a binary holds: it is asked itself, by `--list`.
---
--- libtest says how many tests it has named, so that what else a program prints cannot pass for a test. A harness of
--- the project's own that can list is asked as cargo-nextest does (`--list --format terse`, `--ignored`). One that
--- cannot is one test, as it is for cargo: the binary, with its exit status. What they say is not kept between runs:
--- some make tests of files, and say so in libtest's words; asking takes a millisecond.

local call = require("runner.agent.call")
local exit_text = require("runner.io.exit_text")
local task = require("runner.base.task")

local M = {}

local TIMEOUT_S = 60
local LIMIT = 64 * 1024 * 1024 -- bytes of names
local SHOWN = 2000 -- bytes of garbage in a message

---@class cargo.Listing
---@field harness "libtest"|"own"|"none"
---@field names string[] in the binary's order; of harness "none": empty
---@field ignored table<string, true>

--- Reads a list. `count`: how many tests the last line says there are; only libtest has such a line.
---@param text string
---@return { names: string[], garbage: string?, count: integer? }
function M.parse(text)
  local names, garbage, count = {}, nil, nil
  for line in text:gmatch("[^\n]+") do
    line = line:gsub("\r$", "")
    local name = line:match("^(.+): test$") or line:match("^(.+): benchmark$")
    local tests, others = line:match("^(%d+) tests?, (%d+) benchmarks?$")
    if name then
      names[#names + 1] = name
    elseif tests then
      count = math.tointeger(tests) + math.tointeger(others)
    elseif line:find("%S") then
      garbage = garbage or line
    end
  end
  return { names = names, garbage = garbage, count = count }
end

local function run(ctx, binary, options, ...)
  local called = call.run(ctx, {
    argv = { binary.program, ... }, cwd = binary.cwd, env = binary.env, limit = LIMIT,
    timeout = options.list_timeout or TIMEOUT_S,
  })
  if called.exit.kind == "lost" then call.check(called, "--list") end -- raises
  return called
end

local function well(called)
  return called.exit.kind == "exited" and called.exit.code == 0 and not called.too_much
end

local function problem(binary, what, text)
  return {
    kind = "collection", id = binary.id, message = ("%s: %s"):format(binary.id, what),
    text = text:find("%S") and text or nil,
  }
end

local function wrong_end(binary, called, how)
  local what = called.too_much and ("%s printed more than %d MiB"):format(how, LIMIT >> 20)
    or called.exit.timed_out and how .. " did not end in time and was stopped"
    or ("%s failed: %s"):format(how, exit_text.describe(called.exit))
  return nil, problem(binary, what, called.stderr .. called.stdout:sub(-SHOWN))
end

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

local function wrong_line(binary, garbage)
  return nil, problem(binary, ("--list printed a line that names no test: %s"):format(garbage:sub(1, SHOWN)), "")
end

--- A harness that is not libtest.
local function ask_other(ctx, binary, options)
  local called = run(ctx, binary, options, "--list", "--format", "terse")
  local list = M.parse(called.stdout)
  if #list.names == 0 then
    if called.exit.timed_out or called.too_much then
      return wrong_end(binary, called, "it has a harness of its own, and --list --format terse")
    end
    return { harness = "none", names = {}, ignored = {} }
  end
  if not well(called) then return wrong_end(binary, called, "--list --format terse") end
  if list.garbage then return wrong_line(binary, list.garbage) end
  called = run(ctx, binary, options, "--list", "--format", "terse", "--ignored")
  if not well(called) then return wrong_end(binary, called, "--list --format terse --ignored") end
  local ignored = M.parse(called.stdout)
  if ignored.garbage then return wrong_line(binary, ignored.garbage) end
  return { harness = "own", names = list.names, ignored = set_of(ignored.names) }
end

local function ask_libtest(ctx, binary, options)
  local called = run(ctx, binary, options, "--list")
  local list = M.parse(called.stdout)
  if not list.count then
    -- One that cannot even start, or was killed, is broken whatever its harness.
    local started = called.exit.kind == "exited" and called.exit.code ~= 126 and called.exit.code ~= 127
    if not started or called.too_much then return wrong_end(binary, called, "--list") end
    return nil
  end
  if not well(called) then return wrong_end(binary, called, "--list") end
  if list.garbage then return wrong_line(binary, list.garbage) end
  if list.count ~= #list.names then
    return nil, problem(binary, ("--list named %d tests, but counted %d"):format(#list.names, list.count), "")
  end
  called = run(ctx, binary, options, "--list", "--ignored")
  if not well(called) then return wrong_end(binary, called, "--list --ignored") end
  return { harness = "libtest", names = list.names, ignored = set_of(M.parse(called.stdout).names) }
end

--- Asks one binary.
---@param ctx table of the framework
---@param binary cargo.Binary
---@param options table of the framework
---@return cargo.Listing? listing
---@return table? problem when there is none
---@async
function M.ask(ctx, binary, options)
  local listing, wrong = ask_libtest(ctx, binary, options)
  if listing or wrong then return listing, wrong end
  return ask_other(ctx, binary, options)
end

--- Asks all binaries, some at a time.
---@param ctx table of the framework
---@param binaries cargo.Binary[]
---@param options table of the framework
---@return cargo.Listing[] listings by the binary's place; nil where there is a problem
---@return table[] problems
---@async
function M.all(ctx, binaries, options)
  local listings, problems = {}, {}
  local some = task.semaphore(2 * math.max(1, ctx.agent.info.cpus or 1))
  task.scope(function(scope)
    for i, binary in ipairs(binaries) do
      scope:spawn(function()
        some:with(function()
          local problem_
          listings[i], problem_ = M.ask(ctx, binary, options)
          problems[#problems + 1] = problem_
        end)
      end)
    end
  end)
  table.sort(problems, function(a, b) return a.id < b.id end)
  return listings, problems
end

return M
