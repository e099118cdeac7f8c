--- What the specs of runner.ssh share: a test against a real sshd, and a look at what an error says.

local errors = require("runner.base.errors")
local uv = require("luv")
local task = require("runner.base.task")
local assert = require("luassert")
local async = require("spec.support.async")
local sshd = require("spec.support.sshd")

local M = {}

--- Makes `with_sshd(name, options, fn)`: a test against an sshd; pending where there is none. busted gives `it` and
--- `pending` to spec files only.
function M.tests(it, pending)
  return function(name, options, fn)
    it(name, async(function()
      if not sshd.available() then return pending("no sshd here") end
      sshd.with(options, fn)
    end))
  end
end

function M.failure(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(errors.is(err, "transport"), tostring(err))
  return err
end

function M.expect(err, code, ...)
  assert.are.equal(code, err.context.code, tostring(err))
  for _, text in ipairs { ... } do
    assert.is_truthy(err.message:find(text, 1, true), ("%q is not in: %s"):format(text,
      err.message))
  end
end

--- A log for ssh.connect that keeps its lines.
function M.recorder()
  local lines = {}
  return lines, function(level, format, ...) lines[#lines + 1] = level .. ": "
    .. format:format(...) end
end

--- A server that accepts and never says a word.
function M.with_mute_server(fn)
  local server, clients = uv.new_tcp(), {}
  assert(server:bind("127.0.0.1", 0))
  local accepted = task.event()
  assert(server:listen(8, function()
    local client = uv.new_tcp()
    server:accept(client)
    clients[#clients + 1] = client
    accepted:set(true)
  end))
  local ok, err = pcall(fn, server:getsockname().port, accepted)
  for _, client in ipairs(clients) do client:close() end
  server:close()
  if not ok then error(err, 0) end
end

return M
