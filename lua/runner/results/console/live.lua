-- The block at the bottom of a terminal: a progress line and the running tests, redrawn in place at
-- most 20 times a second. Everything else is printed above it.

local uv = require("luv")
local width = require("runner.results.console.width")

local M = {}

local interval = 50 -- ms between redraws
local refresh = 100 -- ms after which times are redrawn though nothing happened

---@class runner.Segment a piece of a line; a name loses its middle when the line is too long
---@field [1] string
---@field [2] string? colour
---@field is_name boolean?

---@class runner.Live
local Live = {}
Live.__index = Live
Live.__name = "runner.live"

---@param options { stream: table, style: runner.Style, size: (fun(): integer, integer),
---  render: fun(columns: integer, rows: integer): runner.Segment[][] }
---@return runner.Live
function M.new(options)
  local self = setmetatable({
    stream = options.stream,
    style = options.style,
    size = options.size,
    render = options.render,
    queued = {},
    drawn = {}, -- widths of the lines on the screen
    last = 0,
  }, Live)
  self.timer = uv.new_timer()
  self.timer:start(0, interval, function() self:_tick() end)
  self.timer:unref()
  return self
end

--- Puts text above the block with the next redraw.
---@param text string whole lines
function Live:print(text)
  self.queued[#self.queued + 1] = text
end

--- Says that the block is out of date.
function Live:touch()
  self.dirty = true
end

-- Back to the first column of the block's first line, everything from there on erased. If the
-- terminal became narrower, it has wrapped our lines: each then takes several rows.
function Live:_erase(columns)
  local rows = 0
  for _, taken in ipairs(self.drawn) do
    rows = rows + math.max(1, (taken + columns - 1) // columns)
  end
  self.drawn = {}
  if rows == 0 then return "" end
  return rows > 1 and ("\r\27[%dA\27[J"):format(rows - 1) or "\r\27[J"
end

function Live:_line(segments, columns)
  local parts, used = {}, 0
  for _, segment in ipairs(segments) do
    local text = segment.is_name and width.fit(segment[1], columns - used, self.style.ellipsis)
      or width.cut(segment[1], columns - used)
    used = used + width.columns(text)
    parts[#parts + 1] = self.style:paint(segment[2], text)
  end
  self.drawn[#self.drawn + 1] = used
  return table.concat(parts)
end

function Live:_draw()
  local columns, rows = self.size()
  local out = { self:_erase(columns), table.concat(self.queued) }
  self.queued = {}
  local lines = {}
  local room = math.max(1, columns - 3) -- leaves two columns for the "^C" that a terminal echoes
  for _, segments in ipairs(self.render(room, rows)) do
    lines[#lines + 1] = self:_line(segments, room)
  end
  out[#out + 1] = table.concat(lines, "\n")
  self.dirty, self.last = false, uv.now()
  if not self.stream:write(table.concat(out)) then self:_quit() end
end

function Live:_tick()
  if self.dirty or #self.queued > 0 or uv.now() - self.last >= refresh then self:_draw() end
end

function Live:_quit()
  if self.timer then self.timer:close() end
  self.timer = nil
end

--- Removes the block for good and writes what waits.
function Live:close()
  if not self.timer then return end
  self:_quit()
  self.stream:write(self:_erase((self.size())) .. table.concat(self.queued))
  self.queued = {}
end

return M
