--- The codec of the wire protocol between host and agent; src/agent/wire/protocol.h describes it. Pure:
--- strings in, tables out. What comes from a sandbox is hostile: nothing here trusts a length or a count.

local M = {}

M.VERSION = 1
M.HEADER = 9 -- u32 length, u8 type, u32 id
M.PAYLOAD_MAX = 1024 * 1024
M.OUT_MAX = 64 * 1024
M.WINDOW = 256 * 1024
M.SYNC_WINDOW = 512 * 1024
M.KILL_NEVER = 0xFFFFFFFF -- a grace: what runs goes on

M.flags = { control = 1, forkserver = 2, stdin = 4, merge = 8, clear_env = 16 }
M.exit_flags = { timed_out = 1, killed = 2 }
M.entries = { file = 1, link = 2, directory = 3 }
M.needs = { listing = 0, files = 1, over = 2 }
M.streams = { stdin = 0, stdout = 1, stderr = 2, control = 3 }

local LIST_MAX = 4096

-- A frame is fixed fields, then at most one open end: "bytes" (the rest) or "lists" (of strings or of leaks).
local function layout(name, code, format, fields, tail, lists)
  return {
    name = name, code = code, format = "<" .. format,
    fields = fields, tail = tail, lists = lists,
  }
end

local host_frames = {
  layout("hello", 1, "I4s4", { "version", "run_id" }),
  layout("spawn", 2, "I4I4I4I4I8I4s4s4",
    { "flags", "lane", "deadline_ms", "grace_ms", "memory", "via", "tag", "cwd" },
    "lists", { "argv", "env" }),
  layout("input", 3, "B", { "stream" }, "bytes"),
  layout("signal", 4, "B", { "number" }),
  layout("kill", 5, "I4", { "grace_ms" }),
  layout("credit", 6, "I4", { "bytes" }),
  layout("put", 7, "I4s4", { "mode", "path" }, "bytes"),
  layout("mkdtemp", 8, "s4", { "prefix" }),
  layout("ping", 9, "", {}),
  layout("sync", 10, "s4s4s4", { "key", "folder", "digest" }),
  layout("entries", 11, "", {}, "bytes"),
  layout("chunk", 12, "I4", { "index" }, "bytes"),
  layout("list", 13, "s4I8I8", { "folder", "newer_us", "older_us" }, "lists", { "globs" }),
  layout("get", 14, "s4s4I8", { "folder", "path", "most" }),
  layout("stop", 15, "", {}),
}

local agent_frames = {
  layout("hello", 65, "I4s4I4I8s4s4", { "version", "arch", "cpus", "memory", "hostname", "cwd" }),
  layout("started", 66, "I4I8", { "pid", "realtime_us" }),
  layout("out", 67, "B", { "stream" }, "bytes"),
  layout("input_credit", 68, "BI4", { "stream", "bytes" }),
  layout("exit", 69, "BI4BI8I8I8I8s4",
    { "kind", "code", "flags", "wall_us", "user_us", "system_us", "memory", "message" }, "leaks"),
  layout("done", 70, "I4s4", { "errno", "message" }),
  layout("pong", 71, "", {}),
  layout("error", 72, "s4", { "message" }),
  layout("need", 73, "B", { "what" }, "bytes"),
  layout("taken", 74, "I4", { "bytes" }),
  layout("found", 75, "", {}, "bytes"),
  layout("data", 76, "", {}, "bytes"),
}

local function index(layouts)
  local by = {}
  for _, frame in ipairs(layouts) do by[frame.name], by[frame.code] = frame, frame end
  return by
end

--- The two directions, for `encode` and `decoder`.
M.to_agent = index(host_frames)
M.to_host = index(agent_frames)

local pack, unpack = string.pack, string.unpack

