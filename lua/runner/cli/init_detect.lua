--- What a project tests with, by what is really there: `runner init` writes a group for each.

local cjson = require("cjson.safe")
local file = require("runner.base.files")
local uv = require("luv")

local M = {}

---@class runner.Detected
---@field framework string
---@field why string the sign: "package.json's test script"
---@field group string? Lua source of its group, instead of the usual one

-- Folders of other people's code, and of what tools make.
local FOREIGN = { node_modules = true, vendor = true, target = true, build = true, dist = true, venv = true }
local MOST_FILES = 5000 -- looked at in one folder: a first configuration is not worth more

local function is_file(dir, name)
  local stat = uv.fs_stat(dir .. "/" .. name)
  return stat ~= nil and stat.type == "file"
end

--- The first of these files that is there.
local function first_file(dir, ...)
  for _, name in ipairs({ ... }) do
    if is_file(dir, name) then return name end
  end
end

--- The first file in a folder, or below, whose name matches one of the patterns.
local function search(dir, folder, patterns)
  local waiting, looked_at = { folder }, 0
  while waiting[1] and looked_at < MOST_FILES do
    local at = table.remove(waiting, 1)
    for _, name in ipairs(file.names(dir .. "/" .. at)) do
      looked_at = looked_at + 1
      local path = at .. "/" .. name
      local stat = uv.fs_lstat(dir .. "/" .. path) -- a link may lead in a circle
      if stat and stat.type == "directory" and not FOREIGN[name] and name:sub(1, 1) ~= "." then
        waiting[#waiting + 1] = path
      elseif stat and stat.type ~= "directory" then
        for _, pattern in ipairs(patterns) do
          if name:find(pattern) then return path end
        end
      end
    end
  end
end

--- The file's name when its text, without what `comment` starts in a line, matches one of the patterns.
local function mentions(dir, name, comment, ...)
  local text = is_file(dir, name) and file.read(dir .. "/" .. name)
  if not text then return nil end
  text = "\n" .. text:gsub(comment .. "[^\n]*", "")
  for _, pattern in ipairs({ ... }) do
    if text:find(pattern) then return name end
  end
end

-- JavaScript --------------------------------------------------------------------------------------------------------

local JAVASCRIPT = { "vitest", "jest", "mocha" }

local CONFIG_FILES = {
  vitest = { "^vitest%.config%.[cm]?[jt]s$", "^vitest%.workspace%.%w+$" },
  jest = { "^jest%.config%.%w+$" },
  mocha = { "^%.mocharc$", "^%.mocharc%.%w+$" },
}

local function config_file(names, framework)
  for _, name in ipairs(names) do
    for _, pattern in ipairs(CONFIG_FILES[framework]) do
      if name:find(pattern) then return name end
    end
  end
end

--- The script that runs this framework: "test" itself, or one whose name starts so.
local function script_of(manifest, framework)
  local found
  for name, command in pairs(type(manifest.scripts) == "table" and manifest.scripts or {}) do
    if name:find("^test") and type(command) == "string" and command:find("%f[%w_-]" .. framework .. "%f[^%w_-]")
      and (not found or name < found) then
      found = name
    end
  end
  return found and ("package.json's script %q"):format(found)
end

local function dependency(manifest, framework)
  for _, key in ipairs({ "devDependencies", "dependencies" }) do
    if type(manifest[key]) == "table" and manifest[key][framework] then return "package.json's " .. key end
  end
end

--- A dependency alone says less: a project that moves from one to another has both.
local function javascript(dir, add)
  local names = file.names(dir)
  local manifest = cjson.decode(is_file(dir, "package.json") and file.read(dir .. "/package.json") or "")
  manifest = type(manifest) == "table" and manifest or {}
  local sure = false
  for _, framework in ipairs(JAVASCRIPT) do
    local why = script_of(manifest, framework) or config_file(names, framework)
      or (manifest[framework] and framework ~= "vitest" and ("package.json's key %q"):format(framework))
    if why then add(framework, why) end
    sure = sure or why
  end
  for _, framework in ipairs(sure and {} or JAVASCRIPT) do
    local why = dependency(manifest, framework)
    if why then add(framework, why) end
  end
end

-- The others --------------------------------------------------------------------------------------------------------

local function python(dir)
  local tests = { "^test_.*%.py$", "_test%.py$" }
  local why = first_file(dir, "pytest.ini", ".pytest.ini", "pyproject.toml")
    or mentions(dir, "setup.cfg", "[#;]", "pytest") or mentions(dir, "tox.ini", "[#;]", "pytest")
    or first_file(dir, "conftest.py") or search(dir, "tests", { "^conftest%.py$", table.unpack(tests) })
    or search(dir, "test", { "^conftest%.py$", table.unpack(tests) })
  for _, name in ipairs(why and {} or file.names(dir)) do
    if name:find(tests[1]) or name:find(tests[2]) then return name end
  end
  return why
end

local BUNDLED = [[
    tests = rspec {
      command = { "bundle", "exec", "rspec" },
      --paths = { "spec" },
      --args = { "--tag", "~slow" },
    },
]]

local function ruby(dir)
  local gems = mentions(dir, "Gemfile", "#", "\n%s*gem[%s(]+[\"']rspec[%w-]*[\"']")
  return gems or first_file(dir, ".rspec") or search(dir, "spec", { "_spec%.rb$" }), gems and BUNDLED
end

local function makefile(dir)
  for _, name in ipairs({ "GNUmakefile", "makefile", "Makefile" }) do
    for _, target in ipairs({ "test", "tests", "check" }) do
      local pattern = "\n" .. target .. "%s*::?%f[^:=]"
      if mentions(dir, name, "#", pattern) then return name, target end
    end
  end
end

local MAKE = [[
    tests = command {
      tests = { %q }, -- one name for all of them; discover_command = "…" prints one a line
      run_command = "make {tests}",
    },
]]

--- What a project tests with.
---@param dir string
---@return runner.Detected[] found in a fixed order; none when nothing was recognised
function M.find(dir)
  local found = {}
  local function add(framework, why, group)
    if why then found[#found + 1] = { framework = framework, why = why, group = group or nil } end
  end
  add("cargo", first_file(dir, "Cargo.toml"))
  add("go", first_file(dir, "go.mod", "go.work"))
  add("ctest", mentions(dir, "CMakeLists.txt", "#", "\n%s*[eE][nN][aA][bB][lL][eE]_[tT][eE][sS][tT][iI][nN][gG]%s*%(",
    "\n%s*[iI][nN][cC][lL][uU][dD][eE]%s*%(%s*CTest%s*%)"))
  add("pytest", python(dir))
  javascript(dir, add)
  add("rspec", ruby(dir))
  add("busted", first_file(dir, ".busted") or search(dir, "spec", { "_spec%.lua$" }))
  -- A Makefile's tests are, as a rule, those of a framework above.
  local make, target = nil, nil
  if not found[1] then make, target = makefile(dir) end
  add("command", make and ("%s's target %s"):format(make, target), make and MAKE:format(target))
  return found
end

return M
