---@meta
--- The C module runner.core.http, for editors. Use runner.http: it waits and raises errors.
--- Every call returns at once. Code "EAGAIN": ask again when `multi:ready` has named the transfer.

---@class runner.core.http
local http = {}

--- Connections and the transfers over them.
---@return runner.core.Multi? multi
---@return string? message
---@return string? code
function http.multi() end

---@class runner.core.Multi
local Multi = {}

---@class runner.core.TransferOptions
---@field url string http or https
---@field method string? default "GET"
---@field headers string[]? "Name: value"; "Name:" leaves libcurl's own out; "Name;" has an empty value
---@field body string? the request's body
---@field upload boolean? instead of `body`: the pieces are written, and sent chunked over a new connection
---@field unix_socket string? path; proxies are then ignored
---@field user_agent string?
---@field connect_timeout_ms integer?
---@field ca string? path of a PEM file; default the system's authorities
---@field cert string? path of a PEM file
---@field key string? path of a PEM file
---@field verify boolean? of the server's certificate and name; default true

--- Starts a transfer. It runs until it is done, closed or collected.
---@param options runner.core.TransferOptions
---@return runner.core.Transfer? transfer
---@return string? message
---@return string? code
function Multi:add(options) end

--- A descriptor that is readable when `action` has something to do. It stays the same; the multi closes it.
---@return integer fd
function Multi:fd() end

--- Does what can be done now.
---@return true? ok
---@return string? message
---@return string? code
function Multi:action() end

--- Takes the next transfer that got its head, bytes, its end, or room for its request's body.
---@return runner.core.Transfer?
function Multi:ready() end

--- Ends every connection; transfers that ran fail with "ECANCELED". Also `__close`.
function Multi:close() end

---@class runner.core.Transfer
local Transfer = {}

--- The final response's status, and its status line and headers as received (at most 256 KiB).
---@return integer? status
---@return string bytes or message
---@return string? code
function Transfer:head() end

--- All bytes of the body that are there (at most about 320 KiB); nothing but nil at its end.
---@return string? bytes
---@return string? message
---@return string? code
function Transfer:read() end

--- Whether the next piece of the request's body is to be written.
---@return boolean
function Transfer:wants() end

--- Writes the next piece of the request's body; none ends it.
---@param bytes string?
---@return true? ok
---@return string? message
---@return string? code "EAGAIN" while the last piece is being sent
function Transfer:write(bytes) end

--- Ends it whatever its state. Also `__close`.
function Transfer:close() end

return { http = http, Multi = Multi, Transfer = Transfer }
