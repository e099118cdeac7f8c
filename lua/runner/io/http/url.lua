--- URLs of requests: putting one together, taking one apart, and the form of it that may be shown. Pure.

local M = {}

--- Percent-encodes everything but RFC 3986's unreserved characters.
---@param s string
---@return string
function M.encode(s)
  return (s:gsub("[^%w%-._~]", function(char) return ("%%%02X"):format(char:byte()) end))
end

--- A query string, sorted by key; a list repeats its key.
---@param map table<string, string|number|boolean|(string|number|boolean)[]>
---@return string "a=1&b=2"; "" for an empty map
function M.query(map)
  local pairs_, keys = {}, {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local values = map[key]
    if type(values) ~= "table" then values = { values } end
    for _, value in ipairs(values) do
      pairs_[#pairs_ + 1] = M.encode(key) .. "=" .. M.encode(tostring(value))
    end
  end
  return table.concat(pairs_, "&")
end

--- What may be shown: without user, password, query and fragment.
---@param url string
---@return string
function M.redact(url)
  local shown = url:gsub("^(%a[%w+.-]*://)[^/?#]*@", "%1"):gsub("%?.*", "?…"):gsub("#.*", "")
  return shown
end

--- Joins a base and a path and adds the query.
---@param base string? "http://host:1/v1"
---@param target string a path or a whole URL
---@param query table? as for `query`
---@return string? url
---@return string? message
function M.join(base, target, query)
  if not target:find("^%a[%w+.-]*://") then
    if not base then return nil, "a path without a base_url: " .. M.redact(target) end
    target = base:gsub("/+$", "") .. (target:find("^/") and "" or "/") .. target
  end
  if not target:find("^[Hh][Tt][Tt][Pp][Ss]?://") then
    return nil, "not an http or https URL: " .. M.redact(target)
  end
  if target:find("[%c ]") then
    return nil, "blanks or control characters in the URL: " .. M.redact(target):gsub("[%c ]", "?")
  end
  local more = query and M.query(query) or ""
  if more ~= "" then target = target .. (target:find("?", 1, true) and "&" or "?") .. more end
  return target
end

---@class runner.http.Url
---@field scheme string "http" or "https"
---@field host string a name or an address, without brackets
---@field port integer
---@field authority string for the Host header
---@field target string path and query, as on the request line
---@field has_credentials boolean

--- Takes an absolute URL apart.
---@param url string
---@return runner.http.Url?
---@return string? message
function M.split(url)
  local scheme, authority, target = url:match("^(%a+)://([^/?#]*)([^#]*)")
  if not scheme then return nil, "not a URL" end
  scheme = scheme:lower()
  local server = authority:gsub("^.*@", "")
  local host, port = server:match("^%[([%x:.]+)%]:?(%d*)$")
  if not host then host, port = server:match("^([^:]+):?(%d*)$") end
  if not host then return nil, "no host in the URL" end
  if not target:find("^/") then target = "/" .. target end
  return {
    scheme = scheme,
    host = host,
    port = tonumber(port) or (scheme == "https" and 443 or 80),
    authority = server,
    target = target,
    has_credentials = server ~= authority,
  }
end

return M
