--- What libtest and the panic hook of std print, read.

local M = {}

local TRACE = 16 * 1024 -- bytes

---@class cargo.Summary
---@field passed integer
---@field failed integer
---@field ignored integer
---@field reason string? of the one that was ignored

--- The counts at the end of a libtest process; nil: it did not get that far.
---@param tail string the end of its stdout
---@return cargo.Summary?
function M.summary(tail)
  local passed, failed, ignored
  for p, f, i in tail:gmatch("test result: %a+%. (%d+) passed; (%d+) failed; (%d+) ignored;") do
    passed, failed, ignored = p, f, i -- the last counts: a test may have run libtest itself
  end
  if not passed then return nil end
  return {
    passed = math.tointeger(passed), failed = math.tointeger(failed), ignored = math.tointeger(ignored),
    reason = tail:match("%.%.%. ignored, ([^\n]*)"),
  }
end

local function last_of(text, needle)
  local at, from = nil, text:find(needle, 1, true)
  while from do
    at, from = from, text:find(needle, from + 1, true)
  end
  return at
end

--- Where the panic that ended the test is told of: that of its own thread, else the last one.
local function find_panic(name, stderr)
  local own = last_of(stderr, ("thread '%s' "):format(name))
  if own and stderr:sub(own):find("^[^\n]- panicked at ") then return own end
  local at, from = nil, 1
  while true do
    local found, last = stderr:find("thread '[^'\n]*' [^\n]-panicked at ", from)
    if not found then return at end
    at, from = found, last + 1
  end
end

--- What was asserted and where: the lines between the head of a panic and its backtrace.
local function panic_message(text)
  local place, rest = text:match("panicked at ([^\n]*)\n(.*)$")
  if not place then return nil end
  -- Before Rust 1.73 both were in one line: panicked at 'message', place
  local old, old_place = place:match("^'(.*)', ([^']+)$")
  if old then return ("%s (%s)"):format(old, old_place) end
  local lines = {}
  for line in rest:gmatch("([^\n]*)\n?") do
    if line:find("^stack backtrace:") or line:find("^note: ") or line:find("^test .* %.%.%. ")
      or line:find("^thread '") or line == "" and #lines > 0 then
      break
    end
    if line ~= "" then lines[#lines + 1] = line:match("^%s*(.-)%s*$") end
    if #lines == 4 then break end -- assertion, left, right: more is in the trace
  end
  return ("%s (%s)"):format(table.concat(lines, "; "), (place:gsub(":$", "")))
end

--- What libtest has to say of a failure: the section of the test at the end of its stdout.
---@param name string
---@param tail string
---@return string?
function M.section(name, tail)
  local at = last_of(tail, ("---- %s stdout ----\n"):format(name))
  if not at then return nil end
  return tail:sub(at):match("^[^\n]*\n(.-)\n\nfailures:") or tail:sub(at):match("^[^\n]*\n(.*)$")
end

--- Why a test failed or crashed, as far as it said.
---@param name string
---@param section string? what libtest says of it
---@param stderr string the end of it, or of what the test printed anywhere
---@return { message: string?, type: string?, trace: string? }
function M.failure(name, section, stderr)
  local panic = find_panic(name, stderr)
  local why = {}
  if panic then
    why.type, why.message = "panic", panic_message(stderr:sub(panic))
    why.trace = stderr:sub(panic, panic + TRACE - 1):gsub("%s+$", "")
  end
  local overflow = stderr:match("(thread '[^'\n]*'[^\n]* has overflowed its stack)")
  overflow = overflow and overflow:gsub("' %(%d+%)", "'") -- its number is another each time
  local err = stderr:match("\n(Error: [^\n]*)") or stderr:match("^(Error: [^\n]*)")
  if overflow then
    why.type, why.message, why.trace = "stack overflow", overflow, why.trace or overflow
  elseif not panic and err then
    why.type, why.message = "error", err
    why.trace = stderr:sub((stderr:find(err, 1, true))):gsub("%s+$", "")
  end
  local note = section and (section:match("note: (test did not panic as expected[^\n]*)")
    or section:match("note: (panic did not contain expected string)"))
  if note then
    why.type, why.message = "should_panic", note
    why.trace = section:sub((section:find(note, 1, true))):gsub("%s+$", "") .. (panic and "\n\n" .. why.trace or "")
  end
  return why
end

return M
