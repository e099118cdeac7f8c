--- What the text of a Lua file tells without running it.

local M = {}

-- What opens a block that `end` or `until` closes; `while` and `for` have their `do`.
local OPENS = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }

--- Where what is no code starts or goes on after `at`: comments, strings.
local function skip(text, at)
  local comment = text:match("^%-%-()", at)
  local long, inside = text:match("^%[(=*)%[()", comment or at)
  if long then return text:match("%]" .. long .. "%]()", inside) or #text + 1 end
  if comment then return text:match("\n()", comment) or #text + 1 end
  local quote = text:match("^[\"']", at)
  if not quote then return nil end
  at = at + 1
  while at <= #text and text:sub(at, at) ~= quote do
    at = at + (text:sub(at, at) == "\\" and 2 or 1)
  end
  return at + 1
end

--- Does a chunk hold a `return` outside of its functions? If not, it never returns a value.
---@param text string Lua source that compiles
---@return boolean
function M.may_return(text)
  local functions, blocks, at = 0, {}, 1
  while true do
    at = text:find("[%a_%-%[\"']", at)
    if not at then return false end
    local word, after = text:match("^([%a_][%w_]*)()", at)
    if not word then
      at = skip(text, at) or at + 1
    else
      at = after
      if word == "return" and functions == 0 then return true end
      if OPENS[word] then
        blocks[#blocks + 1] = word
        functions = functions + (word == "function" and 1 or 0)
      elseif word == "end" or word == "until" then
        functions = functions - (table.remove(blocks) == "function" and 1 or 0)
      end
    end
  end
end

return M
