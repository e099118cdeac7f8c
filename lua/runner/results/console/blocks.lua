-- What is printed below the line of a failed attempt: its trace and output, indented, made safe.

local output_log = require("runner.results.output_log")
local exit_text = require("runner.io.exit_text")
local stacks = require("runner.results.console.stacks")
local text = require("runner.base.text")

local M = {}

--- One block of text.
---@param style runner.Style
---@param title string? nil: no line above it
---@param body string
---@param colour string? of the title
---@return string lines "" when the body says nothing
function M.block(style, title, body, colour)
  body = text.multiline(stacks.fold(body), style.colour):gsub("%s+$", "")
  if body == "" then return "" end
  body = body:gsub("[^\n]+", "    %0")
  if style.colour and body:find("\27", 1, true) then body = body .. "\27[0m" end
  if not title then return body .. "\n" end
  return ("  %s %s\n%s\n"):format(style:paint(colour or "bold", title), style.rule:rep(3), body)
end

--- Names the processes that an attempt left running.
---@param style runner.Style
---@param leaks table[]?
---@return string lines
function M.leaks(style, leaks)
  local lines = {}
  for _, leak in ipairs(leaks or {}) do
    lines[#lines + 1] = ("left running: %s (pid %s)"):format(
      text.escape(tostring(leak.command or "?")), tostring(math.tointeger(leak.pid) or "?"))
  end
  return M.block(style, nil, table.concat(lines, "\n"))
end

--- Everything worth reading about an attempt that failed.
---@param style runner.Style
---@param attempt table the `attempt_finished` event
---@param options { output: boolean, folder: string? } `output`: with stdout and stderr; `folder`:
---  the results folder, for the path of the log
---@return string lines
function M.failure(style, attempt, options)
  local log = attempt.log and (options.folder and options.folder .. "/" or "") .. attempt.log
  local stdout = options.output and output_log.text(attempt.stdout, log) or ""
  local stderr = options.output and output_log.text(attempt.stderr, log) or ""
  local trace, said = attempt.trace, attempt.message or exit_text.describe({ signal = attempt.signal })
  if trace and (stdout:find(trace, 1, true) or stderr:find(trace, 1, true)) then trace = nil end -- said once
  local parts = {
    M.block(style, trace and "trace", trace or said or "", "red"),
    M.block(style, "stdout", stdout), M.block(style, "stderr", stderr),
  }
  for _, section in ipairs(attempt.sections or {}) do
    parts[#parts + 1] = M.block(style, text.escape(tostring(section[1])), tostring(section[2]))
  end
  parts[#parts + 1] = M.leaks(style, attempt.leaks)
  return table.concat(parts)
end

return M
