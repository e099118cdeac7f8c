-- Error objects. Small helpers return `nil, message`; from plug-ins upward, functions raise one of
-- these, so that the command line can turn a kind into an exit code and print what is worth reading.
-- A failing test is a result, never an error.

local M = {}

---@alias runner.ErrorKind
---| "usage" # the command line is wrong
---| "config" # the configuration is wrong
---| "plugin" # a provider or framework broke its contract
---| "provider" # a sandbox could not be made
---| "transport" # a link to a sandbox broke
---| "spawn" # a process could not be started
---| "timeout" # a deadline passed
---| "cancelled" # somebody asked to stop
---| "parse" # input from outside could not be understood
---| "internal" # a mistake in runner itself

---@class runner.Error
---@field kind runner.ErrorKind
---@field message string may have several lines
---@field context table whatever helps: file, key, provider, sandbox, command, hint (how to mend it)
---@field cause any what led to this error: an error object or a string
---@field traceback string? stack of the place that raised, for errors nobody expected

local kinds = {
  usage = true, config = true, plugin = true, provider = true, transport = true,
  spawn = true, timeout = true, cancelled = true, parse = true, internal = true,
}

local Error = { __name = "runner.Error" }
Error.__index = Error

--- One line: the message and its causes.
function Error:__tostring()
  local parts, seen, link = {}, {}, self
  while link ~= nil and not seen[link] do
    seen[link] = true
    local is_error = getmetatable(link) == Error
    parts[#parts + 1] = (is_error and link.message or tostring(link)):gsub("%s*\n%s*", "; ")
    link = is_error and link.cause or nil
  end
  return table.concat(parts, ": ")
end

--- Make an error object.
---@param kind runner.ErrorKind
---@param message string
---@param context table? `context.cause`, when given, becomes the error's cause
---@return runner.Error
function M.new(kind, message, context)
  if not kinds[kind] then
    error(("unknown error kind %q"):format(tostring(kind)), 2)
  end
  context = context or {}
  return setmetatable({
    kind = kind,
    message = tostring(message),
    context = context,
    cause = context.cause,
    traceback = kind == "internal" and debug.traceback(nil, 2) or nil,
  }, Error)
end

--- Make an error object and raise it.
---@param kind runner.ErrorKind
---@param message string
---@param context table?
function M.raise(kind, message, context)
  error(M.new(kind, message, context), 0)
end

--- Is this value an error object (of this kind)?
---@param value any
---@param kind runner.ErrorKind?
---@return boolean
function M.is(value, kind)
  return getmetatable(value) == Error and (kind == nil or value.kind == kind)
end

--- How a traceback names the user's files → their names.
local user_files = {}

--- Makes a file of the user's known: a mistake in it is the user's to mend.
---@param chunk string its chunk name, with the "@"
function M.add_user_file(chunk)
  user_files[debug.getinfo(assert(load("", chunk)), "S").short_src] = chunk:sub(2)
end

--- Where the innermost code of the user's stands in a message with its traceback; nil: it is all ours.
---@return string? "/path/to/providers/mine.lua:12"
local function in_user_file(text)
  for line in text:gmatch("[^\n]+") do
    local short, number = line:match("^%s*(.-):(%d+):")
    if user_files[short] then return ("%s:%s"):format(user_files[short], number) end
  end
end

--- Turn whatever was raised into an error object. Objects pass unchanged; anything else becomes one of the given kind,
--- with the traceback of the caller (so call it from a message handler). What nobody expected is of kind "plugin", and
--- says where, when a file of the user's raised it or called what did.
---@param value any may bring its traceback along, behind the message
---@param kind runner.ErrorKind? default "internal"
---@return runner.Error
function M.coerce(value, kind)
  if getmetatable(value) == Error then
    return value
  end
  local text = value == nil and "error without a message" or tostring(value)
  local message, traceback = text:match("^(.-)\n(stack traceback:.*)")
  message, traceback = message or text, traceback or debug.traceback(nil, 2)
  local place = (kind == nil or kind == "internal") and in_user_file(message .. "\n" .. traceback)
  if place then
    local own, rest = message:match("^([^\n]-:%d+): (.*)")
    if in_user_file((own or "") .. ":") == place then message = rest end
    message = ("%s: %s"):format(place, message)
  end
  local object = M.new(place and "plugin" or kind or "internal", message, { mistake_at = place or nil })
  object.traceback = traceback
  return object
end

--- Calls a function as `pcall` does; what it raises comes as an error object.
---@param fn function
---@return boolean ok
---@return any ... its results, or the error object
function M.pcall(fn, ...)
  return xpcall(fn, M.coerce, ...)
end

--- The whole story for a person: the message as it was written, its causes, how to mend it.
---@param value any
---@return string text without a final newline
function M.describe(value)
  local object = M.coerce(value)
  local lines = { object.message }
  if object.cause ~= nil then
    lines[#lines + 1] = "  because: " .. tostring(object.cause)
  end
  if object.context.hint then
    lines[#lines + 1] = "  hint: " .. object.context.hint
  end
  return table.concat(lines, "\n")
end

return M
