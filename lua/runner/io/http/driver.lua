--- The waiting for runner.core.http: one libcurl multi whose descriptor luv watches, and the exchanges (a request and
--- its response) that run on it. While no exchange is open no handle is; kept connections need none.

local uv = require("luv")
local core = require("runner.core.http")
local errors = require("runner.base.errors")
local head = require("runner.io.http.head")
local task = require("runner.base.task")

local M = {}

---@class runner.http.Exchange
---@field package driver runner.http.Driver
---@field package transfer runner.core.Transfer
---@field package reader (async fun(): string?)? gives the pieces of the request's body
---@field package news boolean? something happened since the transfer was last asked
---@field package resume fun()? wakes the task that waits
---@field package closed boolean?
---@field label string "GET http://host/path", fit to be shown
---@field context table of its errors
local Exchange = {}
Exchange.__index = Exchange
Exchange.__name = "runner.http.exchange"

---@class runner.http.Driver
---@field package multi runner.core.Multi
---@field package exchanges table<runner.core.Transfer, runner.http.Exchange>
---@field package poll uv_poll_t? while there are exchanges
local Driver = {}
Driver.__index = Driver
Driver.__name = "runner.io.http.driver"

local hints = {
  ENOENT = "nothing listens there: is the service running?",
  ECONNREFUSED = "nothing listens there: is the service running?",
  EACCES = "this user may not use that socket",
}

--- Raises the failure of a request.
---@param label string
---@param about table method, url and unix_socket of the request
---@param message string
---@param code string "ECONNREFUSED"
function M.fail(label, about, message, code)
  local context = { code = code, hint = about.unix_socket and hints[code] or nil }
  for key, value in pairs(about) do context[key] = value end
  -- libcurl may quote a proxy's address, with its password.
  message = message:gsub("://[^/%s@]*@", "://")
  errors.raise("transport", label .. ": " .. message, context)
end

---@param message string
---@param code string
function Exchange:fail(message, code)
  M.fail(self.label, self.context, message, code)
end

--- Wakes who waits for a transfer with news. Follows every call that may make news.
---@package
function Driver:settle()
  for transfer in self.multi.ready, self.multi do
    local exchange = self.exchanges[transfer]
    if exchange then exchange:wake() end
  end
end

---@package
function Driver:watch()
  if self.poll then return end
  self.poll = assert(uv.new_poll(self.multi:fd()))
  self.poll:start("r", function()
    assert(self.multi:action())
    self:settle()
  end)
end

---@package
function Driver:rest()
  if not self.poll or next(self.exchanges) then return end
  self.poll:close()
  self.poll = nil
end

--- Begins an exchange.
---@param request table as for multi:add
---@param label string
---@param context table
---@param reader (async fun(): string?)?
---@return runner.http.Exchange
function Driver:exchange(request, label, context, reader)
  local exchange = setmetatable({
    driver = self, label = label, context = context, reader = reader,
  }, Exchange)
  request.upload = reader ~= nil
  local transfer, message, code = self.multi:add(request)
  if not transfer then exchange:fail(message, code) end
  exchange.transfer = transfer
  self.exchanges[transfer] = exchange
  self:watch()
  return exchange
end

--- Ends every exchange and connection; tasks that wait for one get an error.
function Driver:close()
  if self.poll then self.poll:close() end
  self.poll = nil
  self.multi:close()
  local waiting = {}
  for _, exchange in pairs(self.exchanges) do waiting[#waiting + 1] = exchange end
  for _, exchange in ipairs(waiting) do exchange:wake() end
end

---@package
function Exchange:wake()
  self.news = true
  local resume = self.resume
  self.resume = nil
  if resume then resume() end
end

--- Gives the request's body its next piece, when it is asked for.
local function feed(self)
  if not self.reader or not self.transfer:wants() then return false end
  local piece = self.reader()
  if self.closed then return true end
  self.transfer:write(piece)
  if piece == nil then self.reader = nil end
  self.driver:settle()
  return true
end

--- Calls a method of the transfer until it does not ask to wait; raises its failure.
---@async
local function finish(self, method)
  local transfer = self.transfer
  while true do
    if self.closed then self:fail("the response was closed", "ECANCELED") end
    self.news = false
    local first, second, code = method(transfer)
    self.driver:settle() -- taking bytes may have set libcurl going again
    if code == nil then return first, second end
    if code ~= "EAGAIN" then self:fail(second, code) end
    if not feed(self) and not self.news then
      task.await(function(resume)
        self.resume = resume
        return function() self.resume = nil end
      end)
    end
  end
end

--- Waits for the head of the response.
---@return { status: integer, headers: runner.http.Headers, header_list: { [1]: string, [2]: string }[] }
---@async
function Exchange:head()
  local _, bytes = finish(self, self.transfer.head)
  local status, headers, list = head.parse(bytes)
  if not status then self:fail("the answer is not HTTP", "EPROTO") end
  return { status = status, headers = headers, header_list = list }
end

--- Waits for bytes of the body; nil at its end.
---@return string?
---@async
function Exchange:read()
  return (finish(self, self.transfer.read))
end

--- Ends the exchange whatever its state; the connection is kept when the response was complete.
function Exchange:close()
  if self.closed then return end
  self.closed = true
  self.driver.exchanges[self.transfer] = nil
  self.transfer:close()
  self.driver:rest()
  self:wake()
end

Exchange.__close = Exchange.close

---@return runner.http.Driver
function M.new()
  local multi, message, code = core.multi()
  if not multi then errors.raise("transport", message, { code = code }) end
  return setmetatable({ multi = multi, exchanges = {} }, Driver)
end

return M
