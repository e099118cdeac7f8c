--- Cuts a stream of bytes into lines. Pure: bytes in, callbacks out.

local M = {}

---@param on_line fun(line: string) without its end
---@return fun(bytes: string) feed bytes, cut anywhere
---@return fun(text: string?): string rest the beginning of a line that is not whole yet; `text` takes its place
function M.reader(on_line)
  local parts = {}
  return function(bytes)
    local from = 1
    while true do
      local at = bytes:find("\n", from, true)
      parts[#parts + 1] = bytes:sub(from, at and at - 1)
      if not at then return end
      local line = table.concat(parts)
      parts, from = {}, at + 1
      on_line(line)
    end
  end, function(text)
    parts = { text or table.concat(parts) }
    return parts[1]
  end
end

return M
