---@meta runner.core.regex

--- POSIX extended regular expressions of the C library. `runner.regex` is what to use.
local regex = {}

---@class runner.core.Regex
local Regex = {}

--- Whether the expression matches anywhere in `subject`, which may hold any bytes.
---@param subject string
---@return boolean
function Regex:match(subject) end

---@param pattern string
---@return runner.core.Regex?
---@return string? message
---@return "EINVAL"? code
function regex.compile(pattern) end

return regex
