--- Brings the agent into a sandbox through whatever stream a provider offers, and starts it. The sandbox needs `sh`
--- and `chmod`, and nothing else that has to be there.
---
--- One process does it all. A script says hello, with a line that nobody can guess, so that what a login shell prints
--- before it is skipped. It reads one line from us: without that, stdin does not reach the sandbox, and plain
--- commands are what is left. It looks for an agent with the right hash, asks for one when there is none, lets the
--- agent check its own hash, and becomes it. So the second run on a host costs one round trip.
---
--- The agent is sent as lines of text for `printf`, because `cat` would need the end of the stream, which not every
--- transport can pass on. An upload is not executable until it is there, has a name of its own, and lies in a folder
--- that belongs to us: nobody else can put something in its place, and two uploads at once do not meet.

local uv = require("luv")
local errors = require("runner.base.errors")
local host = require("runner.core.host")
local marker = require("runner.base.marker")
local task = require("runner.base.task")

local M = {}

--- From the start of the script to its first word; a container may have to be started in between.
local HELLO_TIMEOUT_S = 30
--- From its first word to its next, when stdin neither brings a line nor ends.
local ANSWER_TIMEOUT_S = 10
local END_TIMEOUT_S = 1 -- from the script's last word to its end
local NOISE_LIMIT = 1024 * 1024
local NOISE_KEPT = 4096
local LINE_BYTES = 512 -- of the agent in one line

local MACHINES = { "x86_64", "aarch64" }

