---@meta
--- The C modules, for editors. Each is documented at its source.

---@class runner.core.host
---@field version string
---@field debug boolean it was built with assertions: what is emitted is checked, too
local host = {}

--- A file of the repository that ships inside the binary; from RUNNER_ROOT first.
---@param path string "frameworks/pytest/worker/slot.py"
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

--- What a path is, without following a link. Raises nothing.
---@param path string
---@return "file"|"link"|"directory"|"other"|nil type
---@return integer|string mode permissions only; or a message
---@return integer|string size bytes; or a code
---@return integer mtime_ns
---@return integer ctime_ns
---@return integer inode
function system.lstat(path) end

--- Does a pattern of files (`*`, `?`, `[a-z]`, and `**` for any number of folders) match a relative path?
---@param pattern string
---@param path string
---@return boolean
function system.glob(pattern, path) end

---@class runner.core.hash
local hash = {}

---@class runner.Hash SHA-256
local Hash = {}

---@param bytes string
function Hash:add(bytes) end

---@return string digest 32 bytes; the hash has then ended
function Hash:digest() end

--- Of a file: reads on.
---@param most integer bytes, about
---@return string|false|nil digest 32 bytes at the end of the file, false before
---@return integer|string size of the file; or a message
---@return string? code
function Hash:step(most) end

function Hash:close() end

---@return runner.Hash
function hash.new() end

---@param path string
---@return runner.Hash? hash to be stepped
---@return string? message
---@return string? code
function hash.file(path) end

---@param bytes string
---@return string digest 32 bytes
function hash.sha256(bytes) end

return { host = host, system = system, hash = hash }