local function encode_tail(frame, fields)
  if frame.tail == "bytes" then return fields.bytes or "" end
  local parts = {}
  if frame.tail == "lists" then
    for _, name in ipairs(frame.lists) do
      local list = fields[name] or {}
      parts[#parts + 1] = pack("<I4", #list)
      for _, item in ipairs(list) do parts[#parts + 1] = pack("<s4", item) end
    end
  elseif frame.tail == "leaks" then
    local leaks = fields.leaks or {}
    parts[1] = pack("<I4", #leaks)
    for _, leak in ipairs(leaks) do
      parts[#parts + 1] = pack("<I4s4s4", leak.pid, leak.command, leak.test)
    end
  end
  return table.concat(parts)
end

--- Encodes one frame.
---@param direction table `M.to_agent` or `M.to_host`
---@param name string
---@param id integer
---@param fields table? missing numbers are 0, missing strings ""
---@return string? bytes nil when it would be larger than a frame may be
---@return string? message
function M.encode(direction, name, id, fields)
  local frame = direction[name]
  local values, formats = {}, frame.format
  fields = fields or {}
  local at = 1
  for size in formats:gmatch("%a%d?") do
    local value = fields[frame.fields[at]]
    if value == nil then value = size:sub(1, 1) == "s" and "" or 0 end
    values[at] = value
    at = at + 1
  end
  local payload = pack(formats, table.unpack(values, 1, at - 1)) .. encode_tail(frame, fields)
  if #payload > M.PAYLOAD_MAX then
    return nil, ("%d bytes do not fit into a frame of at most %d"):format(#payload, M.PAYLOAD_MAX)
  end
  return pack("<I4BI4", #payload + 5, frame.code, id) .. payload
end

local function decode_list(payload, at, format, make)
  local list, count = {}, (unpack("<I4", payload, at))
  at = at + 4
  if count > LIST_MAX then error(("a list of %d items"):format(count), 0) end
  for i = 1, count do
    local values = table.pack(unpack(format, payload, at))
    list[i], at = make(table.unpack(values)), values[values.n]
  end
  return list, at
end

local function itself(value) return value end
local function leak(pid, command, test) return { pid = pid, command = command, test = test } end

local function decode_payload(frame, payload, id)
  local values = table.pack(unpack(frame.format, payload))
  local at = values[values.n]
  local result = { type = frame.name, id = id }
  for i, name in ipairs(frame.fields) do
    if math.type(values[i]) == "integer" and values[i] < 0 then
      error(name .. " is beyond all measure", 0) -- a u64 with its highest bit
    end
    result[name] = values[i]
  end
  if frame.tail == "bytes" then
    result.bytes, at = payload:sub(at), #payload + 1
  elseif frame.tail == "lists" then
    for _, name in ipairs(frame.lists) do
      result[name], at = decode_list(payload, at, "<s4", itself)
    end
  elseif frame.tail == "leaks" then
    result.leaks, at = decode_list(payload, at, "<I4s4s4", leak)
  end
  if at ~= #payload + 1 then error(("%d bytes too many"):format(#payload + 1 - at), 0) end
  return result
end

---@class runner.FrameDecoder
local Decoder = {}
Decoder.__index = Decoder
Decoder.__name = "runner.frame.decoder"

--- Takes bytes in pieces of any size.
---@param direction table which frames to expect: `M.to_agent` or `M.to_host`
---@return runner.FrameDecoder
function M.decoder(direction)
  return setmetatable({
    direction = direction,
    parts = {}, -- what came since the last complete frame, `size` bytes
    size = 0,
    need = 4, -- bytes without which there is nothing to do
    buffer = "",
    at = 1,
  }, Decoder)
end

local function next_frame(self)
  local buffer, at = self.buffer, self.at
  local left = #buffer - at + 1
  if left < 4 then
    self.need = 4
    return nil
  end
  local length = unpack("<I4", buffer, at)
  if length < 5 or length > M.PAYLOAD_MAX + 5 then
    return nil, ("a frame of an impossible length (%d)"):format(length)
  end
  if left < length + 4 then
    self.need = length + 4
    return nil
  end
  local code, id = unpack("<BI4", buffer, at + 4)
  local frame = self.direction[code]
  self.at = at + length + 4
  if not frame then return nil, ("a frame of the unknown type %d"):format(code) end
  local ok, result = pcall(decode_payload, frame, buffer:sub(at + M.HEADER, self.at - 1), id)
  if not ok then
    local reason = tostring(result):gsub("^.*bad argument #%d+ to 'unpack' %((.*)%)$", "%1")
    return nil, ("malformed %s: %s"):format(frame.name:upper(), reason)
  end
  return result
end

--- Decodes what is complete now. After an error the decoder is of no more use.
---@param bytes string
---@param on_frame fun(frame: table) { type=, id=, and the fields of its layout }
---@return true? ok
---@return string? message what is malformed
function Decoder:feed(bytes, on_frame)
  self.parts[#self.parts + 1] = bytes
  self.size = self.size + #bytes
  if self.size < self.need then return true end
  self.buffer, self.at, self.parts = table.concat(self.parts), 1, {}
  while true do
    local frame, message = next_frame(self)
    if message then return nil, message end
    if not frame then break end
    on_frame(frame)
  end
  local rest = self.buffer:sub(self.at)
  self.parts[1], self.size = rest, #rest
  self.buffer, self.at = "", 1
  return true
end

return M
