-- Tells runner what busted does: an output handler, loaded with `busted -o`. It lists the tests that there are
-- (RUNNER_BUSTED=list: nothing is run), or tells of those in RUNNER_TESTS how they go; the others are left out.
-- Messages go into the stdout of the process; what they say is described in lua/runner/worker/reporting_tool.lua,
-- what they look like in lua/runner/worker/channel.lua. Runs on every Lua that busted runs on, inside the tests'
-- process: so it keeps what it needs of the libraries for itself.

local getenv, open, stdout, stderr = os.getenv, io.open, io.stdout, io.stderr
local concat, insert, pairs, ipairs, tostring, type = table.concat, table.insert, pairs, ipairs, tostring, type
local find, format, gsub, match, sub = string.find, string.format, string.gsub, string.match, string.sub
local byte, char = string.byte, string.char
local unpack = table.unpack or unpack -- luacheck: ignore

local LISTING = getenv("RUNNER_BUSTED") == "list"
local MARK = gsub(getenv("RUNNER_MARK") or "", " ", "")
local PIECE = 3500 -- bytes; with the mark, less than a pipe takes in one go

-- Saying ------------------------------------------------------------------------------------------------------------

-- A stream of our own where that is possible: a test may close stdout.
local channel = open("/dev/fd/1", "ab") or stdout
channel:setvbuf("full", 8192)
stdout:setvbuf("line") -- what a test prints before it hangs or dies shall be seen

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function json(value)
  local kind = type(value)
  if kind == "string" then
    return '"' .. gsub(value, '[%c"\\\127]', function(c)
      return ESCAPES[c] or format("\\u%04x", byte(c))
    end) .. '"'
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  end
  local parts = {}
  if #value > 0 then
    for i, item in ipairs(value) do parts[i] = json(item) end
    return "[" .. concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do insert(parts, json(key) .. ":" .. json(item)) end
  return "{" .. concat(parts, ",") .. "}"
end

