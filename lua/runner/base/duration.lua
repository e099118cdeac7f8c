-- Spans of time as people write them: a number of seconds, or "5m", "1h30m", "250ms", "1.5s".

local M = {}

local SECONDS = { d = 86400, h = 3600, m = 60, s = 1, ms = 0.001 }

--- Seconds of a number or text.
---@param value any a number of seconds, or text like "90", "5m", "1h 30m", "250ms"
---@return number? seconds finite and not negative; nil when the value is no span of time
---@return string? why
function M.parse(value)
  local seconds = value
  if type(value) == "string" then
    seconds = tonumber(value:match("^%s*(%d*%.?%d*)%s*$"))
    if not seconds then
      -- Units must shrink, so that "5m1h" (likely a slip) is refused rather than guessed at.
      local rest, smallest = value, math.huge
      seconds = 0
      repeat
        local number, unit, tail = rest:match("^%s*(%d*%.?%d*)%s*(%a+)%s*(.*)$")
        local factor = SECONDS[unit]
        if not (tonumber(number) and factor and factor < smallest) then
          return nil, "not a span of time"
        end
        seconds, smallest, rest = seconds + tonumber(number) * factor, factor, tail
      until rest == ""
    end
  elseif type(value) ~= "number" then
    return nil, "not a span of time"
  end
  if seconds ~= seconds or seconds == math.huge then
    return nil, "not a finite time"
  elseif seconds < 0 then
    return nil, "negative"
  end
  return seconds
end

--- Shortest usual spelling, for messages: 5400 → "1h30m", 0.25 → "250ms", 1.5 → "1.5s".
---@param seconds number not negative
---@return string
function M.format(seconds)
  if seconds > 0 and seconds < 1 then
    return ("%.4gms"):format(seconds * 1000)
  elseif seconds < 60 then
    return ("%.4gs"):format(seconds)
  end
  local whole = math.floor(seconds + 0.5)
  local parts = {}
  for _, unit in ipairs({ "d", "h", "m", "s" }) do
    local count = whole // SECONDS[unit]
    whole = whole % SECONDS[unit]
    if count > 0 then
      parts[#parts + 1] = ("%d%s"):format(count, unit)
    end
  end
  return table.concat(parts)
end

return M
