--- What is told of a Go test that has ended: from its verdict, what it printed, and what became of its subtests.

local M = {}

M.STATUS = { PASS = "passed", FAIL = "failed", SKIP = "skipped" }

local SECTION_BYTES = 64 * 1024

---@class runner.go.State of a test that runs
---@field text runner.Tail its output
---@field after runner.Tail? what came after its verdict
---@field panic string? that ended the process
---@field verdict "PASS"|"FAIL"|"SKIP"|nil
---@field elapsed number? seconds
---@field subtests string[] names in the order in which they ran
---@field said table<string, { text: runner.Tail?, verdict: string? }> by subtest
---@field blame { name: string, log: string }? the first subtest that failed, and what it logged last

--- The last thing that was logged: "file.go:7: …" and the lines that belong to it, which are indented more.
---@param text string
---@return string?
function M.last_log(text)
  local place, from
  for found, stop in text:gmatch("    ([^%s:/]+%.go:%d+: )()") do place, from = found, stop end
  if not place then return nil end
  local lines = { place .. text:match("^[^\n]*", from) }
  for line in (text:match("\n(.*)$", from) or ""):gmatch("[^\n]+") do
    local more = line:match("^        (.*)$")
    if not more then break end
    lines[#lines + 1] = more
  end
  return table.concat(lines, "\n")
end

local function failure_message(state)
  local said = state.panic or ("\n" .. state.after:text()):match("\n(got:\n.*want:\n.*)$")
  if said then return (said:gsub("%s+$", "")) end
  local blame = state.blame
  if blame then return ("%s: %s"):format(blame.name, blame.log) end
  return M.last_log(state.text:text()) or "failed"
end

local function subtests_section(state)
  local lines, size = {}, 0
  for i, name in ipairs(state.subtests) do
    lines[i] = ("%s %s"):format(state.said[name].verdict or "----", name)
    size = size + #lines[i]
    if size > SECTION_BYTES then
      lines[i] = ("and %d more"):format(#state.subtests - i + 1)
      break
    end
  end
  return { "subtests", table.concat(lines, "\n") }
end

---@param state runner.go.State with its verdict
---@return table result see the plug-in interface
function M.of(state)
  local result = { status = M.STATUS[state.verdict], duration = state.elapsed }
  if result.status == "failed" then
    result.message = failure_message(state)
  elseif result.status == "skipped" then
    result.reason = (M.last_log(state.text:text()) or "skipped"):gsub("^[^\n]-%.go:%d+: ", "")
  end
  if #state.subtests > 0 then result.sections = { subtests_section(state) } end
  return result
end

return M
