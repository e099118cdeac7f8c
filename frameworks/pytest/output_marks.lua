--- Tells which test wrote what. A pytest slot writes marks into its own stdout and stderr where a test starts and ends;
--- this takes them out again. The two pipes arrive at their own pace, so the one that is ahead waits: tests start and
--- end one after the other. Pure: bytes in, callbacks out.

local KIND_AND_TOKEN = 12 -- "s" or "e", ten digits, NUL

local M = {}

---@class pytest.Marks
---@field running integer? token of the test between whose marks we are
local Marks = {}
Marks.__index = Marks

---@class pytest.MarkHandlers
---@field known fun(token: integer): boolean may there be marks of this test?
---@field started fun(token: integer)
---@field output fun(token: integer?, stream: string, bytes: string)
---@field ended fun(token: integer) both streams are past the test's end; answer with `release`
---@field odd fun(what: string) a mark that was not written where a test starts or ends

---@param nonce string what makes the marks of this process unlike anything a test prints
---@param handlers pytest.MarkHandlers
---@return pytest.Marks
function M.new(nonce, handlers)
  local function stream(name)
    return { name = name, rest = "", first = 1, last = 0, waiting = {} }
  end
  return setmetatable({
    prefix = "\0\27runner-" .. nonce, handlers = handlers, ends = {},
    stdout = stream("stdout"), stderr = stream("stderr"),
  }, Marks)
end

-- Each event is a string of output or { kind, token }. False: it has to wait for the other stream.
local function process(self, stream, event)
  if type(event) == "string" then
    self.handlers.output(stream.token, stream.name, event)
    return true
  end
  local kind, token = event[1], event[2]
  if not token or not self.handlers.known(token) then
    self.handlers.odd("a mark of a test that does not run")
    return true
  elseif (kind == "s") == (stream.token ~= nil) or kind == "e" and stream.token ~= token then
    self.handlers.odd("a mark out of its turn")
  end
  if kind == "s" then
    if self.running and self.running ~= token then return false end
    stream.token = token
    if not self.running then
      self.running = token
      self.handlers.started(token)
    end
  else
    stream.token = nil
    self.ends[token] = (self.ends[token] or 0) + 1
    if self.ends[token] == 2 then
      self.ends[token] = nil
      self.handlers.ended(token)
    end
  end
  return true
end

local function advance(self, stream)
  while stream.first <= stream.last do
    if not process(self, stream, stream.waiting[stream.first]) then return end
    stream.waiting[stream.first] = nil
    stream.first = stream.first + 1
  end
end

local function push(self, stream, event)
  if stream.first > stream.last and process(self, stream, event) then return end
  stream.last = stream.last + 1
  stream.waiting[stream.last] = event
end

--- Where a mark that is not complete yet may begin; #text + 1 when nowhere.
local function possible_mark(prefix, text, from)
  local at = math.max(from, #text - #prefix + 2)
  while true do
    at = text:find("\0", at, true)
    if not at then return #text + 1 end
    if prefix:sub(1, #text - at + 1) == text:sub(at) then return at end
    at = at + 1
  end
end

---@param name "stdout"|"stderr"
---@param bytes string as they come, cut anywhere
function Marks:feed(name, bytes)
  local stream, prefix = self[name], self.prefix
  local text = stream.rest == "" and bytes or stream.rest .. bytes
  stream.rest = ""
  local from = 1
  while true do
    local at = text:find(prefix, from, true)
    local stop = at and at + #prefix + KIND_AND_TOKEN - 1
    if not at or stop > #text then
      at = at or possible_mark(prefix, text, from)
      if at > from then push(self, stream, text:sub(from, at - 1)) end
      stream.rest = text:sub(at)
      return
    end
    if at > from then push(self, stream, text:sub(from, at - 1)) end
    local kind = at + #prefix
    local token = text:sub(kind, stop):match("^[se](%d+)%z$")
    push(self, stream, { text:sub(kind, kind), math.tointeger(token) })
    from = stop + 1
  end
end

--- The running test is done with: what waited for that goes on.
---@param token integer
function Marks:release(token)
  if self.running ~= token then return end
  self.running = nil
  for _, stream in ipairs({ self.stdout, self.stderr }) do
    if stream.token == token then stream.token = nil end
    advance(self, stream)
  end
end

--- No more bytes will come: what was kept back is output after all.
function Marks:finish()
  for _, stream in ipairs({ self.stdout, self.stderr }) do
    if stream.rest ~= "" then push(self, stream, stream.rest) end
    stream.rest = ""
  end
end

return M
