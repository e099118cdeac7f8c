--- `runner init`: write a runner.lua that runs as it is and explains every setting in comments. Never
--- overwrites a file.

local uv = require("luv")
local config = require("runner.config")
local errors = require("runner.base.errors")
local init_detect = require("runner.cli.init_detect")
local path = require("runner.base.path")
local plugin = require("runner.plugin")
local schema = require("runner.config.schema")

local M = {
  name = "init",
  summary = "Write a commented runner.lua for this project.",
}

---@param cmd table argparse command
function M.configure(cmd)
  cmd:usage("Usage: runner init [OPTION...]")
  cmd:option("--provider"):choices(plugin.builtin.provider):default("local"):show_default(false)
    :description("Where tests run (default: local, on this machine).")
  cmd:option("--framework"):choices(plugin.builtin.framework)
    :description("What finds and runs the tests (default: all that the project shows signs of, else pytest).")
  cmd:option("-c --config"):argname("FILE"):default(config.DEFAULT):show_default(false)
    :description("The file to write (default: runner.lua).")
end

--- A first group for each framework: it runs as it is.
local GROUPS = {
  cargo = [[
    tests = cargo {
      --workspace = true,
      --package = { "core", "cli" },
      --features = { "extra" },
      --include_ignored = true,
      --via = "nextest", -- with the project's .config/nextest.toml
    },
    --docs = cargo { doc = true },
]],
  pytest = [[
    tests = pytest {
      --paths = { "tests" },
      --markers = "not slow",
      --keyword = "login",
      --python = "python3",
      --extra_args = { "--strict-markers" },
      --isolation = "worker", -- "test": each test in a process of its own
    },
]],
  busted = [[
    tests = busted {
      --paths = { "spec" },
      --lua = "lua5.1",
      --args = { "--exclude-tags", "slow" },
      --isolation = "batch", -- "test": each test in a process of its own
    },
]],
  go = [[
    tests = go {
      --packages = { "./..." },
      --race = true,
      --tags = { "integration" },
      --isolation = "batch", -- "test": each test in a process of its own
    },
]],
  gtest = [[
    tests = gtest {
      binaries = { "build/*_test" },
      --build_command = "cmake --build build",
      --isolation = "batch", -- "test": each test in a process of its own
    },
]],
  ctest = [[
    tests = ctest {
      build_dir = "build",
      --build_command = "cmake --build build",
      --config = "Debug", -- for generators with several
    },
]],
  vitest = [[
    tests = vitest {
      --paths = { "src" },
      --config = "vitest.config.ts",
      --args = { "--no-coverage" },
    },
]],
  jest = [[
    tests = jest {
      --paths = { "src" },
      --config = "jest.config.js",
    },
]],
  mocha = [[
    tests = mocha {
      --paths = { "test" },
      --config = ".mocharc.yml",
    },
]],
  rspec = [[
    tests = rspec {
      --paths = { "spec" },
      --command = { "bundle", "exec", "rspec" },
      --args = { "--tag", "~slow" },
      --isolation = "batch", -- "test": each example in a process of its own
    },
]],
  command = [[
    tests = command {
      -- prints the names of the tests, one a line
      discover_command = "printf 'one\\ntwo\\n'",
      -- runs one; {tests} is its name; exit status 0 means passed
      run_command = "echo running {tests}",
      -- many in one command, whose results are JUnit XML (or TAP: results.tap, "-" for stdout)
      --run_command = "mytool --junit {result_file} {tests}",
      --test_id_format = "{classname} {name}",
    },
]],
}

--- What each provider cannot do without, and a little more. Those that need nothing are named.
local PROVIDERS = {
  docker = [[
  provider = docker {
    image = "python:3.11", -- it must hold what the tests need
    --cpus = 2,
    --memory = "4G",
  },
]],
  ssh = [[
  provider = ssh {
    hosts = { "build-1.example.com" }, -- names of ~/.ssh/config, or addresses
    --user = "ci",
    --key_path = "~/.ssh/id_ed25519",
  },
]],
  command = [[
  provider = sandboxes {
    create_command = "./scripts/create.sh", -- prints the id of a sandbox
    exec_command = "./scripts/exec.sh {sandbox_id} {command}",
    destroy_command = "./scripts/destroy.sh {sandbox_id}",
  },
]],
  remote = [[
  provider = remote {
    execute_command = "./scripts/run-remotely.sh", -- gets each command as one argument
    --setup_command = "./scripts/sync-code.sh",
    --teardown_command = "./scripts/clean-up.sh",
  },
]],
}

