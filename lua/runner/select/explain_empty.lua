--- Why there is nothing to run, in the words of what was asked for. Pure.

local text = require("runner.base.text")
local vocabulary = require("runner.results.vocabulary")

local M = {}

local function frameworks(groups)
  local names, seen = {}, {}
  for _, group in ipairs(groups) do
    local name = group.framework.name
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return table.concat(names, ", ")
end

--- What the command line asked for, as it was written there; nil when that was nothing.
local function asked(selection)
  local words = {}
  for _, name in ipairs(selection.names or {}) do words[#words + 1] = text.shell_quote(name) end
  local by_name = #words
  for _, one in ipairs(selection.expressions or {}) do words[#words + 1] = "-E " .. text.shell_quote(one.text) end
  if #words > 3 or by_name > 0 and by_name < #words then return "what was asked for" end
  return words[1] and table.concat(words, " or ")
end

local function rerun(facts)
  local ran, failed = facts.past:counts()
  if failed == 0 then
    return ("nothing failed in the last run, which had %s"):format(vocabulary.plural(ran, "test"))
  elseif facts.failed == 0 then
    return ("none of the %d tests that did not pass in the last run was found"):format(failed)
  end
  return ("none of the %d tests that did not pass in the last run matches %s"):format(facts.failed,
    asked(facts.selection) or "the filters of its group")
end

---@param facts { found: integer, whole: integer, failed: integer?, selection: runner.Selection?, groups: table[],
---  past: runner.Past? } found, and left before shards and order; failed: of the found, with selection.rerun
---@return string message
---@return boolean is_fine an empty shard: the other machines have the tests
function M.why(facts)
  local selection = facts.selection or {}
  if facts.found == 0 then return "no tests were found by " .. frameworks(facts.groups), false end
  if facts.whole > 0 and selection.shard then
    return ("shard %d/%d is empty: %s in the others"):format(selection.shard.index, selection.shard.count,
      vocabulary.plural(facts.whole, "test")), true
  end
  if facts.whole > 0 then return ("order kept none of %d tests"):format(facts.whole), false end
  if selection.rerun then return rerun(facts), false end
  return ("none of the %d tests that were found matches %s"):format(facts.found,
    asked(selection) or "the filters of its group"), false
end

return M
