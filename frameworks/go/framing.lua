--- Tells the lines that Go's test binaries write about tests from what tests print.

local M = {}

local MARK = "\22"
local LINE_BYTES = 64 * 1024 -- of one of Go's

---@class runner.go.Lines
---@field read fun(bytes: string)
---@field finish fun() no more bytes come

---@class runner.go.Told
---@field line fun(line: string): fun()? of a line that may be Go's: what is to be done, if it is
---@field text fun(bytes: string) what is none
---@field is_running fun(name: string): boolean

--- Since Go 1.20: its lines begin with a mark, also in the middle of a line that a test left open.
---@param told runner.go.Told
---@return runner.go.Lines
function M.framed(told)
  local held, self = "", {}
  function self.read(bytes)
    local text, done = held .. bytes, 1
    held = ""
    while true do
      local from = text:find(MARK, done, true)
      if not from then break end
      if from > done then told.text(text:sub(done, from - 1)) end
      local is_head = from == #text or text:find("^[=%-PF ]", from + 1)
      local stop = is_head and text:find("\n", from, true)
      if is_head and not stop and #text - from < LINE_BYTES then
        held = text:sub(from)
        return
      end
      local act = stop and told.line((text:sub(from + 1, stop):gsub("\r?\n$", "")))
      if act then
        act()
      else -- the mark is a test's own; one of Go's may follow
        stop = (text:find(MARK, from + 1, true) or #text + 1) - 1
        if stop > from then told.text(text:sub(from + 1, stop)) end
      end
      done = stop + 1
    end
    if done <= #text then told.text(text:sub(done)) end
  end
  function self.finish()
    local rest = held
    held = ""
    while rest ~= "" do
      local act = told.line(rest:sub(2))
      if act then return act() end
      local stop = rest:find(MARK, 2, true) or #rest + 1
      if stop > 2 then told.text(rest:sub(2, stop - 1)) end
      rest = rest:sub(stop)
    end
  end
  return self
end

--- Before: they are recognised by their looks, in the middle of a line only when they are about a test that runs.
---@param told runner.go.Told
---@return runner.go.Lines
function M.unframed(told)
  local held, self = "", {}
  local function verdict_in(line)
    local from = line:find("--- ", 1, true)
    while from do
      local name = line:match("^%-%-%- %u+: (%S+) %([%d%.]+s%)$", from)
      if name and told.is_running(name) then return from end
      from = line:find("--- ", from + 1, true)
    end
    return 1
  end
  function self.read(bytes)
    local text, done, at = held .. bytes, 1, 1 -- what stands from `done` to `at` is of tests
    while true do
      local stop = text:find("\n", at, true)
      if not stop then break end
      local line = text:sub(at, stop - 1)
      if line:find("^===") or line:find("---", 1, true) or line == "PASS" or line == "FAIL" then
        local from = line:find("^ *%-%-%- ") and 1 or verdict_in(line)
        local act = told.line(line:sub(from))
        if act then
          if at + from - 1 > done then told.text(text:sub(done, at + from - 2)) end
          act()
          done = stop + 1
        end
      end
      at = stop + 1
    end
    if at > done then told.text(text:sub(done, at - 1)) end
    held = text:sub(at)
    if #held > LINE_BYTES then
      told.text(held)
      held = ""
    end
  end
  function self.finish()
    local line = held
    held = ""
    local act = told.line(line)
    if act then act() elseif line ~= "" then told.text(line) end
  end
  return self
end

return M
