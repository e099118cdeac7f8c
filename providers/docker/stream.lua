--- The byte stream of an attached or executed process. Without a terminal the engine puts stdout and stderr into one
--- stream, in pieces with a head of 8 bytes: kind, three zeros, length. Pieces are passed on as they come; no more than
--- an incomplete head is ever kept.

local M = {}

local STDERR, ENGINE, HEAD = 2, 3, 8
local KEPT = 4096 -- bytes of stderr's end

---@class docker.Stream: runner.Stream
---@field on_stderr fun(self: docker.Stream, bytes: string)? replaces keeping the end of stderr
---@field stderr string its end
local Stream = {}
Stream.__index = Stream
Stream.__name = "docker.stream"

---@param connection runner.http.Upgraded
---@return docker.Stream
function M.new(connection)
  return setmetatable({ connection = connection, stderr = "", head = "", left = 0 }, Stream)
end

local function keep_stderr(self, bytes)
  if self.on_stderr then return self:on_stderr(bytes) end
  self.stderr = (self.stderr .. bytes):sub(-KEPT)
end

--- Takes heads off; returns a message when there is none where one must be.
local function feed(self, bytes, on_bytes)
  local at = 1
  while at <= #bytes and not self.closed do
    if self.left == 0 then
      local missing = HEAD - #self.head
      self.head = self.head .. bytes:sub(at, at + missing - 1)
      at = at + missing
      if #self.head == HEAD then
        local kind, zeros, length = (">BI3I4"):unpack(self.head)
        if kind > ENGINE or zeros ~= 0 then return "the engine's stream is malformed" end
        self.head, self.kind, self.left = "", kind, length
      end
    else
      local piece = at == 1 and #bytes <= self.left and bytes or bytes:sub(at, at + self.left - 1)
      at, self.left = at + #piece, self.left - #piece
      if self.kind >= STDERR then keep_stderr(self, piece) else on_bytes(piece) end
    end
  end
end

---@param on_bytes fun(bytes: string?, err: string?) stdout; nil: the end
function Stream:start(on_bytes)
  self.connection:start(function(bytes, err)
    if self.ended then return end
    local wrong = bytes and feed(self, bytes, on_bytes)
    if not bytes or wrong then
      self.ended = true
      on_bytes(nil, wrong or err)
    end
  end)
end

function Stream:write(bytes) self.connection:write(bytes) end

--- The end of the process's stdin.
function Stream:shutdown() self.connection:shutdown() end

function Stream:close()
  self.closed = true
  self.connection:close()
end

return M
