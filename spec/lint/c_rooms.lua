--- Checks the rooms of src: `lua5.4 spec/lint/c_rooms.lua [SRC [OBJECTS]]`. A file may include, and call, what is in
--- its own room and in the rooms that MAY names; no two files need each other. OBJECTS, a folder of compiled objects,
--- shows calls that no include does. Prints each end of what is wrong, and ends with 1 then.

local SRC = arg[1] or "src"
local OBJECTS = arg[2]

-- What a room may use, from the ground up. A room that is not named here is wrong, too.
local MAY = {
  ["common"] = {},
  ["xml"] = {},
  ["bindings"] = { "common", "xml" },
  ["host"] = { "bindings" },
  ["agent/base"] = {},
  ["agent/wire"] = { "agent/base", "common" },
  ["agent/process"] = { "agent/base", "agent/wire" },
  ["agent/store"] = { "agent/base", "agent/wire", "common" },
  ["agent"] = { "agent/base", "agent/wire", "agent/process", "agent/store", "common" },
  ["."] = { "host", "agent" },
  ["fuzz"] = { "common", "xml", "bindings", "agent/wire", "agent/store" },
}

local problems = {}

local function problem(...)
  problems[#problems + 1] = string.format(...)
end

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local list = {}
  for line in pipe:lines() do list[#list + 1] = line end
  return list
end

local function room_of(file)
  return file:match("^(.*)/[^/]+$") or "."
end

-- A source and its header are one file here.
local function stem_of(file)
  return (file:gsub("%.[ch]$", ""))
end

local function may_use(from, to)
  if from == to then return true end
  for _, room in ipairs(MAY[from] or {}) do
    if room == to then return true end
  end
  return false
end

local files, exists = {}, {}
for _, path in ipairs(lines_of(("find '%s' -name '*.[ch]' | sort"):format(SRC))) do
  local file = path:sub(#SRC + 2)
  files[#files + 1], exists[file] = file, true
end
assert(#files > 0, "no C files in " .. SRC)

local unnamed = {}
for _, file in ipairs(files) do
  local room = room_of(file)
  if not MAY[room] and not unnamed[room] then
    unnamed[room] = true
    problem("%s/%s: the room %s is not in spec/lint/c_rooms.lua; say there what it may use", SRC, file, room)
  end
end

local uses = {} -- stem → { stem → how }

local function note(from, to, how)
  from, to = stem_of(from), stem_of(to)
  if from == to then return end
  uses[from] = uses[from] or {}
  uses[from][to] = uses[from][to] or how
end

for _, file in ipairs(files) do
  local number = 0
  for line in io.lines(SRC .. "/" .. file) do
    number = number + 1
    local name = line:match('^%s*#%s*include%s+"([^"]+)"')
    if name then
      local beside = (room_of(file) == "." and "" or room_of(file) .. "/") .. name
      local target = exists[beside] and beside or name
      if not exists[target] then
        problem("%s/%s:%d: includes %s, which is not in %s", SRC, file, number, name, SRC)
      elseif not may_use(room_of(file), room_of(target)) then
        problem("%s/%s:%d: %s must not include %s of %s", SRC, file, number, room_of(file), target, room_of(target))
      else
        note(file, target, "includes it in line " .. number)
      end
    end
  end
end

-- Calls: a symbol that one object lacks and another has.
if OBJECTS then
  local home, wanted = {}, {}
  for _, file in ipairs(files) do
    if file:find("%.c$") then
      local found = lines_of(("find '%s' -path '*/src/%s.o' | head -n 1"):format(OBJECTS, file))[1]
      for _, line in ipairs(found and lines_of(("nm '%s'"):format(found)) or {}) do
        local kind, symbol = line:match("(%a) ([%w_]+)$")
        if kind == "U" then
          wanted[#wanted + 1] = { file = file, symbol = symbol }
        elseif kind and kind:match("[TDBRCV]") and symbol ~= "main" then
          home[symbol] = file
        end
      end
    end
  end
  for _, want in ipairs(wanted) do
    local target = home[want.symbol]
    if target and not may_use(room_of(want.file), room_of(target)) then
      problem("%s/%s: %s must not use %s of %s/%s", SRC, want.file, room_of(want.file), want.symbol, SRC, target)
    elseif target then
      note(want.file, target, "uses " .. want.symbol)
    end
  end
end

-- Circles: a file that is met again on the way down from it.
local state, way = {}, {}

local function sorted(set)
  local list = {}
  for name in pairs(set or {}) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function visit(stem)
  state[stem] = "open"
  way[#way + 1] = stem
  for _, next in ipairs(sorted(uses[stem])) do
    if state[next] == "open" then
      local circle = {}
      for i = #way, 1, -1 do
        local to = circle[1] and way[i + 1] or next
        table.insert(circle, 1, ("\n  %s/%s: %s %s"):format(SRC, way[i], uses[way[i]][to], to))
        if way[i] == next then break end
      end
      problem("a circle:%s", table.concat(circle))
    elseif not state[next] then
      visit(next)
    end
  end
  way[#way] = nil
  state[stem] = "done"
end

for _, stem in ipairs(sorted(uses)) do
  if not state[stem] then visit(stem) end
end

for _, text in ipairs(problems) do print(text) end
os.exit(#problems == 0 and 0 or 1)