--- The text of a configuration.
---@param provider string
---@param detected string|runner.Detected[] a framework, or what a project shows signs of
---@return string
function M.template(provider, detected)
  if type(detected) == "string" then detected = { { framework = detected } } end
  local lines = {
    "-- How `runner run` tests this project. `runner validate` checks this file.",
    "-- A setting that is commented out shows an example; remove the -- to use it.",
    "",
  }
  local groups = {}
  for i, one in ipairs(detected) do
    local name = one.framework
    lines[#lines + 1] = ("local %s = require %q"):format(name, "frameworks." .. name)
    groups[i] = (one.group or GROUPS[name]):gsub("\n$", "")
    if #detected > 1 then groups[i] = groups[i]:gsub("^    tests = ", ("    %s = "):format(name)) end
  end
  local place = PROVIDERS[provider]
  if place then
    lines[#lines + 1] = ("local %s = require %q"):format(place:match("= (%a+) {"), "providers." .. provider)
  end
  table.move({
    "",
    "return {",
    "  -- where tests run: a provider, its name, or a list of them",
    place and place:gsub("\n$", "") or ("  provider = %q,"):format(provider),
    "",
    "  -- groups of tests, each with its framework; to override a setting for one group:",
    ("  -- { %s { … }, retries = 3, test_timeout = \"1m\", schedule = \"individual\" }")
      :format(detected[1].framework),
    "  groups = {",
    table.concat(groups, "\n"),
    "  },",
  }, 1, 10, #lines + 1, lines)
  local shown = { provider = true, framework = true, groups = true }
  for _, row in ipairs(schema.settings) do
    if not shown[row.key] then
      lines[#lines + 1] = ""
      lines[#lines + 1] = "  -- " .. row.doc
      lines[#lines + 1] = ("  --%s = %s,"):format(row.key, row.sample)
    end
  end
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

--- What was chosen and why, for the line that says so.
local function choice(detected, asked)
  if asked then return " for " .. asked end
  local parts = {}
  for i, one in ipairs(detected) do parts[i] = ("%s (found %s)"):format(one.framework, one.why) end
  local last = table.remove(parts)
  if last then return " for " .. (parts[1] and table.concat(parts, ", ") .. " and " or "") .. last end
  return " for pytest: nothing here was recognised, so this is a guess (--framework names another)"
end

--- The file is the one that is found from here: it takes the place of one above.
local function warn_of_other(args, dir)
  local other = path.absolute(args.config) == dir .. "/" .. config.DEFAULT and config.find_above(dir)
  if not other then return end
  local shown = args.config:match("^(.*/)[^/]*$") or ""
  io.stderr:write(("runner: warning: %s%s is there already; in this folder and below, the new one takes its place\n")
    :format(shown, other))
end

---@param args table
---@return integer exit code
function M.run(args)
  -- "wx" fails when the file is there, even when somebody makes it between a look and the write.
  local fd, why, code = uv.fs_open(args.config, "wx", tonumber("644", 8))
  if not fd and code == "EEXIST" then
    errors.raise("usage", args.config .. " is there already; it is not overwritten",
      { hint = "remove it first, or write another: runner init -c other.lua" })
  elseif not fd then
    errors.raise("usage", ("cannot write %s: %s"):format(args.config, why))
  end
  local dir = path.dirname(path.absolute(args.config))
  local detected = args.framework and {} or init_detect.find(dir)
  local text = M.template(args.provider, detected[1] and detected or args.framework or "pytest")
  local written, write_error = uv.fs_write(fd, text)
  uv.fs_close(fd)
  if written ~= #text then
    uv.fs_unlink(args.config)
    why = write_error or "the disk is full"
    errors.raise("usage", ("cannot write %s: %s"):format(args.config, why))
  end
  io.stdout:write(("Wrote %s%s. Next: runner run%s\n"):format(args.config, choice(detected, args.framework),
    args.config == config.DEFAULT and "" or " " .. args.config))
  warn_of_other(args, dir)
  return 0
end

return M
