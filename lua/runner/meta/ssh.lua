---@meta
--- runner.core.ssh, src/bindings/ssh.c: steps of an SSH session, none of which waits. With code "EAGAIN"
--- a fourth value says what to wait for ("r" or "w"); then the same call with the same
--- arguments must follow; with "w", before any other.

---@class runner.core.ssh
---@field version string of libssh2
---@field rsa_sha2 boolean it can use RSA keys with today's OpenSSH (1.11 and later)
local ssh = {}

---@class runner.core.ssh.Session
local Session = {}

---@class runner.core.ssh.Channel
local Channel = {}

--- Begins a TCP connection; `connected` tells when it stands.
---@param address string numeric
---@param port integer
---@return runner.core.ssh.Session?
---@return string? message
---@return string? code
function ssh.connect(address, port) end

--- A session over a connected stream socket, which it owns from now on.
---@param fd integer
---@return runner.core.ssh.Session?
---@return string? message
---@return string? code
function ssh.attach(fd) end

--- Is this hashed name of a known_hosts line ("|1|salt|hash") the one given?
---@param hashed string
---@param name string
---@return boolean
function ssh.matches_hashed(hashed, name) end

---@return true?, string? message, string? code, string? direction
function Session:connected() end

--- What to poll for "r".
---@return integer
function Session:fd() end

--- What the descriptor of `fd` becomes readable for: data, room, or the end of the connection.
---@param events "r"|"w"|"d"
---@return true?, string? message, string? code
function Session:watch(events) end

--- Bytes taken from the socket so far.
---@return integer
function Session:received() end

--- Before the handshake. Unknown names are left out.
---@param algorithms string[] best first
---@return true?, string? message, string? code
function Session:prefer_host_keys(algorithms) end

---@return true?, string? message, string? code, string? direction
function Session:handshake() end

---@return string? key as on the wire
---@return string? message
---@return string? code
function Session:host_key() end

---@param user string
---@return string|true|nil methods "publickey,password"; true: the host wants no authentication
---@return string? message, string? code, string? direction
function Session:auth_methods(user) end

---@param user string
---@param path string of the private key
---@param passphrase string? default ""
---@return true?, string? message, string? code, string? direction
function Session:auth_file(user, path, passphrase) end

--- With code "ESIGN" the host takes the key: sign what `to_sign` returns and call again.
---@param user string
---@param key string public, as on the wire
---@param signature string|false|nil false: the signature was refused
---@return true?, string? message, string? code, string? direction
function Session:auth_key(user, key, signature) end

---@return string? data once
function Session:to_sign() end

--- Sends a request that the host must answer, unless there is no room; at most one in two seconds.
---@return boolean sent
function Session:keepalive() end

--- Opens a channel. One at a time.
---@return runner.core.ssh.Channel?, string? message, string? code, string? direction
function Session:channel() end

--- At once, with all its channels. Idempotent.
function Session:close() end

---@param command string
---@return true?, string? message, string? code, string? direction
function Channel:exec(command) end

---@param stream 0|1 stdout, stderr
---@return string? bytes
---@return string? message, string? code "EOF" at the end of both streams
---@return string? direction
function Channel:read(stream) end

---@param bytes string
---@param offset integer 0-based
---@return integer? taken
---@return string? message, string? code, string? direction
function Channel:write(bytes, offset) end

---@return true?, string? message, string? code, string? direction
function Channel:send_eof() end

--- Until the host has closed its side; after "EOF".
---@return true?, string? message, string? code, string? direction
function Channel:wait_closed() end

---@return integer? code
---@return string? signal "TERM"
function Channel:exit_status() end

--- Closes this side, waits for the other and forgets the channel.
---@return true?, string? message, string? code, string? direction
function Channel:free() end

return { ssh = ssh, session = Session, channel = Channel }
