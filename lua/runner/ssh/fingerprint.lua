--- What an SSH key is called: its type, and the SHA-256 fingerprint that OpenSSH prints.

local M = {}

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local values = {}
for i = 1, #ALPHABET do values[ALPHABET:byte(i)] = i - 1 end

--- Base64 without padding.
local function encode(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local group = a << 16 | (b or 0) << 8 | (c or 0)
    for n = 0, c and 3 or b and 2 or 1 do
      local index = (group >> (18 - 6 * n) & 63) + 1
      out[#out + 1] = ALPHABET:sub(index, index)
    end
  end
  return table.concat(out)
end

---@param text string base64
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

-- SHA-256's constants are the first 32 bits of the fractional parts of roots of the first primes.
local constants, initial = {}, {}
do
  local candidate = 2
  local function fraction(root)
    return math.floor((root - math.floor(root)) * 2 ^ 32)
  end
  while #constants < 64 do
    local prime = true
    for divisor = 2, math.floor(candidate ^ 0.5) do prime = prime and candidate % divisor ~= 0 end
    if prime then
      constants[#constants + 1] = fraction(candidate ^ (1 / 3))
      if #initial < 8 then initial[#initial + 1] = fraction(candidate ^ 0.5) end
    end
    candidate = candidate + 1
  end
end

local function rotate(x, n)
  return (x >> n | x << (32 - n)) & 0xffffffff
end

local function sha256(bytes)
  local state = table.move(initial, 1, 8, 1, {})
  bytes = bytes .. "\128" .. ("\0"):rep((55 - #bytes) % 64) .. (">I8"):pack(#bytes * 8)
  for start = 1, #bytes, 64 do
    local w = { (">" .. ("I4"):rep(16)):unpack(bytes, start) }
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      w[i] = w[i - 16] + w[i - 7] + (rotate(x, 7) ~ rotate(x, 18) ~ x >> 3)
        + (rotate(y, 17) ~ rotate(y, 19) ~ y >> 10) & 0xffffffff
    end
    local a, b, c, d, e, f, g, h = table.unpack(state)
    for i = 1, 64 do
      local t1 = h + (rotate(e, 6) ~ rotate(e, 11) ~ rotate(e,
        25)) + (e & f ~ ~e & g) + constants[i] + w[i]
      local t2 = (rotate(a, 2) ~ rotate(a, 13) ~ rotate(a, 22)) + (a & b ~ a & c ~ b & c)
      a, b, c, d, e, f, g, h = t1 + t2 & 0xffffffff, a, b, c, d + t1 & 0xffffffff, e, f, g
    end
    for i, value in ipairs { a, b, c, d, e, f, g,
      h } do state[i] = state[i] + value & 0xffffffff end
  end
  return (">" .. ("I4"):rep(8)):pack(table.unpack(state))
end

--- The type of a public key as it is on the wire.
---@param key string
---@return string? "ssh-ed25519"
function M.type(key)
  local ok, name = pcall(string.unpack, ">s4", key)
  return ok and name or nil
end

---@param key string as on the wire
---@return string "SHA256:…"
function M.of(key)
  return "SHA256:" .. encode(sha256(key))
end

M.encode = encode

return M