local function say(message)
  pcall(stdout.flush, stdout)
  pcall(stderr.flush, stderr)
  local text = json(message)
  for at = 1, #text, PIECE do
    channel:write("\n", MARK, at + PIECE <= #text and "+" or "=", "1 ", sub(text, at, at + PIECE - 1), "\n")
    channel:flush()
  end
end

-- Names -------------------------------------------------------------------------------------------------------------

-- busted's own object, of which its module shows a part.
local function core()
  local index = getmetatable(require("busted")).__index
  for i = 1, 10 do
    local name, value = debug.getupvalue(index, i)
    if name == "busted" or type(value) == "table" and type(value.safe) == "function" then return value end
  end
  error("runner does not know this version of busted")
end

local busted = core()

local function plain_path(path)
  return (gsub(tostring(path), "^%./+", ""))
end

-- The file that an element belongs to, and its name below that: the parts as busted joins them.
local function place(element)
  local names = {}
  while element do
    if element.descriptor == "file" then return plain_path(element.name), concat(names, " ") end
    if not element.descriptor or element.descriptor == "suite" then return nil, concat(names, " ") end
    insert(names, 1, tostring(element.name or element.descriptor))
    element = busted.context.parent(element)
  end
end

local function decode(text)
  return (gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local selected = {}
for word in string.gmatch(getenv("RUNNER_TESTS") or "", "[^ ]+") do selected[decode(word)] = true end

-- Is a test below a block wanted? Names alone do not say where a block ends: rather once too often.
local function any_below(file, name)
  local start = file .. " > " .. (name ~= "" and name .. " " or "")
  for id in pairs(selected) do
    if sub(id, 1, #start) == start then return true end
  end
  return false
end

-- Registration ------------------------------------------------------------------------------------------------------

local counts, taken = {}, {} -- how often a name came; what is an id already
local ids = {} -- of a context's tests, in the order in which it has them
local GO_ON, LEAVE_OUT = true, false

local function on_test(descriptor)
  return function(name, _, trace)
    local context = busted.context.get()
    local file, above = place(context)
    if not file then return nil, GO_ON end
    local full = (above ~= "" and above .. " " or "") .. tostring(name or descriptor)
    local id = file .. " > " .. full
    local base, n = id, counts[id] or 1
    while taken[id] do
      n = n + 1
      id = base .. "#" .. n
    end
    taken[id], counts[base] = true, n
    if LISTING then
      local tags = {}
      for tag in string.gmatch(full, "#([%w_-]+)") do insert(tags, tag) end
      local line = trace and plain_path(trace.short_src) == file and trace.currentline or nil
      say({ test = id, name = full, file = file, line = line, tags = #tags > 0 and tags or nil })
      return nil, LEAVE_OUT
    elseif not selected[id] then
      return nil, LEAVE_OUT
    end
    ids[context] = ids[context] or {}
    ids[context][descriptor] = ids[context][descriptor] or {}
    insert(ids[context][descriptor], id)
    return nil, GO_ON
  end
end

-- The id of a test that runs.
local function id_of(element)
  local context = busted.context.parent(element)
  local known = ids[context] and ids[context][element.descriptor] or {}
  for i, other in ipairs(context[element.descriptor] or {}) do
    if other == element then return known[i] end
  end
end

-- Set-up and tear-down of blocks without a wanted test is left out.
local function on_fixture()
  if LISTING then return nil, LEAVE_OUT end
  local file, name = place(busted.context.get())
  return nil, not file or any_below(file, name)
end

local function on_file(name)
  return nil, LISTING or any_below(plain_path(name), "")
end

-- Running -----------------------------------------------------------------------------------------------------------

local current -- what is known of the test that runs
local broken = {} -- by context: what its lazy set-up failed with

-- Without the place, which the trace names.
local function shorten(message)
  return (gsub(tostring(message), "^[^\n]-:%d+: ", ""))
end

local function describe_error(element, message, trace)
  local text, short = tostring(message), shorten(message)
  if type(trace) == "table" and trace.traceback then text = text .. gsub(trace.traceback, "^\n?", "\n") end
  local hook = element.descriptor or "busted"
  if hook ~= "it" and hook ~= "pending" then short = hook .. ": " .. short end
  return short, text
end

-- Where the tests were looked for, before any was found; busted then says that it has found none.
local absent

local function say_absent(path)
  absent = true
  local kind = find(path, "%.lua$") and "file" or "folder"
  say({ outside = format("there is no %s %s; set paths of the busted framework, or ROOT in .busted", kind, path) })
end

local ABOUT_ALL = { output = true, helper = true }

local function on_error(kind)
  return function(element, _, message, trace)
    element = element or {}
    local descriptor = element.descriptor or ""
    local short, text = describe_error(element, message, trace)
    local parent = busted.context.parent(element)
    if descriptor == "lazy_setup" and parent then broken[parent] = { short, text } end
    if current then
      current.message, current.trace = current.message or short, (current.trace and current.trace .. "\n" or "") .. text
      current.type = current.type or (descriptor == "it" and kind or "error")
      return nil, GO_ON
    end
    local path = descriptor == "" and match(tostring(message), "^Cannot find file or directory: (.*)")
    if path then say_absent(path) end
    if path or absent and descriptor == "" then return nil, GO_ON end
    if ABOUT_ALL[descriptor] then return nil, GO_ON end -- busted says it itself
    local own = descriptor == "file" or descriptor == "describe"
    local file, name = place(own and element or parent)
    local what = descriptor == "" and "busted" or "error in " .. descriptor
    if descriptor == "file" then what = "cannot be loaded" end
    say({
      outside = what .. ":", message = tostring(message), trace = text,
      type = kind, file = descriptor == "file" and plain_path(element.name) or file,
      below = name ~= "" and name .. " " or nil, teardown = find(descriptor, "teardown") ~= nil or nil,
    })
    return nil, GO_ON
  end
end

local function broken_above(element)
  while element do
    if broken[element] then return broken[element] end
    element = busted.context.parent(element)
  end
end

local function result_of(test, element, duration)
  if test.message then
    return { status = "failed", message = test.message, trace = test.trace, type = test.type, duration = duration }
  elseif test.status == "pending" then
    return { status = "skipped", reason = test.reason, duration = duration }
  elseif test.status == "success" then
    return { status = "passed", duration = duration }
  end
  local setup = broken_above(element)
  return {
    status = "failed", duration = duration, message = setup and setup[1] or "it was not run",
    trace = setup and setup[2] or nil,
  }
end

-- Around all that belongs to a test: lazy set-up, before_each, the test, after_each. busted.execute calls this with a
-- function of its own; for the test proper it is called again with that of the test.
local safe = busted.safe
local function safe_around(descriptor, run, element)
  local id = not current and (descriptor == "it" or descriptor == "pending") and element.descriptor == descriptor
    and run ~= element.run and id_of(element)
  if not id then return safe(descriptor, run, element) end
  current = {}
  say({ start = id })
  local started = busted.monotime and busted.monotime() or busted.gettime()
  local results = { safe(descriptor, run, element) }
  local duration = (busted.monotime and busted.monotime() or busted.gettime()) - started
  local test = current
  current = nil
  say({ ["end"] = id, result = result_of(test, element, duration) })
  return unpack(results)
end

return function()
  local handler = {}

  function handler.subscribe()
    require("busted.languages.en")
    say({ hello = tostring(busted.version) })
    local first = { priority = 1 }
    for _, descriptor in ipairs({ "it", "pending" }) do
      busted.subscribe({ "register", descriptor }, on_test(descriptor), first)
    end
    for _, kind in ipairs({ "", "lazy_", "strict_" }) do
      busted.subscribe({ "register", kind .. "setup" }, on_fixture, first)
      busted.subscribe({ "register", kind .. "teardown" }, on_fixture, first)
    end
    busted.subscribe({ "register", "file" }, on_file, first)
    busted.subscribe({ "error" }, on_error("error"), first)
    busted.subscribe({ "failure" }, on_error("failure"), first)
    busted.subscribe({ "pending" }, function(_, _, message)
      if current and message ~= nil then current.reason = shorten(message) end
      return nil, GO_ON
    end, first)
    busted.subscribe({ "test", "end" }, function(_, _, status)
      if current then current.status = status end
      return nil, GO_ON
    end, first)
    busted.subscribe({ "exit" }, function()
      say({ bye = true })
      return nil, GO_ON
    end, first)
    if not LISTING then busted.safe = safe_around end
  end

  return handler
end
