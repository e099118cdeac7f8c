--- Go: the packages' test binaries, built once by one `go test` and then run directly, many tests in one process.
---
---     go { packages = { "./..." }, race = true }
---
--- packages      patterns, as for go test (default ./...)
--- tags, race, short, flags   build tags; -race; -short; any other flag of go test that does not choose tests
--- args          arguments for the test binaries, as after go test's -args
--- env           more environment, for go and for the tests
--- working_dir   where go test runs; default: the sandbox's folder
--- go            the program (default "go")
--- isolation     "batch": many tests of a package in one process, with a crash blamed on the test that ran and the rest
---               run anew; "test": a process for each test
--- list_timeout  limit for a test binary to list its tests (default 1 minute)
---
--- Ids are IMPORT/PATH.TestName: tests, examples with output, fuzz targets (their seeds); no benchmarks. Subtests are
--- found only by running them: they are part of their test, whose result lists them and names the first that failed.
--- Tests that call t.Parallel run at once in their process, as ever. Standard error goes where standard output goes:
--- only so it is certain which test wrote what. Packages are built in each sandbox.

local batch = require("runner.worker.batch")
local build = require("frameworks.go.build")
local keys = require("runner.base.sorted_keys")
local per_test = require("runner.worker.per_test")
local paths = require("runner.base.path")
local plugin = require("runner.plugin")
local reader = require("frameworks.go.reader")
local task = require("runner.base.task")

local SIGQUIT = 3 -- at which Go prints the stacks of all goroutines

--- Where a source file is in the project; nil outside.
local function source(ctx, dir, file)
  local root = ctx.sandbox.cwd
  if not root or (dir .. "/"):sub(1, #root + 1) ~= root .. "/" then return nil end
  return (dir .. "/" .. file):sub(#root + 2)
end

local function discover(packages, ctx)
  local tests = {}
  for _, path in ipairs(keys.sorted(packages)) do
    local one = packages[path]
    for _, name in ipairs(one.tests) do
      local where = one.functions[name]
      tests[#tests + 1] = {
        id = path .. "." .. name, name = name, package = path,
        file = where and source(ctx, one.dir, where.file), line = where and where.line,
      }
    end
  end
  return tests
end

--- A pattern for -test.run that matches these names only. Names of functions hold nothing that a pattern means.
local function pattern(items)
  local names = {}
  for i, item in ipairs(items) do names[i] = item.test.name end
  return ("-test.run=^(%s)$"):format(table.concat(names, "|"))
end

local function worker(options, packages, problems, ctx, slot, report)
  local together = options.isolation ~= "test"
  local function command(items)
    local one = packages[items[1].test.package]
    if not one then -- what builds in one sandbox need not in another
      local problem = problems[1]
      local why = problem and problem.message .. "\n" .. problem.text or "it is not among the packages"
      return { argv = { ctx.shell, "-c", 'printf "not built here: %s\\n" "$1"; exit 1', "sh", why } }
    end
    -- Without a limit of its own; Go then notices by itself when all goroutines are blocked.
    local argv = { one.binary, "-test.timeout=0", pattern(items), table.unpack(one.arguments) }
    local env = { PWD = one.dir }
    for _, more in ipairs({ options.env or {}, one.env }) do
      for name, value in pairs(more) do env[name] = value end
    end
    return { argv = argv, cwd = one.dir, env = env, merge = true }
  end
  local function read(items, sink)
    local path = items[1].test.package
    local framed = packages[path] and packages[path].framed
    return reader.new(items, sink, { package = path, framed = framed, together = together })
  end
  if not together then
    return per_test.worker(ctx, slot, report, {
      command = function(item) return command({ item }) end, reader = read, dump = SIGQUIT,
    })
  end
  return batch.worker(ctx, slot, reader.watching(report), {
    command = command, reader = read, streams = true, dump = SIGQUIT,
    fits = function(items, item) return items[1].test.package == item.test.package end,
  })
end

return plugin.framework({
  name = "go",
  api = 1,
  chooses = { "packages" },
  options = {
    packages = "string[]?",
    tags = "string[]?",
    race = "boolean?",
    short = "boolean?",
    flags = "string[]?",
    args = "string[]?",
    env = "env?",
    working_dir = "string?",
    go = "string?",
    isolation = '"batch"|"test"?',
    list_timeout = "duration?",
  },

  session = function(options, ctx)
    local root = ctx.sandbox.cwd
    local folder = options.working_dir and root and paths.absolute(options.working_dir, root) or options.working_dir
    local packages = task.once(function() return build.run(options, ctx, folder or root) end)
    return {
      discover = function()
        local found, problems = packages()
        return discover(found, ctx), problems
      end,
      worker = function(_, slot, report)
        local found, problems = packages()
        return worker(options, found, problems, ctx, slot, report)
      end,
      close = function() end,
    }
  end,
})
