--- `runner init`: write a runner.lua that runs as it is and explains every setting in comments. Never
--- overwrites a file.

local uv = require("luv")
local config = require("runner.config")
local errors = require("runner.errors")
local file = require("runner.file")
local path = require("runner.path")
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
    :description("What finds and runs the tests (default: what the project looks like, else pytest).")
  cmd:option("-c --config"):argname("FILE"):default(config.DEFAULT):show_default(false)
    :description("The file to write (default: runner.lua).")
end

--- Files by which a project's framework is known, in order of precedence.
local SIGNS = {
  { "Cargo.toml", "cargo" },
  { "go.mod", "go" },
  { ".rspec", "rspec" },
  { ".busted", "busted" },
  { "CMakeLists.txt", "ctest" },
}

--- JavaScript frameworks by what package.json names.
local PACKAGES = { "vitest", "jest", "mocha" }

--- What a project looks like.
---@param dir string
---@return string framework
function M.detect(dir)
  for _, sign in ipairs(SIGNS) do
    if uv.fs_stat(dir .. "/" .. sign[1]) then return sign[2] end
  end
  local manifest = file.read(dir .. "/package.json") or ""
  for _, name in ipairs(PACKAGES) do
    if manifest:find(('"%s"%%s*:'):format(name)) then return name end
  end
  return "pytest"
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
---@param framework string
---@return string
function M.template(provider, framework)
  local lines = {
    "-- How `runner run` tests this project. `runner validate` checks this file.",
    "-- A setting that is commented out shows an example; remove the -- to use it.",
    "",
    ("local %s = require %q"):format(framework, "frameworks." .. framework),
  }
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
      :format(framework),
    "  groups = {",
    (GROUPS[framework]:gsub("\n$", "")),
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
  local framework = args.framework or M.detect(path.dirname(path.absolute(args.config)))
  local text = M.template(args.provider, framework)
  local written, write_error = uv.fs_write(fd, text)
  uv.fs_close(fd)
  if written ~= #text then
    uv.fs_unlink(args.config)
    why = write_error or "the disk is full"
    errors.raise("usage", ("cannot write %s: %s"):format(args.config, why))
  end
  io.stdout:write(("Wrote %s. Next: runner run%s\n"):format(args.config,
    args.config == config.DEFAULT and "" or " " .. args.config))
  return 0
end

return M
