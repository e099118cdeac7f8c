-- What the output may look like: colours and line-drawing characters, decided once from the command
-- line, the environment and the kind of stream.

local M = {}

local codes = {
  red = "31;1", green = "32;1", yellow = "33;1", blue = "34;1", cyan = "36;1",
  bold = "1", dim = "2",
}

local function set(value)
  return value ~= nil and value ~= ""
end

--- Whether to colour. `--color` beats NO_COLOR beats CLICOLOR_FORCE beats the terminal.
---@param choice "auto"|"always"|"never"|boolean|nil
---@param terminal boolean
---@param env fun(name: string): string?
---@return boolean
function M.wants_colour(choice, terminal, env)
  if choice == "always" or choice == true then return true end
  if choice == "never" or choice == false then return false end
  if set(env("NO_COLOR")) then return false end
  local force = env("CLICOLOR_FORCE")
  if set(force) and force ~= "0" then return true end
  return terminal and env("TERM") ~= "dumb" and env("CLICOLOR") ~= "0"
end

local function wants_unicode(env)
  local locale = env("LC_ALL")
  if not set(locale) then locale = env("LC_CTYPE") end
  if not set(locale) then locale = env("LANG") end
  return set(locale) and locale:lower():find("utf%-?8") ~= nil
end

---@class runner.Style
---@field colour boolean
---@field rule string a line drawing character
---@field ellipsis string
---@field bar { full: string, empty: string }
local Style = {}
Style.__index = Style

---@param options { colour: boolean, env: fun(name: string): string? }
---@return runner.Style
function M.new(options)
  local unicode = wants_unicode(options.env)
  return setmetatable({
    colour = options.colour,
    rule = unicode and "─" or "-",
    ellipsis = unicode and "…" or "..",
    bar = unicode and { full = "━", empty = "─" } or { full = "#", empty = "." },
  }, Style)
end

--- Wraps text in a colour, if colours are on.
---@param colour string? one of red green yellow blue cyan bold dim
---@param text string
---@return string
function Style:paint(colour, text)
  local code = self.colour and codes[colour]
  return code and text ~= "" and ("\27[%sm%s\27[0m"):format(code, text) or text
end

--- The status word: 12 columns, right-aligned.
---@param colour string
---@param word string
---@return string
function Style:status(colour, word)
  return self:paint(colour, ("%12s"):format(word))
end

return M
