--- Holds the rooms of the house true: every Lua module imports only rooms below its own, no two files import each other
--- in a circle, each room named in docs/architecture.md exists and the other way round, and no file lies flat.
--- Run by `./dev lint` with plain Lua from the top of the checkout; prints one line a finding, exit code 1 if any.

-- From the ground up. A room may import itself and what stands before it.
local ROOMS = {
  "base", "io", "plugin", "history", "agent", "results", "files", "select", "schedule", "worker", "sandbox",
  "config", "run", "cli",
}
-- Plug-ins stand outside of the house: what they import must be no higher than this room.
local PLUGINS = { frameworks = "worker", providers = "files" }
local FLAT = { ["lua/runner/main.lua"] = true, ["lua/runner/version.lua"] = true }
local MAP = "docs/architecture.md"

local floor = {}
for i, room in ipairs(ROOMS) do
  floor[room] = i
end

local findings = {}
local function finding(...)
  findings[#findings + 1] = string.format(...)
end

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  assert(pipe:close(), command)
  return lines
end

local files, exists = lines_of("find lua providers frameworks -name '*.lua' | LC_ALL=C sort"), {}
for _, path in ipairs(files) do
  exists[path] = true
end

---@return string? path of one of our modules
local function file_of(module)
  local stem = module:gsub("%.", "/")
  if module:find("^runner%.") then stem = "lua/" .. stem end
  for _, path in ipairs({ stem .. ".lua", stem .. "/init.lua" }) do
    if exists[path] then return path end
  end
end

local function room_of(path)
  return path:match("^lua/runner/([%w_]+)/")
end

---@return integer? the highest floor that a file may import
local function ceiling(path)
  local room = room_of(path)
  if room then return floor[room] end
  return floor[PLUGINS[path:match("^%w+")]]
end

local imports = {}
for _, path in ipairs(files) do
  imports[path] = {}
  local room, number = room_of(path), 0
  if path:find("^lua/") and not room and not FLAT[path] then
    finding("%s lies flat: move it into the room of its job", path)
  elseif room and room ~= "meta" and not floor[room] then
    finding("%s: the room %q is not in spec/lint/rooms.lua", path, room)
  end
  for line in io.lines(path) do
    number = number + 1
    -- Types are written in comments, which import nothing.
    local code = line:gsub("%-%-.*$", "")
    for module in code:gmatch("require%(?%s*[\"']([%w_.]+)[\"']") do
      local target = file_of(module)
      if target and target ~= path then
        imports[path][#imports[path] + 1] = target
        local to, top = room_of(target), ceiling(path)
        local upward = to and floor[to] and top and floor[to] > top
        if upward and not FLAT[path] then
          finding("%s:%d imports %s: %s is above %s", path, number, target, to, room or path:match("^%w+"))
        elseif room and not to and not FLAT[target] then
          finding("%s:%d imports %s: the house knows no plug-in by name", path, number, target)
        end
      end
    end
  end
end

-- Circles between files: depth first, each reported once.
local state = {}
local function visit(path, trail)
  if state[path] == "done" then return end
  trail[#trail + 1] = path
  if state[path] == "open" then
    finding("a circle: %s", table.concat(trail, " -> "))
  else
    state[path] = "open"
    for _, target in ipairs(imports[path]) do
      visit(target, trail)
    end
    state[path] = "done"
  end
  trail[#trail] = nil
end
for _, path in ipairs(files) do
  visit(path, {})
end

-- The map names each room in a row of its own: "| `base` | … |".
local drawn = {}
for line in io.lines(MAP) do
  local room = line:match("^| `([%w_]+)` |")
  if room then drawn[room] = true end
end
for _, room in ipairs(ROOMS) do
  if not drawn[room] then finding("%s does not name the room %s", MAP, room) end
end
for room in pairs(drawn) do
  if not floor[room] and room ~= "meta" then finding("%s names a room that is not there: %s", MAP, room) end
end

for _, text in ipairs(findings) do
  print(text)
end
os.exit(#findings == 0)
