--- Headers of requests and responses: checking, merging, reading. Pure.

local M = {}

---@alias runner.http.Headers table<string, string>

--- Merges header maps, later ones win whatever the case of the name. `false` removes one, also libcurl's own.
---@param ... table<string, string|number|false>?
---@return { [1]: string, [2]: string|false }[] list sorted by name
function M.merge(...)
  local by_name, list = {}, {}
  for i = 1, select("#", ...) do
    for name, value in pairs((select(i, ...)) or {}) do
      if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
        error(("not a header's name: %q"):format(tostring(name)), 0)
      end
      if value ~= false then value = tostring(value) end
      if value and value:find("[\r\n%z]") then -- never show the value: it may be a secret
        error(("line breaks or NUL in the value of the header %s"):format(name), 0)
      end
      by_name[name:lower()] = { name, value }
    end
  end
  for _, header in pairs(by_name) do list[#list + 1] = header end
  table.sort(list, function(a, b) return a[1]:lower() < b[1]:lower() end)
  return list
end

--- A status line and headers, as received.
---@param bytes string
---@return integer? status nil when this is not the head of an HTTP/1 response
---@return runner.http.Headers headers lower-case names; of several with one name the last
---@return { [1]: string, [2]: string }[] list every header in order, names as received
function M.parse(bytes)
  local headers, list = {}, {}
  local status
  for line in bytes:gmatch("([^\n]*)\n") do
    line = line:gsub("\r$", "")
    if not status then
      status = tonumber(line:match("^HTTP/1%.[01] (%d%d%d)%f[^%d]"))
      if not status then return nil, headers, list end
    elseif line:find("^[ \t]") and #list > 0 then -- a folded line goes on with the last value
      local last = list[#list]
      last[2] = last[2] .. " " .. line:match("^%s*(.-)%s*$")
      headers[last[1]:lower()] = last[2]
    else
      local name, value = line:match("^([^:%s]+)%s*:%s*(.-)%s*$")
      if name then
        list[#list + 1] = { name, value }
        headers[name:lower()] = value
      end
    end
  end
  return status, headers, list
end

return M
