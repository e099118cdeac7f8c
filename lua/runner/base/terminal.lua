--- Asks the person at the terminal for a secret, without showing it. Not stdin: that may be a pipe while a person sits
--- there all the same.

local uv = require("luv")
local task = require("runner.base.task")

local M = {}

local one_at_a_time = task.semaphore(1)

local ENTER, INTERRUPT, END, ERASE_LINE = "[\r\n]", "\3", "\4", "\21"

--- What was typed, as far as it goes; done once it is complete (or given up: then nil).
local function take(typed, bytes)
  for key in bytes:gmatch(".") do
    if key:find(ENTER) then
      return true, typed
    elseif key == INTERRUPT then
      uv.kill(uv.os_getpid(), "sigint") -- in raw mode the terminal does not send it
      return true
    elseif key == END then
      return true
    elseif key == ERASE_LINE then
      typed = ""
    elseif key == "\8" or key == "\127" then
      typed = typed:gsub("[^\128-\191][\128-\191]*$", "")
    else
      typed = typed .. key
    end
  end
  return false, typed
end

local function ask(question)
  local fd = uv.fs_open("/dev/tty", "r+", 0)
  if not fd then return nil end
  local tty = uv.guess_handle(fd) == "tty" and uv.new_tty(fd, true)
  if not tty then
    uv.fs_close(fd)
    return nil
  end
  local function done()
    if tty:is_closing() then return end
    tty:try_write("\r\n")
    tty:set_mode(0)
    tty:close()
  end
  tty:set_mode(1) -- raw: no echo
  tty:try_write("\r\27[K" .. question)
  return task.await(function(resume)
    local typed = ""
    tty:read_start(function(_, bytes)
      local complete = true
      if bytes then complete, typed = take(typed, bytes) else typed = nil end
      if complete then
        done()
        resume(typed)
      end
    end)
    return done
  end)
end

--- Waits while another question is open.
---@param question string
---@return string? answer nil: there is no terminal, or the person declined
---@async
function M.secret(question)
  local answer
  one_at_a_time:with(function() answer = ask(question) end)
  return answer
end

return M
