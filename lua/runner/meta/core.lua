---@meta
--- The C modules, for editors. Each is documented at its source.

---@class runner.core.host
---@field version string
local host = {}

--- A file of the repository that ships inside the binary; from RUNNER_ROOT first.
---@param path string "frameworks/pytest/worker.py"
---@return string?
function host.resource(path) end

--- The error raised in a luv callback that stopped the loop; once.
---@return any?
function host.callback_error() end

---@class runner.core.system
local system = {}

---@class runner.Lock
local Lock = {}
function Lock:close() end

--- Takes an exclusive lock on a file, which is created. Never waits.
---@param path string
---@return runner.Lock? lock
---@return string? message
---@return string? code "EAGAIN" when another process holds it
function system.lock(path) end

return { host = host, system = system }
