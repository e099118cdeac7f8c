--- The reference pages against what they describe: no setting or option is missing or made up, its type and default are
--- right, links lead somewhere, and the plug-ins that the pages show run.

local uv = require("luv")
local async = require("spec.support.async")
local plugin = require("runner.plugin")
local process = require("runner.io.process")
local project = require("spec.support.project")
local schema = require("runner.config.schema")
local types = require("runner.plugin.types")

local function read(path) return assert(project.read(path), path) end

--- The cells of the rows of a section's tables.
local function rows(page, heading)
  local section = assert((read(page) .. "\n## "):match("\n## " .. heading .. "\n(.-)\n## "), heading)
  local list = {}
  for line in section:gmatch("[^\n]+") do
    local cells = {}
    for cell in (line:match("^|(.*)|$") or ""):gmatch("[^|]+") do cells[#cells + 1] = cell:match("^%s*(.-)%s*$") end
    if cells[1] and not line:find("^|[-|]+$") then list[#list + 1] = cells end
  end
  assert(#list > 5, heading)
  return table.move(list, 2, #list, 1, {}) -- without the head
end

local function keys_of(cell)
  local keys = {}
  for key in cell:gmatch("`([^`]+)`") do keys[#keys + 1] = key end
  assert(#keys > 0, cell)
  return keys
end

--- A type as the pages write it.
local function shown(spec) return (spec:gsub("%?$", ""):gsub("|", " or ")) end

describe("docs/configuration.md", function()
  local TABLES = { S = "settings", G = "group", O = "override" }

  --- "group.weight" → what the page says of it: { type, default }.
  local function documented()
    local found = {}
    for _, cells in ipairs(rows("docs/configuration.md", "Settings")) do
      for _, key in ipairs(keys_of(cells[2])) do
        local places = {}
        if key:find(".", 1, true) then places[1] = key end
        for letter in cells[3]:gmatch("%u") do places[#places + 1] = TABLES[letter] .. "." .. key end
        assert.is_true(#places > 0, key .. " stands nowhere")
        for _, place in ipairs(places) do
          assert.is_nil(found[place], place .. " is there twice")
          found[place] = { type = cells[4], default = cells[5] }
        end
      end
    end
    return found
  end

  it("names every setting with its type and default, and no other", function()
    local found = documented()
    for _, name in ipairs({ "settings", "group", "override", "report", "history", "download", "on" }) do
      for _, row in ipairs(schema[name]) do
        local place = name .. "." .. row.key
        local said = found[place]
        assert.is_truthy(said, place .. " is missing")
        assert.are.equal(shown(row.type), said.type, place)
        local text = said.default:match("^`(.*)`$")
        local default = text and assert(load("return " .. text))()
        -- A row may stand for several tables; the others take their default from the top.
        if name ~= "group" and name ~= "override" or row.default ~= nil then
          assert.are.same(row.default, default ~= nil and types.check(row.type, default) or default, place)
        end
        found[place] = nil
      end
    end
    assert.is_nil(next(found), tostring(next(found)) .. " is no setting")
  end)

  --- The plug-ins of a cell: "go, gtest", "all", "all but pytest, ctest".
  local function owners(cell, kind)
    local list, but = {}, cell:match("^all but (.*)$")
    local named = but or cell
    for name in named:gmatch("[%w_-]+") do list[name] = true end
    local all = {}
    for _, name in ipairs(plugin.builtin[kind]) do
      if cell == "all" or but and not list[name] then all[name] = true end
    end
    return (but or cell == "all") and all or list
  end

  for kind, heading in pairs({ framework = "Options of frameworks", provider = "Options of providers" }) do
    it(("names every option of every %s with its type, and no other"):format(kind), function()
      local found = {}
      for _, cells in ipairs(rows("docs/configuration.md", heading)) do
        for name in pairs(owners(cells[1], kind)) do
          for _, key in ipairs(keys_of(cells[2])) do
            local place = name .. "." .. key
            assert.is_nil(found[place], place .. " is there twice")
            found[place] = cells[3]
          end
        end
      end
      for _, name in ipairs(plugin.builtin[kind]) do
        for key, spec in pairs(plugin.load(kind, name, uv.cwd()).options) do
          local place = name .. "." .. key
          assert.are.equal(shown(spec) .. (spec:find("%?$") and "" or ", needed"), found[place], place)
          found[place] = nil
        end
      end
      assert.is_nil(next(found), tostring(next(found)) .. " is no option")
    end)
  end

  it("names every predicate", function()
    local expression = require("runner.select.expression")
    local ok, err = pcall(expression.parse, "xyzzy()")
    assert.is_false(ok)
    local names = err.message:match("there are ([%w_ ]+)")
    assert.is_truthy(names, err.message)
    local page = read("docs/configuration.md")
    for name in names:gmatch("%S+") do assert.is_truthy(page:find(("`%s("):format(name), 1, true), name) end
  end)
end)

describe("docs/events.md", function()
  it("names every event with its fields and their types, and no other", function()
    local events = require("runner.results.event_schema").EVENTS
    local found = {}
    for part in read("docs/events.md"):gsub("\n## ", "\0"):gmatch("%z([^%z]+)") do
      local name, section = part:match("^([%w_]+)(.*)$")
      found[name] = {}
      for field, kind in section:gmatch("\n| `([%w_]+)` | ([^|]+) |") do
        table.insert(found[name], field .. " " .. kind)
      end
    end
    for name, fields in pairs(events) do
      local expected = {}
      for i, row in ipairs(fields) do expected[i] = row.name .. " " .. row.type .. (row.always and " !" or "") end
      assert.are.same(expected, found[name], name)
      found[name] = nil
    end
    assert.are.same({}, found)
  end)
end)

describe("links of the pages", function()
  --- What a heading is called in a link.
  local function anchor(heading)
    return (heading:lower():gsub("[^%w _-]", ""):gsub(" ", "-"))
  end

  local function has_heading(path, wanted)
    for heading in ("\n" .. read(path)):gmatch("\n#+ ([^\n]+)") do
      if anchor(heading) == wanted then return true end
    end
    return false
  end

  local pages = { "README.md" }
  for _, name in ipairs(require("runner.base.files").names("docs")) do
    if name:find("%.md$") then pages[#pages + 1] = "docs/" .. name end
  end

  for _, page in ipairs(pages) do
    it("lead somewhere in " .. page, function()
      local folder = page:match("^(.*/)") or ""
      local broken = {}
      for target in read(page):gsub("```.-\n```", ""):gmatch("%]%(([^)%s]+)%)") do
        if not target:find("^%a+:") then
          local path, heading = target:match("^([^#]*)#?(.*)$")
          local file = path == "" and page or folder .. path
          local is_there = uv.fs_stat(file) ~= nil
          if not is_there or heading ~= "" and not has_heading(file, heading) then broken[#broken + 1] = target end
        end
      end
      assert.are.same({}, broken)
    end)
  end
end)

describe("plug-ins of the pages", function()
  after_each(project.remove_all)

  --- The Lua code of a page, by the file that its first line names.
  local function files_of(page)
    local files = {}
    for code in read(page):gmatch("\n```lua\n(.-)\n```") do
      local path = code:match("^%-%- (%S+%.lua)\n")
      if path then files[path] = code .. "\n" end
    end
    return files
  end

  local function runner(dir, ...)
    local result = process.run({ uv.exepath(), ... }, { cwd = dir })
    return result.code, result.stdout .. result.stderr
  end

  local function example(more)
    local files = files_of("docs/plugins.md")
    for path, text in pairs(more or {}) do files[path] = text end
    return project.new(files)
  end

  it("are three files", function()
    local files = files_of("docs/plugins.md")
    assert.is_truthy(files[".runner/providers/scratch.lua"])
    assert.is_truthy(files[".runner/frameworks/scripts.lua"])
    assert.is_truthy(files["runner.lua"])
  end)

  it("run: a process for each test, and for many", async(function()
    local scripts = {
      pass = "echo fine", fail = "echo because; exit 3", skip = "exit 77",
      scratch = 'case $PWD in /tmp/scratch-*) ;; *) echo "$PWD"; exit 1;; esac',
    }
    local files = { ["checks/crash.sh"] = "kill -9 $$\n", ["checks/slow.sh"] = "exit 0\n" }
    for name, text in pairs(scripts) do
      for _, folder in ipairs({ "checks/", "more/" }) do files[folder .. name .. ".sh"] = text .. "\n" end
    end
    local dir = example(files)
    local code, printed = runner(dir, "run", "-v", "--no-history")
    assert.are.equal(1, code, printed)
    assert.matches("finished: failed", printed)

    local statuses, attempts = {}, {}
    for line in read(dir .. "/test-results/events.ndjson"):gmatch("[^\n]+") do
      local event = require("cjson").decode(line)
      if event.event == "test_finished" then
        statuses[event.id], attempts[event.id] = event.status, event.attempts
      end
    end
    assert.are.same({
      ["checks/pass.sh"] = "passed", ["checks/fail.sh"] = "failed", ["checks/skip.sh"] = "skipped",
      ["checks/scratch.sh"] = "passed", ["checks/crash.sh"] = "crashed", ["checks/slow.sh"] = "passed",
      ["more/pass.sh"] = "passed", ["more/fail.sh"] = "failed", ["more/skip.sh"] = "skipped",
      ["more/scratch.sh"] = "passed",
    }, statuses)
    assert.are.equal(2, attempts["checks/fail.sh"]) -- `retries` says three, `retry` two
    assert.are.equal(2, attempts["more/fail.sh"])
    assert.are.equal(1, attempts["checks/crash.sh"])

    code, printed = runner(dir, "logs", "--failures")
    assert.are.equal(0, code, printed)
    assert.matches("because", printed)
  end))

  it("know the predicate", async(function()
    local dir = example({ ["checks/slow.sh"] = "", ["checks/fast.sh"] = "", ["more/slow.sh"] = "" })
    local result = process.run({ uv.exepath(), "collect", "-E", "owner(ops)" }, { cwd = dir })
    assert.are.equal("checks/slow.sh\n", result.stdout, result.stderr)
  end))

  it("keep the contract, and leave nothing", async(function()
    local dir = example()
    local parent = project.new()
    local code, printed = runner(dir, "provider", "test", "scratch", "-o", "parent=" .. parent, "-o", "nice=1")
    assert.are.equal(0, code, printed)
    assert.matches("%d%d hold, 0 fail, 0 absent", printed)
    assert.are.same({}, require("runner.base.files").names(parent))
  end))

  it("give a permanent error for a folder that is not there", async(function()
    local dir = example({ ["checks/a.sh"] = "", ["more/a.sh"] = "" })
    project.write(dir, { ["runner.lua"] = (read(dir .. "/runner.lua"):gsub('provider = "scratch"',
      'provider = require "providers.scratch" { parent = "/nowhere" }')) })
    local code, printed = runner(dir, "run", "--no-history")
    assert.are.equal(3, code, printed)
    assert.matches("/nowhere", printed)
    assert.not_matches("trying again", printed)
  end))

  it("of README.md keep the contract", async(function()
    local code = read("README.md"):match("```lua\n(local plugin[^`]-name = \"cleanroom\".-)\n```")
    assert.is_truthy(code)
    local dir = project.new({ [".runner/providers/cleanroom.lua"] = code .. "\n" })
    local status, printed = runner(dir, "provider", "test", "cleanroom")
    assert.are.equal(0, status, printed)
    assert.matches("%d%d hold, 0 fail, 0 absent", printed)
  end))
end)