-- $1 and $2: the two halves of the mark, which must not stand whole in the command line: a shell may print that, too.
-- $3: "MACHINE=HASH …". No single quote, doubled backslash or line break: a login shell other than sh may read this.
local SCRIPT = table.concat({
  [[m=$1$2; say() { printf "\n%s %s\n" "$m" "$*"; }; say hello;]],
  [[l=; IFS= read -r l; [ "$l" = "$2$1" ] || { say nostdin; exit 0; };]],
  [[a=$(uname -sm 2>/dev/null);]],
  [[case $a in "") a=${3%%=*};; "Linux amd64") a=x86_64;; "Linux arm64") a=aarch64;; Linux*) a=${a#Linux };; esac;]],
  [[h=; for p in $3; do case $p in "$a="*) h=${p#*=};; esac; done;]],
  [[[ "$h" ] || { say none "there is no agent for $a"; exit 0; };]],
  [[whole() { [ "$("$f" --hash </dev/null 2>/dev/null)" = "$h" ]; };]],
  [[o=$(umask); umask 077; w=; u=${UID:-$(id -u 2>/dev/null)}; c=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}};]],
  [[for b in "$RUNNER_AGENT_DIR" "$c" "$TMPDIR" /tmp /var/tmp /dev/shm; do]],
  [[case $b in /*) ;; *) continue;; esac;]],
  [[d=$b/runner-agent-$u; [ -d "$d" ] || mkdir -p "$d" 2>/dev/null; [ -d "$d" ] || d=$b;]],
  [[k=; [ -h "$d" ] || { [ -O "$d" ] && [ -w "$d" ] && k=1; };]],
  [[[ "$k" ] || { w="$w, $b is not ours to write"; continue; };]],
  [[for f in "$d/agent-$h".*; do if [ -x "$f" ] && [ -O "$f" ]; then]],
  [[whole && { say run; umask "$o"; exec "$f"; }; rm -f "$f" 2>/dev/null; fi; done;]],
  -- A script without a first line for the kernel: the shell runs it itself, where something may be run at all.
  [[t=$d/try-$2; { echo exit 42 >"$t"; } 2>/dev/null; chmod 700 "$t" 2>/dev/null;]],
  [["$t" </dev/null >/dev/null 2>&1; r=$?; rm -f "$t" 2>/dev/null;]],
  [[f=$d/agent-$h.$2; [ $r = 42 ] && { true >"$f"; } 2>/dev/null ||]],
  [[{ w="$w, $b runs no programs or is full"; continue; };]],
  [[say need "$a"; { while IFS= read -r l && [ "$l" != . ]; do printf "$l"; done >"$f"; } 2>/dev/null;]],
  [[chmod 700 "$f"; whole && { say run; umask "$o"; exec "$f"; };]],
  [[rm -f "$f" 2>/dev/null; w="$w, the agent does not run in $b"; done; say none "${w#, }"]],
}, " ")

local encoded = {}

--- Bytes as a format for printf. What is not plain is an octal escape; that of a NUL, the commonest byte, is short, and
--- so may not be followed by a digit.
---@param bytes string
---@return string
function M.escape(bytes)
  return (bytes:gsub("[^%a_/ ,:;=+]", function(byte)
    return byte == "\0" and "\\0" or ("\\%03o"):format(byte:byte())
  end))
end

--- Formats, a line each, and a "." at the end.
local function encode(bytes)
  local lines = {}
  for at = 1, #bytes, LINE_BYTES do lines[#lines + 1] = M.escape(bytes:sub(at, at + LINE_BYTES - 1)) end
  lines[#lines + 1] = ".\n"
  return table.concat(lines, "\n")
end

local function agent_for(machine)
  encoded[machine] = encoded[machine] or encode(host.resource("agent/" .. machine))
  return encoded[machine]
end

--- The agents that this binary carries, as the script takes them.
local function offer()
  local list = {}
  for _, machine in ipairs(MACHINES) do
    local hash = host.resource(("agent/%s.sha256"):format(machine))
    if hash then list[#list + 1] = machine .. "=" .. hash end
  end
  return table.concat(list, " ")
end

---@class runner.Bootstrap
---@field word string? the last that the script said
---@field running boolean? the script has become the agent
---@field noise string the end of what came that was not the script's
---@field rest string bytes of the agent that nobody has taken yet
local Bootstrap = {}
Bootstrap.__index = Bootstrap

local NO_STDIN = "stdin does not reach the sandbox"

local function finish(self, ...)
  if self.done then return end
  self.done = true
  self.timer:close()
  self.resume(...)
end

local function expect(self, seconds, ...)
  local late = table.pack(...)
  self.timer:start(seconds * 1000, 0, function() finish(self, table.unpack(late, 1, late.n)) end)
end

local words = {}

function words.hello(self)
  expect(self, ANSWER_TIMEOUT_S, "cannot", NO_STDIN)
end

function words.nostdin(self)
  finish(self, "cannot", NO_STDIN)
end

function words.need(self, machine)
  if not self.offered:find(machine .. "=", 1, true) then return finish(self, "failed", "it asked for " .. machine) end
  self.timer:stop() -- slow links take their time; the caller has a limit
  self.uploaded = true
  self.stream:write(agent_for(machine))
end

function words.none(self, why)
  finish(self, "cannot", why)
end

function words.run(self)
  self.running, self.rest, self.buffer = true, self.buffer, ""
  finish(self, "run")
end

local function read(self, bytes)
  self.buffer = self.buffer .. bytes
  while not self.running do
    local at, after = self.buffer:find(self.prefix, 1, true)
    local line_end = at and self.buffer:find("\n", after, true)
    if not line_end then break end
    local word, rest = self.buffer:sub(after + 1, line_end - 1):gsub("\r$", ""):match("^(%l+) ?(.*)$")
    self.noise = (self.noise .. self.buffer:sub(1, at - 1)):sub(-NOISE_KEPT)
    self.buffer = self.buffer:sub(line_end + 1)
    self.word = word or self.word
    if words[word] then words[word](self, rest) end
  end
  if #self.buffer > NOISE_LIMIT then
    self.noise, self.buffer = self.buffer:sub(-NOISE_KEPT), self.buffer:sub(-NOISE_KEPT)
  end
end

local function on_bytes(self, bytes, err)
  if not bytes then
    self.ended, self.err = true, err
    if self.on_end then self.on_end() end
    if self.taker then return self.taker(nil, err) end
    return finish(self, "failed", err or "its output ended")
  end
  if self.taker then
    self.taker(bytes)
  elseif self.running then
    self.rest = self.rest .. bytes
  else
    read(self, bytes)
  end
end

--- The stream from where the agent speaks. Bytes may have come before somebody listens.
local function agent_stream(self)
  local inner = self.stream
  local stream = { uploaded = self.uploaded or false }
  function stream.start(_, taker)
    self.taker = taker
    local rest = self.rest
    self.rest = ""
    if rest ~= "" then taker(rest) end
    if self.ended then taker(nil, self.err) end
  end
  function stream.write(_, bytes) inner:write(bytes) end
  function stream.close() inner:close() end
  if inner.shutdown then
    function stream.shutdown() inner:shutdown() end
  end
  return stream
end

local function excerpt(self)
  local text = (self.noise .. self.buffer):gsub("[^%g ]+", " "):gsub("^%s+", ""):gsub("%s+$", "")
  if text == "" then return "" end
  return "; what came instead: " .. (#text > 300 and "…" .. text:sub(-300) or text)
end

--- Starts the agent in a place. Returns nil and the reason where none can run; raises an error of kind "transport" when
--- nothing can be run there at all. The caller limits the time.
---@param place { connect: fun(argv: string[]): runner.Stream }
---@return runner.Stream? stream that speaks the agent's protocol; its `uploaded` says whether the agent had to be sent
---@return string? why
---@async
function M.connect(place)
  local first, second, offered = marker.half(), marker.half(), offer()
  if offered == "" then return nil, "this runner was built without agents for other places" end
  local self = setmetatable({
    offered = offered, prefix = ("\n%s%s "):format(first, second), buffer = "\n", noise = "", rest = "",
  }, Bootstrap)
  self.stream = place.connect({ "sh", "-c", SCRIPT, "sh", first, second, offered })
  local outcome, why = task.await(function(resume)
    self.resume, self.timer = resume, uv.new_timer()
    expect(self, HELLO_TIMEOUT_S, "failed", ("it said nothing within %d s"):format(HELLO_TIMEOUT_S))
    self.stream:start(function(bytes, err) on_bytes(self, bytes, err) end)
    self.stream:write(second .. first .. "\n")
    return function()
      self.done = true
      self.timer:close()
      self.stream:close()
    end
  end)
  if outcome == "run" then return agent_stream(self) end
  if outcome == "cannot" and not self.ended then -- it ends by itself, unless it hangs
    task.deadline(END_TIMEOUT_S, function()
      task.await(function(resume)
        self.on_end = resume
        return function() self.on_end = nil end
      end)
    end)
  end
  self.stream:close()
  if outcome == "cannot" then return nil, why end
  errors.raise("transport", ("no shell answers in the sandbox (is there an sh?): %s%s"):format(why, excerpt(self)))
end

return M
