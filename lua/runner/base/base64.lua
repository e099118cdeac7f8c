--- Base64.

local M = {}

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local values = {}
for i = 1, #ALPHABET do values[ALPHABET:byte(i)] = i - 1 end

--- With padding.
---@param bytes string
---@return string
function M.encode(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local group = a << 16 | (b or 0) << 8 | (c or 0)
    for n = 0, c and 3 or b and 2 or 1 do
      local index = (group >> (18 - 6 * n) & 63) + 1
      out[#out + 1] = ALPHABET:sub(index, index)
    end
  end
  return table.concat(out) .. ("="):rep(-#bytes % 3)
end

---@param text string with padding or without
---@return string? bytes nil when it is none
function M.decode(text)
  local out, bits, count = {}, 0, 0
  for i = 1, #text:gsub("=+$", "") do
    local value = values[text:byte(i)]
    if not value then return nil end
    bits, count = (bits << 6 | value) & 0xffffff, count + 6
    if count >= 8 then
      count = count - 8
      out[#out + 1] = string.char(bits >> count & 255)
    end
  end
  return table.concat(out)
end

return M
