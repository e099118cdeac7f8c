--- Cuts a stream of bytes into lines. Pure: bytes in, callbacks out.

local M = {}

---@param on_line fun(line: string) without its end
---@param limit integer? bytes of a line
---@param on_long fun()? called instead for a line that is longer, as soon as it is; what follows it is read as another
---@return fun(bytes: string) feed bytes, cut anywhere
---@return fun(text: string?): string rest the beginning of a line that is not whole yet; `text` takes its place
function M.reader(on_line, limit, on_long)
  local parts, held = {}, 0
  return function(bytes)
    local from = 1
    while true do
      local at = bytes:find("\n", from, true)
      local part = bytes:sub(from, at and at - 1)
      parts[#parts + 1], held = part, held + #part
      if limit and held > limit then
        parts, held = {}, 0
        on_long()
      end
      if not at then return end
      local line = table.concat(parts)
      parts, held, from = {}, 0, at + 1
      on_line(line)
    end
  end, function(text)
    held = text and #text or held
    parts = { text or table.concat(parts) }
    return parts[1]
  end
end

return M
