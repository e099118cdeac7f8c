-- Text put aside until it is needed once more: the first part stays in memory, the rest goes to a
-- nameless temporary file, so that ten thousand failures do not fill the memory.

local M = {}

---@class runner.Spill
local Spill = {}
Spill.__index = Spill
Spill.__name = "runner.spill"

---@param limit integer bytes kept in memory
---@return runner.Spill
function M.new(limit)
  return setmetatable({ room = limit, size = 0 }, Spill)
end

--- Puts text aside.
---@param s string
---@return any handle for `get`
function Spill:put(s)
  if #s <= self.room then
    self.room = self.room - #s
    return s
  end
  self.file = self.file or io.tmpfile()
  if self.file and self.file:seek("set", self.size) and self.file:write(s) then
    local handle = { self.size, #s }
    self.size = self.size + #s
    return handle
  end
  return nil -- no room on disk either: the text is lost, the report is not
end

--- The text again.
---@param handle any
---@return string? nil when it could not be kept
function Spill:get(handle)
  if type(handle) ~= "table" then return handle end
  if not self.file:seek("set", handle[1]) then return nil end
  local s = self.file:read(handle[2])
  return s and #s == handle[2] and s or nil
end

function Spill:close()
  if self.file then self.file:close() end
  self.file = nil
end

return M
